"""GStreamer cameras: the cases run on the system's PyGObject, which belongs to the system's own Python version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.capture.gstreamer import GstCamera, csi_pipeline, hardware_rtsp_pipeline
from agent.errors import CameraError
from tests.support.commands import ROOT
from tests.support.needs import missing
from tests.support.rtsp import PACKAGES, SYSTEM_PYTHON

CASES = ROOT / "tests" / "agent" / "capture" / "gstreamer_on_system.py"
WHERE = "import gi, sys; print(gi.__path__[0], '%d.%d' % sys.version_info[:2])"


def test_every_case_holds_on_this_machines_gstreamer(tmp_path: Path) -> None:
    found = subprocess.run([SYSTEM_PYTHON, "-c", WHERE], capture_output=True, text=True, check=False)
    if found.returncode:
        missing(f"the system's Python has no PyGObject: {PACKAGES}")
    folder, version = found.stdout.split()
    if version != f"{sys.version_info[0]}.{sys.version_info[1]}":
        pytest.skip(f"PyGObject on this machine is for Python {version}")
    (tmp_path / "gi").symlink_to(folder)  # it alone: beside it lie other versions of what we use
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::ImportWarning", CASES],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_without_gstreamer_a_camera_says_what_to_install() -> None:
    """In a Python of its own: whether or not this one happens to see the system's packages."""
    code = (
        "import sys; sys.modules['gi'] = None\n"
        "from agent.capture.gstreamer import GstCamera\n"
        "GstCamera('videotestsrc', first_frame_s=1, stall_s=1).open()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "CameraError: GStreamer is not to be had from this Python" in done.stderr
    assert "apt-get install python3-gi" in done.stderr


def test_the_pipeline_of_a_csi_camera() -> None:
    """As NVIDIA's documentation writes it; not yet run on a Jetson."""
    assert csi_pipeline(1, size_px=(1920, 1080), fps=30) == (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1 "
        "! nvvidconv ! video/x-raw,format=BGRx"
    )
    assert "(memory:NVMM) ! nvvidconv" in csi_pipeline(0, size_px=None, fps=None)


def test_an_address_cannot_add_elements_of_its_own() -> None:
    assert "nvv4l2decoder" in hardware_rtsp_pipeline("rtsp://host/live", transport="tcp")
    with pytest.raises(CameraError, match="%22"):
        hardware_rtsp_pipeline('rtsp://host/" ! filesink location=/etc/passwd "', transport="tcp")


def test_one_that_was_never_opened_is_closed_without_a_word() -> None:
    camera = GstCamera("videotestsrc", first_frame_s=1, stall_s=1)
    camera.close()
    with pytest.raises(CameraError, match="is not open"):
        camera.read()
