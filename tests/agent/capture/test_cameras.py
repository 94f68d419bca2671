"""Several cameras on one network: fair, paced, paused, and their frames told apart."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.capture import open_sources
from agent.capture.camera import Picture
from agent.capture.cameras import Cameras
from agent.capture.feed import LEFT_MOST, LiveFeed
from agent.capture.filefeed import FileFeed
from agent.capture.pace import Limit
from agent.capture.settings import CaptureSettings
from agent.contract.frame import Frame, Pose, Scale, SkippedFrame
from agent.errors import CameraHungError, InputError
from tests.support.cameras import ScriptedCamera, noise, wait_until

PATIENT = CaptureSettings(first_frame_s=30, stall_s=30, retry_s=0.01, retry_max_s=0.05)


def endless(period_s: float, *, first: int = 0) -> Iterator[object]:
    for seed in itertools.count(first):
        time.sleep(period_s)
        yield noise(seed)


def cameras_of(
    scripts: dict[str, Iterable[object]], *, settings: CaptureSettings = PATIENT, **options: object
) -> Cameras:
    news = threading.Condition()
    feeds = [
        LiveFeed(name, kind="test", camera=ScriptedCamera(script), settings=settings, news=news)
        for name, script in scripts.items()
    ]
    return Cameras(feeds, settings=settings, news=news, **options)  # type: ignore[arg-type]


def photos(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{folder.name}{index}.png"), noise(index))
    return folder


def file_feed(folder: Path) -> FileFeed:
    (source,) = open_sources([folder], camera=folder.name)
    return FileFeed(folder.name, source)


def test_a_fast_camera_does_not_starve_a_slow_one() -> None:
    """The network takes 20 ms, the fast camera gives a picture each ms: the slow one is served whenever it has one."""
    with cameras_of({"fast": endless(0.001), "slow": endless(0.05, first=9000)}) as cameras:
        frames = cameras.frames()
        served: Counter[str] = Counter()
        turns = 0
        last = ""
        while served["slow"] < 10:
            waits = cameras.status()[1].waiting
            frame = next(frames)
            if waits and last == "fast":
                assert frame.camera == "slow"
                turns += 1
            last = frame.camera
            served[last] += 1
            time.sleep(0.02)
        fast, _ = cameras.status()
    assert turns > 0
    assert fast.dropped > fast.taken


def test_cameras_that_always_have_a_picture_take_turns(tmp_path: Path) -> None:
    feeds = [file_feed(photos(tmp_path / name, 3)) for name in ("a", "b")]
    with Cameras(feeds, settings=PATIENT) as cameras:
        frames = list(cameras.frames())
    assert [frame.camera for frame in frames] == ["a", "b"] * 3
    assert [frame.index for frame in frames] == list(range(6))


def test_files_lose_nothing_and_a_slow_network_does_not_matter(tmp_path: Path) -> None:
    with Cameras([file_feed(photos(tmp_path / "a", 5))], settings=PATIENT) as cameras:
        for _ in cameras.frames():
            time.sleep(0.02)
        (status,) = cameras.status()
    assert (status.arrived, status.taken, status.dropped, status.state) == (5, 5, 0, "ended")


class Stepped:
    """Gives the next picture when the one before has been seen."""

    def __init__(self, *pictures: object) -> None:
        self._pictures = pictures
        self._gate = threading.Semaphore(0)

    def __iter__(self) -> Iterator[object]:
        for picture in self._pictures:
            self._gate.acquire(timeout=60)
            yield picture
        yield None

    def _never(self) -> Iterator[object]:
        self._gate.acquire(timeout=2)
        yield None

    def seen_by(self, cameras: Cameras, *, pause_s: float = 0.0) -> list[Frame]:
        self._gate.release()
        frames = []
        for frame in cameras.frames():
            assert isinstance(frame, Frame)
            frames.append(frame)
            time.sleep(pause_s)
            self._gate.release()
        return frames


def hung(*names: str, others: Sequence[FileFeed | LiveFeed] = ()) -> tuple[Cameras, threading.Event]:
    """Cameras of drivers that do not come back until the event; and others beside them."""
    release, news = threading.Event(), threading.Condition()
    settings = PATIENT.model_copy(update={"first_frame_s": 0.1, "stall_s": 0.1})

    def camera() -> ScriptedCamera:
        return ScriptedCamera([release.wait])

    feeds = [LiveFeed(name, kind="test", camera=camera(), settings=settings, news=news, renew=camera) for name in names]
    return Cameras([*feeds, *others], settings=settings, news=news), release


def test_when_no_driver_comes_back_a_new_process_is_asked_for() -> None:
    cameras, release = hung("crown", "wall")
    with (
        cameras,
        pytest.raises(CameraHungError, match=r"camera (crown|crown, wall|wall): the driver does not come back"),
    ):
        list(cameras.frames())
    release.set()


def test_a_driver_that_does_not_come_back_ends_no_flight_of_which_another_camera_sees_something() -> None:
    news = threading.Condition()
    sees = LiveFeed("sees", kind="test", camera=ScriptedCamera(endless(0.05)), settings=PATIENT, news=news)
    cameras, release = hung("crown", others=[sees])
    with cameras:
        frames = cameras.frames()

        def goes_on_until(condition: Callable[[], bool]) -> None:
            wait_until(lambda: next(frames).camera == "sees" and condition())

        goes_on_until(lambda: cameras.status()[0].hangs == LEFT_MOST)
        goes_on_until(lambda: cameras.status()[0].state == "hung")
        assert cameras.status()[0].problem == "the driver does not come back; restart the agent"
        assert all(next(frames).camera == "sees" for _ in range(20))
    release.set()


def test_frames_carry_name_time_hash_and_quality() -> None:
    encoded = cv2.imencode(".jpg", noise(1))[1].tobytes()
    pose = Pose(x_mm=1, y_mm=2)
    own = Scale(mm_per_px=0.25, source="rendered")
    pictures = Stepped(noise(0), Picture(image_rgb=noise(1), encoded=encoded, suffix=".jpg", pose=pose, scale=own))
    before = time.time_ns() // 1_000_000
    with cameras_of({"belly": pictures}, scales={"belly": Scale(mm_per_px=0.5, source="setting")}) as cameras:
        first, second = pictures.seen_by(cameras, pause_s=0.2)
    assert (first.name, second.name) == ("belly/000000", "belly/000001")
    assert first.sha256 == hashlib.sha256(noise(0).tobytes()).hexdigest()
    assert second.sha256 == hashlib.sha256(encoded).hexdigest()
    assert (first.scale.mm_per_px, second.scale.mm_per_px, second.pose) == (0.5, 0.25, pose)
    assert first.media_time_ns is not None
    assert second.media_time_ns is not None
    assert second.media_time_ns - first.media_time_ns >= 200_000_000
    assert first.captured_ms is not None
    assert 0 <= first.captured_ms - before < 60_000
    assert first.quality is not None


def test_a_scale_that_was_set_for_another_size_is_unknown() -> None:
    pictures = Stepped(noise(0), noise(1, width=80), noise(2, width=80), noise(3))
    with cameras_of({"c": pictures}, scales={"c": Scale(mm_per_px=0.5, source="setting")}) as cameras:
        frames = pictures.seen_by(cameras)
    assert [frame.scale.mm_per_px for frame in frames] == [0.5, None, None, 0.5]


def test_while_paused_nothing_is_inferred_and_what_arrives_is_dropped_and_counted() -> None:
    idled = itertools.count()
    with cameras_of({"c": endless(0.005)}) as cameras:
        frames = cameras.frames(idle=lambda: next(idled) >= 0)
        next(frames)
        cameras.pause()
        taken = cameras.status()[0].taken
        waiter = threading.Timer(0.3, cameras.resume)
        waiter.start()
        before = cameras.status()[0].dropped
        frame = next(frames)
        waiter.join()
        status = cameras.status()[0]
    assert isinstance(frame, Frame)
    assert status.taken == taken + 1
    assert status.dropped > before + 3
    assert next(idled) > 0


def test_a_mission_can_end_while_the_cameras_stay() -> None:
    with cameras_of({"c": endless(0.001)}) as cameras:
        first = []
        for frame in cameras.frames():
            first.append(frame)
            if len(first) == 3:
                cameras.leave()
        second = list(itertools.islice(cameras.frames(), 2))
        (status,) = cameras.status()
    assert [frame.index for frame in [*first, *second]] == [0, 1, 2, 0, 1]
    assert [frame.name for frame in second] == ["c/000003", "c/000004"]
    assert status.losses == 0


def test_who_waits_with_it_can_end_it() -> None:
    with cameras_of({"c": Stepped()._never()}) as cameras:
        assert list(cameras.frames(idle=lambda: False)) == []


def test_a_snapshot_is_the_newest_picture_whether_or_not_it_is_inferred() -> None:
    with cameras_of({"c": [noise(0), noise(1), None]}) as cameras:
        wait_until(lambda: cameras.status()[0].state == "ended")
        newest = cameras.snapshot("c")
        assert newest is not None
        assert (newest == noise(1)).all()
        with pytest.raises(KeyError):
            cameras.snapshot("d")


class Step:
    """A pace that is set by hand."""

    def __init__(self, limit: Limit) -> None:
        self.now = limit

    def limit(self) -> Limit:
        return self.now

    def let_go(self) -> bool:
        if self.now.stopped:
            self.now = Limit()
        return True


def test_heat_slows_and_stops_and_lets_go_again() -> None:
    pace = Step(Limit(max_fps=20, reason="hot"))
    with cameras_of({"c": endless(0.001)}, pace=pace) as cameras:
        frames = cameras.frames(idle=pace.let_go)
        began = time.monotonic()
        for _ in range(6):
            next(frames)
        assert time.monotonic() - began >= 4 / 20 - 0.05  # a fifth of a second may be made up for at the start
        assert cameras.limit.reason == "hot"
        pace.now = Limit(stopped=True, reason="too hot")
        next(frames)  # comes only once idle has lifted the stop
        assert cameras.limit == Limit()


def test_one_camera_that_cannot_be_read_does_not_end_the_others(tmp_path: Path) -> None:
    video = tmp_path / "v" / "empty.mkv"
    good = file_feed(photos(tmp_path / "a", 2))

    class Broken:
        ref = good._source.ref
        names: tuple[str, ...] = ()
        length = None

        def frames(self, start: int) -> Iterator[Frame | SkippedFrame]:
            raise InputError(f"{video}: a video without a single frame")
            yield

    with Cameras([FileFeed("v", Broken()), good], settings=PATIENT) as cameras:  # type: ignore[arg-type]
        assert len(list(cameras.frames())) == 2
        assert "without a single frame" in str(cameras.status()[0].problem)
    with Cameras([FileFeed("v", Broken())], settings=PATIENT) as cameras, pytest.raises(InputError, match="single"):  # type: ignore[arg-type]
        list(cameras.frames())


def test_a_black_picture_is_skipped_with_its_reason() -> None:
    black = np.zeros((48, 64, 3), np.uint8)
    with cameras_of({"c": [black, None]}) as cameras:
        (frame,) = cameras.frames()
        (status,) = cameras.status()
    assert isinstance(frame, SkippedFrame)
    assert frame.reason == "100% of the picture is black"
    assert (status.taken, status.skipped) == (1, 1)


def test_a_covered_lens_does_not_fill_the_record_with_lines() -> None:
    def covered() -> Iterator[object]:
        for level in itertools.cycle((0, 1, 2)):
            time.sleep(0.005)
            yield np.full((48, 64, 3), level, np.uint8)

    began, cpu = time.monotonic(), time.process_time()
    with cameras_of({"c": covered()}) as cameras:
        frames = list(itertools.islice(cameras.frames(), 3))
        (status,) = cameras.status()
    elapsed = time.monotonic() - began
    assert all(isinstance(frame, SkippedFrame) for frame in frames)
    assert elapsed >= 2  # two rests between three looks
    assert status.dropped > 20
    assert time.process_time() - cpu < 0.9 * elapsed  # it waits, and does not spin
