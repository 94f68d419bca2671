"""V4L2 on a stand-in kernel; collected by `test_v4l2`, in a process that has the stand-in loaded."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.capture.camera import Camera, Damaged, Picture
from agent.capture.feed import LiveFeed
from agent.capture.settings import CaptureSettings
from agent.capture.v4l2 import V4l2Camera
from agent.errors import CameraError, CameraSilentError
from tests.support.camera_contract import PATIENCE_S, CameraContract
from tests.support.cameras import wait_until

DEVICE = Path("/dev/video77")
HOW = Path(os.environ["FAKE_CAMERA"])
JPEG = Path(os.environ["FAKE_JPEG"]).read_bytes()


def camera(device: Path = DEVICE, *, mjpeg: bool = False, size_px: tuple[int, int] | None = None) -> V4l2Camera:
    return V4l2Camera(device, mjpeg=mjpeg, size_px=size_px, first_frame_s=PATIENCE_S, stall_s=PATIENCE_S)


@pytest.fixture(autouse=True)
def _well_behaved() -> None:
    HOW.write_text("ok")


@pytest.fixture
def opened() -> Iterator[V4l2Camera]:
    made = camera()
    made.open()
    yield made
    made.close()


class TestContract(CameraContract):
    @pytest.fixture(params=[False, True], ids=["raw", "mjpeg"])
    def camera(self, request: pytest.FixtureRequest) -> Camera:
        return camera(mjpeg=request.param)

    @pytest.fixture
    def absent(self) -> Camera:
        return camera(Path("/dev/video78"))

    def silence(self) -> None:
        HOW.write_text("silent")


def test_grey_levels_are_those_of_the_sensor(opened: V4l2Camera) -> None:
    """YUYV without colour: R = G = B = 1.164 (Y - 16), by hand; the stand-in paints ramps of step 3."""
    picture = opened.read()
    assert isinstance(picture, Picture)
    row = picture.image_rgb[0].astype(int)
    assert (row.max(axis=1) - row.min(axis=1) <= 2).all()
    y = np.round(row[:, 0] / 1.164 + 16)
    steps = np.diff(y)[(row[1:, 0] > 5) & (row[1:, 0] < 250) & (row[:-1, 0] > 5) & (row[:-1, 0] < 250)]
    assert np.abs(steps - 3).max() <= 1


def test_the_size_that_was_asked_for_is_given() -> None:
    made = camera(size_px=(96, 64))
    made.open()
    picture = made.read()
    made.close()
    assert isinstance(picture, Picture)
    assert picture.image_rgb.shape == (64, 96, 3)


def test_the_cameras_own_jpeg_is_passed_through() -> None:
    made = camera(mjpeg=True)
    made.open()
    pictures = [made.read() for _ in range(4)]
    made.close()
    for picture in pictures:
        assert isinstance(picture, Picture)
        assert picture.encoded is not None
        assert len(picture.encoded) == len(JPEG)
        assert sum(a != b for a, b in zip(picture.encoded, JPEG, strict=True)) <= 1
        assert picture.suffix == ".jpg"


def test_a_jpeg_cut_short_by_a_bad_cable_is_damage_and_no_loss() -> None:
    made = camera(mjpeg=True)
    made.open()
    HOW.write_text("torn")
    torn = [made.read() for _ in range(4)][-1]
    HOW.write_text("ok")
    whole = [made.read() for _ in range(4)][-1]
    made.close()
    assert isinstance(torn, Damaged)
    assert "cut short" in torn.reason
    assert isinstance(whole, Picture)


def test_silence_is_named_as_such(opened: V4l2Camera) -> None:
    opened.read()
    HOW.write_text("silent")
    with pytest.raises(CameraSilentError, match="no picture for 2 s"):
        _ = [opened.read() for _ in range(10)]


def test_a_camera_in_use_says_so() -> None:
    HOW.write_text("busy")
    with pytest.raises(CameraError, match="another program has it"):
        camera().open()


@pytest.mark.parametrize(
    ("device", "told"),
    [("/dev/null", "is no camera that gives pictures"), (__file__, "is a file or folder"), ("/dev/video78", "no such")],
)
def test_what_is_no_camera_says_so(device: str, told: str) -> None:
    with pytest.raises(CameraError, match=told):
        camera(Path(device)).open()


def test_unplugged_in_mid_frame_and_plugged_in_again() -> None:
    settings = CaptureSettings(first_frame_s=PATIENCE_S, stall_s=PATIENCE_S, retry_s=0.05, retry_max_s=0.1)
    feed = LiveFeed("cam", kind="v4l2", camera=camera(), settings=settings, news=threading.Condition())
    feed.start()
    wait_until(lambda: feed.status().arrived > 5, told=feed.status)
    for times in (1, 2, 3):
        HOW.write_text("gone")
        wait_until(lambda: feed.status().state == "lost", told=feed.status)
        assert "/dev/video77" in str(feed.status().problem)
        HOW.write_text("ok")
        wait_until(lambda times=times: feed.status().reopened == times, told=feed.status)  # type: ignore[misc]
    feed.close()
    assert feed.status().losses == 3
