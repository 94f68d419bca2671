"""A camera is brought back, and everything that it gave is counted."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from agent.capture.camera import Damaged, Picture
from agent.capture.feed import LEFT_MOST, LiveFeed
from agent.capture.settings import CaptureSettings
from agent.capture.status import CameraStatus
from agent.errors import CameraError, CameraSilentError
from tests.support.cameras import ScriptedCamera, noise, wait_until

FAST = CaptureSettings(first_frame_s=1, stall_s=1, frozen_s=0.3, retry_s=0.01, retry_max_s=0.02)


def feed_of(*scripts: object, settings: CaptureSettings = FAST) -> LiveFeed:
    camera = ScriptedCamera(*scripts)  # type: ignore[arg-type]
    return LiveFeed("cam", kind="test", camera=camera, settings=settings, news=threading.Condition())


def settled(feed: LiveFeed, **expected: object) -> CameraStatus:
    """Run the feed until its status is as expected."""
    feed.start()
    wait_until(lambda: all(getattr(feed.status(), name) == value for name, value in expected.items()), told=feed.status)
    feed.close()
    return feed.status()


def balance(status: CameraStatus) -> int:
    return status.arrived - status.taken - status.dropped - status.repeated - status.damaged - status.waiting


def test_the_newest_picture_is_kept_and_the_others_are_counted_as_dropped() -> None:
    feed = feed_of([noise(0), noise(1), noise(2), None])
    status = settled(feed, state="ended")
    assert (status.arrived, status.dropped, status.waiting) == (3, 2, 1)
    taken = feed.take()
    assert taken is not None
    assert (taken.picture.image_rgb == noise(2)).all()
    assert taken.dropped_before == 2
    assert feed.take() is None
    assert feed.ended
    assert balance(feed.status()) == 0


def test_a_camera_that_is_lost_is_opened_again_and_both_are_counted() -> None:
    feed = feed_of([noise(0)], [noise(1)], [noise(2), None])
    status = settled(feed, state="ended")
    assert (status.losses, status.reopened, status.failed, status.arrived) == (2, 2, 0, 3)


def test_attempts_that_give_no_picture_are_no_losses() -> None:
    feed = feed_of([], [CameraError("no such device")], [noise(0), None])
    status = settled(feed, state="ended")
    assert (status.losses, status.failed, status.reopened) == (0, 2, 0)


def test_a_lost_camera_says_why_in_words() -> None:
    feed = feed_of([noise(0), CameraError("unplugged in mid-frame")])
    feed.start()
    wait_until(lambda: feed.status().problem == "gone for good", told=feed.status)
    assert feed.status().state == "lost"
    assert feed.status().fps is None
    feed.close()


def test_silence_is_a_stall() -> None:
    assert settled(feed_of([noise(0), CameraSilentError("no picture")], [noise(1), None]), state="ended").stalls == 1


def garbage() -> Iterator[Damaged]:
    while True:
        time.sleep(0.01)
        yield Damaged("garbage")


def test_a_camera_that_sends_nothing_but_garbage_is_silent() -> None:
    status = settled(feed_of(garbage(), [noise(0), None]), state="ended")
    assert status.stalls == 1
    assert status.damaged > 1
    assert balance(status) == 0


def test_damage_between_whole_pictures_is_counted_and_no_loss() -> None:
    status = settled(feed_of([noise(0), Damaged("x"), Damaged("x"), noise(1), None]), state="ended")
    assert (status.arrived, status.damaged, status.losses) == (4, 2, 0)


def test_a_frozen_camera_is_opened_again_and_its_repetitions_are_not_inferred() -> None:
    def frozen() -> Iterator[object]:
        for _ in itertools.count():
            time.sleep(0.01)
            yield noise(7)

    status = settled(feed_of(frozen(), [noise(8), None]), state="ended")
    assert status.freezes == 1
    assert status.repeated > 1
    assert status.arrived == status.repeated + 2


def test_a_still_scene_is_no_loss_where_the_settings_say_so() -> None:
    def still() -> Iterator[object]:
        for _ in range(6):
            yield noise(7)
            time.sleep(0.1)
        yield None

    settings = FAST.model_copy(update={"frozen_s": None})
    status = settled(feed_of(still(), settings=settings), state="ended")
    assert (status.freezes, status.repeated, status.losses) == (0, 5, 0)


def test_another_size_of_picture_is_counted() -> None:
    pictures = [noise(0), noise(1, width=80), noise(2, width=80), noise(3), None]
    status = settled(feed_of(pictures), state="ended")
    assert (status.format_changes, status.width, status.height) == (2, 64, 48)


def test_a_fault_in_a_driver_leaves_nobody_blind(caplog: pytest.LogCaptureFixture) -> None:
    status = settled(feed_of([noise(0), RuntimeError("segment of a driver")], [noise(1), None]), state="ended")
    assert (status.losses, status.reopened) == (1, 1)
    assert "segment of a driver" in caplog.text


def test_the_same_trouble_is_told_once_and_not_at_every_attempt(caplog: pytest.LogCaptureFixture) -> None:
    feed = feed_of()
    feed.start()
    wait_until(lambda: feed.status().failed > 5, told=feed.status)
    feed.close()
    assert caplog.text.count("gone for good") == 1


def test_pauses_double_up_to_the_longest() -> None:
    settings = FAST.model_copy(update={"retry_s": 0.05, "retry_max_s": 0.4})
    feed = feed_of(settings=settings)
    began = time.monotonic()
    feed.start()
    wait_until(lambda: feed.status().failed >= 6, told=feed.status)
    elapsed = time.monotonic() - began
    feed.close()
    assert elapsed >= 0.05 + 0.1 + 0.2 + 0.4 + 0.4


def test_a_driver_that_does_not_come_back_is_told() -> None:
    release = threading.Event()
    feed = feed_of([noise(0), release.wait], settings=FAST)
    feed.start()
    wait_until(lambda: feed.status().state == "hung", told=feed.status)
    assert feed.status().problem == "the driver does not come back; restart the agent"
    release.set()
    feed.close()


class Hanging:
    """A camera of a driver that does not come back until it is released; then it tells who closed it."""

    def __init__(self, *before: object) -> None:
        self.release = threading.Event()
        self._inner = ScriptedCamera([*before, self._hang])
        self.closed = self._inner.closed

    def _hang(self) -> None:
        self.release.wait()

    def open(self) -> None:
        self._inner.open()

    def read(self) -> Picture | Damaged | None:
        return self._inner.read()

    def close(self) -> None:
        self._inner.close()
        self.closed = self._inner.closed


HASTY = FAST.model_copy(update={"first_frame_s": 0.2, "stall_s": 0.2})


def looked_after(feed: LiveFeed, condition: Callable[[], bool]) -> None:
    """Do what the scheduler does until the condition holds."""

    def holds() -> bool:
        feed.look_after()
        return condition()

    wait_until(holds, told=feed.status)


def watched_by_threads(name: str) -> int:
    return sum(thread.name == f"camera-{name}" for thread in threading.enumerate())


def test_a_driver_that_does_not_come_back_is_left_behind_and_the_camera_opened_anew() -> None:
    hanging, whole = Hanging(noise(0)), ScriptedCamera([noise(1), *[noise(2)] * 3, threading.Event().wait])
    feed = LiveFeed(
        "left", kind="test", camera=hanging, settings=HASTY, news=threading.Condition(), renew=lambda: whole
    )
    feed.start()
    looked_after(feed, lambda: feed.status().state == "live" and feed.status().hangs == 1)
    status = feed.status()
    assert (status.losses, status.reopened, status.arrived, status.repeated) == (1, 1, 5, 2)
    assert not feed.stuck
    hanging.release.set()
    wait_until(lambda: hanging.closed == 1)
    wait_until(lambda: watched_by_threads("left") == 1)
    assert feed.status().state == "live", "what the driver says when it does come back changes nothing"
    assert balance(feed.status()) == 0


def test_threads_are_left_behind_a_few_times_only_and_then_a_new_process_is_asked_for() -> None:
    cameras = [Hanging() for _ in range(9)]
    rest = iter(cameras)
    feed = LiveFeed(
        "few", kind="test", camera=next(rest), settings=HASTY, news=threading.Condition(), renew=lambda: next(rest)
    )
    feed.start()
    looked_after(feed, lambda: feed.status().hangs == LEFT_MOST and feed.status().state == "hung")
    for _ in range(20):
        feed.look_after()
    assert feed.status().hangs == LEFT_MOST
    assert watched_by_threads("few") == LEFT_MOST + 1
    assert feed.stuck
    for camera in cameras:
        camera.release.set()
    wait_until(lambda: watched_by_threads("few") <= 1)
    feed.close()


def test_the_camera_is_closed_after_every_connection() -> None:
    camera = ScriptedCamera([noise(0)], [noise(1), None])
    feed = LiveFeed("cam", kind="test", camera=camera, settings=FAST, news=threading.Condition())
    settled(feed, state="ended")
    assert camera.opened == camera.closed == 2
