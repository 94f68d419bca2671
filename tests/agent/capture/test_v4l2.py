"""Cameras through Video4Linux. No machine of ours has one: a stand-in, compiled here, answers for the kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2

from tests.support.cameras import noise
from tests.support.commands import ROOT
from tests.support.needs import missing

SHIM = ROOT / "tests" / "support" / "v4l2_shim.c"
CASES = ROOT / "tests" / "agent" / "capture" / "v4l2_on_shim.py"


def test_every_case_holds_on_the_stand_in(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        missing("no C compiler: the stand-in for a camera cannot be built (apt-get install gcc libc6-dev)")
    library = tmp_path / "shim.so"
    built = subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, SHIM, "-ldl"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (tmp_path / "jpeg.jpg").write_bytes(cv2.imencode(".jpg", noise(0))[1].tobytes())
    (tmp_path / "how").write_text("ok")
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "FAKE_CAMERA": str(tmp_path / "how"),
        "FAKE_JPEG": str(tmp_path / "jpeg.jpg"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", CASES],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
