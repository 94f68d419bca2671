from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.commands import call, variables


def test_the_runtime_leaves_no_device_id_and_no_queue_of_telemetry(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in variables(HOME=str(tmp_path)).items() if "TELEMETRY" not in name}
    environment = {name: value for name, value in environment.items() if not name.startswith("XDG_")}
    words = call("crack-agent", "selftest", "--bundle", tiny_bundle_folder)
    subprocess.run(words, env=environment, check=True, capture_output=True)
    assert list(tmp_path.rglob("*")) == []
