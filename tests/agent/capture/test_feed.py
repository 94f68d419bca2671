"""A camera is brought back, and everything that it gave is counted."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from agent.capture.camera import Damaged
from agent.capture.feed import LiveFeed
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


def test_the_camera_is_closed_after_every_connection() -> None:
    camera = ScriptedCamera([noise(0)], [noise(1), None])
    feed = LiveFeed("cam", kind="test", camera=camera, settings=FAST, news=threading.Condition())
    settled(feed, state="ended")
    assert camera.opened == camera.closed == 2
