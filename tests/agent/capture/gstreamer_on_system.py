"""GStreamer on its test picture; collected by `test_gstreamer`, in a process that finds the system's PyGObject."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from agent.capture.camera import Camera, Picture
from agent.capture.feed import LiveFeed
from agent.capture.gstreamer import GstCamera, load_gst
from agent.capture.settings import CaptureSettings
from agent.errors import CameraError, CameraSilentError
from tests.support.camera_contract import PATIENCE_S, CameraContract
from tests.support.cameras import wait_until

SIZE = "video/x-raw,width={},height=48,framerate=50/1"
BALL = f'videotestsrc is-live=true pattern=ball ! capsfilter name=size caps="{SIZE.format(66)}" ! valve name=valve'


def camera_of(pipeline: str) -> GstCamera:
    return GstCamera(pipeline, first_frame_s=PATIENCE_S, stall_s=PATIENCE_S)


class TestContract(CameraContract):
    @pytest.fixture
    def camera(self) -> Camera:
        self.made = camera_of(BALL)
        return self.made

    @pytest.fixture
    def absent(self) -> Camera:
        return camera_of("filesrc location=/nowhere ! jpegdec")

    def silence(self) -> None:
        self.made._pipeline.get_by_name("valve").set_property("drop", True)


def test_colours_are_in_the_order_red_green_blue_whatever_the_rows_are_padded_to() -> None:
    """66 px of three bytes are padded to 200; the test picture is plain 0xAARRGGBB."""
    camera = camera_of(f"videotestsrc pattern=solid-color foreground-color=0xff1080f0 ! {SIZE.format(66)},format=RGB")
    camera.open()
    picture = camera.read()
    camera.close()
    assert isinstance(picture, Picture)
    assert picture.image_rgb.shape == (48, 66, 3)
    assert np.abs(picture.image_rgb.astype(int) - (0x10, 0x80, 0xF0)).max() <= 1


def test_a_pipeline_that_ends_is_no_fault() -> None:
    camera = camera_of(f"videotestsrc num-buffers=3 ! {SIZE.format(66)}")
    camera.open()
    pictures = list(itertools.takewhile(lambda picture: picture is not None, (camera.read() for _ in range(10))))
    camera.close()
    assert 1 <= len(pictures) <= 3


def test_silence_is_named_as_such_and_holds_up_nobody() -> None:
    camera = camera_of(f"{BALL} ")
    camera.open()
    camera.read()
    camera._pipeline.get_by_name("valve").set_property("drop", True)
    beats = itertools.count()
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.01):
            next(beats)

    thread = threading.Thread(target=beat)
    thread.start()
    began = time.monotonic()
    with pytest.raises(CameraSilentError, match="no picture for 2 s"):
        _ = [camera.read() for _ in range(10)]
    elapsed = time.monotonic() - began
    stop.set()
    thread.join()
    camera.close()
    assert next(beats) > 10 * elapsed  # one in ten of what would be possible


@pytest.mark.parametrize(
    ("pipeline", "told"),
    [
        ("nvarguscamerasrc sensor-id=0", 'cannot be built: no element "nvarguscamerasrc"'),
        ("videotestsrc ! ! videoconvert", "cannot be built: syntax error"),
        ("filesrc location=/nowhere ! jpegdec", 'does not start: .*Resource not found. No such file "/nowhere"'),
    ],
    ids=["an element that is not here", "no pipeline", "a file that is not there"],
)
def test_what_is_no_camera_says_why(pipeline: str, told: str) -> None:
    with pytest.raises(CameraError, match=told):
        camera_of(pipeline).open()


def test_an_element_that_fails_in_mid_stream_is_a_loss_and_got_over() -> None:
    gst = load_gst()
    from gi.repository import GLib

    settings = CaptureSettings(first_frame_s=5, stall_s=PATIENCE_S, retry_s=0.05, retry_max_s=0.1)
    camera = camera_of(BALL)
    feed = LiveFeed("cam", kind="gst", camera=camera, settings=settings, news=threading.Condition())
    feed.start()
    wait_until(lambda: feed.status().state == "live", told=feed.status)
    pipeline = camera._pipeline
    fault = GLib.Error.new_literal(gst.ResourceError.quark(), "unplugged", gst.ResourceError.READ)
    pipeline.get_bus().post(gst.Message.new_error(pipeline.get_by_name("valve"), fault, "somewhere.c\nby a cow"))
    pipeline.get_by_name("valve").set_property("drop", True)
    wait_until(lambda: feed.status().reopened == 1, told=feed.status)
    feed.close()
    assert (feed.status().losses, feed.status().stalls) == (1, 0)


def test_a_size_that_changes_in_mid_stream_is_no_loss() -> None:
    gst = load_gst()
    settings = CaptureSettings(first_frame_s=5, stall_s=PATIENCE_S, retry_s=0.05, retry_max_s=0.1)
    camera = camera_of(BALL)
    feed = LiveFeed("cam", kind="gst", camera=camera, settings=settings, news=threading.Condition())
    feed.start()
    wait_until(lambda: feed.status().width == 66, told=feed.status)
    camera._pipeline.get_by_name("size").set_property("caps", gst.Caps.from_string(SIZE.format(90)))
    wait_until(lambda: feed.status().width == 90, told=feed.status)
    feed.close()
    assert (feed.status().format_changes, feed.status().losses) == (1, 0)
