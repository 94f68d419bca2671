"""A network camera on its bad days: stalls, garbage, another size, gone and back."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.capture.camera import Camera, Picture
from agent.capture.fallback import FallbackCamera
from agent.capture.feed import LiveFeed
from agent.capture.gstreamer import GstCamera, hardware_rtsp_pipeline
from agent.capture.rtsp import RtspCamera
from agent.capture.settings import CaptureSettings
from agent.errors import CameraError
from tests.support.camera_contract import PATIENCE_S, CameraContract
from tests.support.cameras import wait_until
from tests.support.rtsp import RtspServer, line_to, rtsp_server

QUICK = CaptureSettings(first_frame_s=10, stall_s=PATIENCE_S, retry_s=0.05, retry_max_s=0.2)
SECRET = "hunter2"  # noqa: S105 - made up
RECONNECTS = int(os.environ.get("CRACKSCOUT_TEST_RECONNECTS", "12"))
WARM_UP = 5


def camera_at(url: str) -> RtspCamera:
    return RtspCamera(url, first_frame_s=QUICK.first_frame_s, stall_s=QUICK.stall_s)


@contextmanager
def watched(url: str) -> Iterator[LiveFeed]:
    feed = LiveFeed("cam", kind="rtsp", camera=camera_at(url), settings=QUICK, news=threading.Condition())
    feed.start()
    try:
        wait_until(lambda: feed.status().state == "live", told=feed.status)
        yield feed
    finally:
        feed.close()


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with rtsp_server() as running:
        yield running


class TestContract(CameraContract):
    @pytest.fixture(autouse=True)
    def _server(self, server: RtspServer) -> None:
        self.server = server

    @pytest.fixture
    def camera(self) -> Camera:
        return camera_at(self.server.url())

    @pytest.fixture
    def absent(self) -> Camera:
        return camera_at(self.server.url(port=9))

    def silence(self) -> None:
        self.server.stall()


def test_a_sound_stream_gives_whole_pictures_in_true_colours(server: RtspServer) -> None:
    """SMPTE's bars, left to right: white, yellow, cyan, green, magenta, red, blue; the encoder blurs them a little."""
    camera = camera_at(server.url())
    camera.open()
    pictures = [camera.read() for _ in range(40)]
    camera.close()
    assert all(isinstance(picture, Picture) for picture in pictures[10:])  # it may begin between two whole pictures
    last = pictures[-1]
    assert isinstance(last, Picture)
    bars = last.image_rgb[50, 20::46][:7] > 127
    assert ["".join(str(int(on)) for on in bar) for bar in bars] == ["111", "110", "011", "010", "101", "100", "001"]


def test_a_stream_that_stalls_is_opened_again(server: RtspServer) -> None:
    with watched(server.url()) as feed:
        server.stall()
        wait_until(lambda: feed.status().stalls >= 1, told=feed.status)
        assert feed.status().state == "lost"
        assert "127.0.0.1" in str(feed.status().problem)
        server.wake()
        wait_until(lambda: feed.status().state == "live", told=feed.status)
        assert (feed.status().losses, feed.status().reopened) == (1, 1)


def test_a_camera_that_vanishes_and_comes_back_with_another_size(server: RtspServer) -> None:
    with watched(server.url()) as feed:
        before = feed.status()
        assert (before.width, before.height) == (320, 240)
        server.kill()
        wait_until(lambda: feed.status().losses == 1 and feed.status().failed >= 2, told=feed.status)
        server.start(width=160, height=120)
        wait_until(lambda: feed.status().reopened == 1, told=feed.status)
        after = feed.status()
        assert (after.width, after.height, after.format_changes) == (160, 120, 1)


def test_a_size_that_changes_in_mid_stream_is_no_loss(server: RtspServer) -> None:
    with watched(server.url()) as feed:
        server.resize(192, 144)
        wait_until(lambda: feed.status().format_changes == 1, told=feed.status)
        assert (feed.status().width, feed.status().losses) == (192, 0)


def test_garbage_on_the_line_is_counted_and_got_over(server: RtspServer) -> None:
    with line_to(server.port) as line, watched(server.url(line.port)) as feed:
        line.garbled = True
        wait_until(lambda: feed.status().damaged + feed.status().losses >= 1, told=feed.status)
        line.garbled = False
        line.cut()
        arrived = feed.status().arrived
        wait_until(lambda: feed.status().state == "live" and feed.status().arrived > arrived + 20, told=feed.status)
        status = feed.status()
        assert status.arrived == status.taken + status.dropped + status.repeated + status.damaged + status.waiting


def test_a_line_cut_in_mid_frame_is_a_loss_and_got_over(server: RtspServer) -> None:
    with line_to(server.port) as line, watched(server.url(line.port)) as feed:
        line.cut()
        wait_until(lambda: feed.status().reopened == 1, told=feed.status)
        assert line.connections == 2


def test_a_wrong_password_is_named_as_such_and_never_told(server: RtspServer) -> None:
    del server
    with rtsp_server(login=("pilot", "right")) as asking:
        camera_at(asking.url(login="pilot:right@")).open()
        for login in ("", f"pilot:{SECRET}@"):
            with pytest.raises(CameraError, match="refuses the user or password") as refusal:
                camera_at(asking.url(login=login)).open()
            assert SECRET not in str(refusal.value)


def test_where_the_hardware_decoder_is_not_there_software_decodes(server: RtspServer) -> None:
    pipeline = hardware_rtsp_pipeline(server.url(), transport="tcp")
    camera = FallbackCamera(GstCamera(pipeline, first_frame_s=5, stall_s=5), camera_at(server.url()))
    for _ in range(2):
        camera.open()
        assert any(isinstance(camera.read(), Picture) for _ in range(20))
        camera.close()
        assert camera.fallen_back


def test_a_camera_that_is_off_does_not_make_the_hardware_decoder_look_broken(server: RtspServer) -> None:
    pipeline = hardware_rtsp_pipeline(server.url(port=9), transport="tcp")
    camera = FallbackCamera(GstCamera(pipeline, first_frame_s=5, stall_s=5), camera_at(server.url(port=9)))
    with pytest.raises(CameraError, match="cannot be connected to"):
        camera.open()
    camera.close()
    assert not camera.fallen_back


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("rtsp://u:{word}@camera.invalid/live", "camera.invalid: this host's name is not known"),
        ("rtsp://u:{word}@127.0.0.1:9/live", "127.0.0.1: cannot be connected to"),
        ("rtsp://u:{word}@127.0.0.1:{port}/nothing", "127.0.0.1: has no stream of this name"),
    ],
    ids=["a name that does not resolve", "nobody there", "no such stream"],
)
def test_an_address_that_leads_nowhere_is_told_in_words(server: RtspServer, address: str, told: str) -> None:
    with pytest.raises(CameraError, match=told) as fault:
        camera_at(address.format(word=SECRET, port=server.port)).open()
    assert SECRET not in str(fault.value)


def test_memory_stays_flat_over_many_reconnects(server: RtspServer) -> None:
    """12 in the normal tests; `make test-reconnects` does 200."""
    with line_to(server.port) as line, watched(server.url(line.port)) as feed:
        sizes = []
        for number in range(RECONNECTS + WARM_UP):
            line.cut()
            wait_until(lambda number=number: feed.status().reopened == number + 1, told=feed.status)  # type: ignore[misc]
            sizes.append(resident_mb())
        handles = len(list(Path("/proc/self/fd").iterdir()))
        status = feed.status()
    growth = sizes[-1] - sizes[WARM_UP - 1]
    sys.stdout.write(
        f"{RECONNECTS} reconnects: {growth:+.1f} MB, {handles} handles, {threading.active_count()} threads\n"
    )
    assert status.losses == status.reopened == RECONNECTS + WARM_UP
    assert growth < 8
    assert handles < 100


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
