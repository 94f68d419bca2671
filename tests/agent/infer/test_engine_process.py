from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agent.infer.engine_process import first_to_go


def test_a_build_is_the_first_to_go_when_memory_runs_out() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as build:
        first_to_go(build.pid)
        score = Path(f"/proc/{build.pid}/oom_score_adj").read_text()
        build.kill()
    assert score.strip() == "1000"
    first_to_go(build.pid)  # gone: nothing happens
