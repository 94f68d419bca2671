"""All cameras of a device as one stream of frames: the scheduler of the service.

One network serves them all. Whenever it is free, it gets a frame of the camera that has waited longest for its turn, so
that a fast camera cannot starve a slow one. Connections outlive missions: `frames` may be called again after `leave`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Final

from typing_extensions import Self

from agent.capture.feed import Arrived, LiveFeed
from agent.capture.filefeed import FileFeed
from agent.capture.pace import FullPace, Limit, Pace
from agent.capture.quality import QualityFilter, measure_quality
from agent.capture.settings import CaptureSettings
from agent.capture.status import CameraStatus
from agent.contract.arrays import UInt8
from agent.contract.frame import UNKNOWN_SCALE, Frame, Scale, SkippedFrame
from agent.errors import CameraHungError, InputError

SLICE_S: Final = 0.2  # how long the loop waits before it looks around again
REST_S: Final = 1.0  # before a camera that shows nothing but black or white is looked at again


class Cameras:
    """The feeds of a device, scheduled.

    Args:
        feeds: one per camera.
        settings: pace and quality.
        news: what the feeds notify.
        scales: by camera, where the settings tell one.
        pace: the governor of heat and power.
    """

    def __init__(
        self,
        feeds: Sequence[LiveFeed | FileFeed],
        *,
        settings: CaptureSettings,
        news: threading.Condition | None = None,
        scales: dict[str, Scale] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._feeds = tuple(feeds)
        self._settings = settings
        self._news = news or threading.Condition()
        self._pace = pace or FullPace()
        self._limit = Limit()
        self._framing = {
            feed.name: _Framing(feed.name, (scales or {}).get(feed.name, UNKNOWN_SCALE), settings) for feed in feeds
        }
        self._served = dict.fromkeys(self._framing, 0)  # the turn at which each camera had its latest
        self._turn = 0
        self._paused = False
        self._leave = False
        self._progress = time.monotonic()

    def frames(self, *, idle: Callable[[], bool] = lambda: True) -> Iterator[Frame | SkippedFrame]:
        """Yield frames, indices from 0, until every camera has ended or `leave` is called.

        Args:
            idle: called a few times a second while there is nothing to infer; returns False to leave.

        Raises:
            InputError: not one frame could be read, from any camera, and none will come.
            CameraHungError: a driver keeps its camera and does not come back, and no other camera gives pictures.
        """
        index, next_at = 0, time.monotonic()
        self._leave = False
        while not self._leave:
            self._progress = now = time.monotonic()
            self._look_after()
            self._limit = self._pace.limit()
            rates = [rate for rate in (self._limit.max_fps, self._settings.max_fps) if rate is not None]
            held = self._paused or self._limit.stopped or now < next_at
            frame = None if held else self._next(index)
            if frame is not None:
                next_at = max(next_at, now - SLICE_S) + 1 / min(rates) if rates else now
                yield frame
                index += 1
            elif all(feed.ended for feed in self._feeds):
                break
            else:
                if not idle():
                    self._leave = True
                self._wait(min(SLICE_S, next_at - now) if now < next_at else SLICE_S, held=held)
        problems = [feed.status().problem for feed in self._feeds]
        if not self._leave and index == 0 and any(problems):
            raise InputError(next(problem for problem in problems if problem))

    def pause(self) -> None:
        """Infer nothing until `resume`; cameras stay connected, and what they give is dropped and counted."""
        self._set(paused=True)

    def resume(self) -> None:
        """Go on after `pause`, with the newest pictures."""
        self._set(paused=False)

    def leave(self) -> None:
        """End `frames` after the frame that is being inferred: the mission is over, the cameras stay."""
        with self._news:
            self._leave = True
            self._news.notify_all()

    def snapshot(self, camera: str) -> UInt8 | None:
        """Return a camera's newest picture, RGB; None if it has given none yet.

        Raises:
            KeyError: there is no such camera.
        """
        return {feed.name: feed for feed in self._feeds}[camera].newest()

    @property
    def paused(self) -> bool:
        """Whether `pause` holds."""
        return self._paused

    @property
    def limit(self) -> Limit:
        """The limit that was last applied."""
        return self._limit

    @property
    def progress(self) -> float:
        """When the loop last came round, monotonic seconds; stands still while a frame is inferred: for a watchdog."""
        return self._progress

    def status(self) -> tuple[CameraStatus, ...]:
        """Return how each camera does, in the order of the settings."""
        return tuple(replace(feed.status(), skipped=self._framing[feed.name].skipped) for feed in self._feeds)

    def __enter__(self) -> Self:
        for feed in self._feeds:
            feed.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all cameras; a second call does nothing."""
        self.leave()
        for feed in self._feeds:
            feed.close()

    def _next(self, index: int) -> Frame | SkippedFrame | None:
        """Return a frame of the ready camera whose turn is longest ago."""
        for feed in sorted(self._feeds, key=lambda feed: self._served[feed.name]):
            if not feed.ready or self._framing[feed.name].rests:
                continue
            taken = feed.take()
            if taken is None:
                continue
            self._turn += 1
            self._served[feed.name] = self._turn
            if isinstance(taken, Arrived):
                return self._framing[feed.name].frame(taken, index)
            return replace(taken, index=index)
        return None

    def _look_after(self) -> None:
        for feed in self._feeds:
            feed.look_after()
        stuck = [feed.name for feed in self._feeds if feed.stuck]
        if stuck and not any(feed.status().state == "live" for feed in self._feeds):
            raise CameraHungError(
                f"camera {', '.join(stuck)}: the driver does not come back and keeps it; restart the agent"
            )

    def _wait(self, seconds: float, *, held: bool) -> None:
        with self._news:
            ready = any(feed.ready and not self._framing[feed.name].rests for feed in self._feeds)
            if not self._leave and (held or not ready):
                self._news.wait(seconds)

    def _set(self, *, paused: bool) -> None:
        with self._news:
            self._paused = paused
            self._news.notify_all()


class _Framing:
    """Makes frames of one camera's pictures: names, times, scale, quality."""

    def __init__(self, camera: str, scale: Scale, settings: CaptureSettings) -> None:
        self._camera = camera
        self._scale = scale
        self._filter = QualityFilter(settings.quality)
        self._began_ns = time.monotonic_ns()
        self._size: tuple[int, int] | None = None  # for which the scale was set
        self._number = 0
        self._rests_until = -float("inf")
        self.skipped = 0

    @property
    def rests(self) -> bool:
        """Whether to leave the camera alone for a moment: a covered lens must not fill the record with lines."""
        return time.monotonic() < self._rests_until

    def frame(self, arrived: Arrived, index: int) -> Frame | SkippedFrame:
        """Return the frame, or why it is not worth the network's time."""
        picture = arrived.picture
        name = f"{self._camera}/{self._number:06d}"
        self._number += 1
        quality = measure_quality(picture.image_rgb)
        objection = self._filter.objection(quality, more_come=arrived.dropped_before > 0)
        if objection is not None:
            self.skipped += 1
            if self._filter.is_useless(quality):
                self._rests_until = time.monotonic() + REST_S
            return SkippedFrame(
                index=index,
                name=name,
                source=self._camera,
                camera=self._camera,
                reason=objection,
                captured_ms=arrived.utc_ms,
                quality=quality,
            )
        content = picture.image_rgb.data if picture.encoded is None else picture.encoded
        return Frame(
            index=index,
            name=name,
            source=self._camera,
            camera=self._camera,
            image_rgb=picture.image_rgb,
            sha256=hashlib.sha256(content).hexdigest(),
            media_time_ns=arrived.mono_ns - self._began_ns,
            encoded=picture.encoded,
            suffix=picture.suffix,
            scale=picture.scale or self._scale_at(picture.image_rgb),
            pose=picture.pose,
            captured_ms=arrived.utc_ms,
            quality=quality,
        )

    def _scale_at(self, image_rgb: UInt8) -> Scale:
        """A pixel's size was told for one size of picture: of another nobody knows whether it was cut or shrunk."""
        size = image_rgb.shape[:2]
        self._size = self._size or size
        return self._scale if size == self._size else UNKNOWN_SCALE
