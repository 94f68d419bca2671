"""The newest picture of a run that goes on: kept while somebody looks, encoded once, by whoever asks first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from agent.contract.arrays import UInt8
from agent.contract.flight import Coverage, CrackRow, FrameRow
from agent.pipeline import Sighting
from agent.report.outlines import Marked
from agent.report.overlay import draw_overlay, reduced
from agent.report.pictures import jpeg

EDGE_PX: Final = 1240  # below it the strip with the legend: 1280 in all
WATCHED_S: Final = 10.0  # who asked within this time still looks
QUALITY: Final = 80
MOST_FETCHED: Final = 25.0  # pictures a second, by all who look together: the robot has better things to do


@dataclass(slots=True)
class _Picture:
    number: int
    frame: FrameRow
    cracks: list[CrackRow]
    image_rgb: UInt8 | None  # None once it is encoded
    content: bytes | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class LivePicture:
    """A `Listener` of the pipeline; its other methods are for the page's threads.

    Args:
        fps: at most so many pictures a second, fewer if more than MOST_FETCHED / fps look.
        clock: monotonic, s.
    """

    def __init__(self, *, fps: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.fps = fps
        self._clock = clock
        self._newest: _Picture | None = None
        self._at = self._asked_at = -float("inf")
        self._number = 0
        self._viewers = 1
        self.encoded = 0  # pictures, for those who wonder what the page costs

    def saw(self, sighting: Sighting) -> None:
        """See `Listener.saw`. Costs next to nothing: a picture that nobody asks for is never drawn."""
        now = self._clock()
        if now - self._asked_at > WATCHED_S:
            self._newest = None  # a frame is large
            return
        if now - self._at < max(1 / self.fps, self._viewers / MOST_FETCHED):
            return
        self._at = now
        self._number += 1
        self._newest = _Picture(self._number, sighting.row, sighting.crack_rows, sighting.frame.image_rgb)

    def skipped(self, row: FrameRow) -> None:
        """See `Listener.skipped`."""

    def ended(self, told: list[CrackRow], coverage: Coverage) -> None:
        """See `Listener.ended`; the last picture stays for those who look."""

    def look(self, viewers: int = 1) -> dict[str, Any] | None:
        """Say that somebody looks, how many do, and return which picture is the newest; None: none yet."""
        self._asked_at = self._clock()
        self._viewers = viewers
        newest = self._newest
        if newest is None:
            return None
        row = newest.frame
        return {
            "number": newest.number,
            "index": row.index,
            "name": row.name,
            "camera": row.camera,
            "cracks": row.cracks,
        }

    def ready(self) -> tuple[int, bytes] | None:
        """Return what `content` does if it is encoded already; None: ask there, which takes its time."""
        self._asked_at = self._clock()
        newest = self._newest
        return None if newest is None or newest.content is None else (newest.number, newest.content)

    def content(self) -> tuple[int, bytes] | None:
        """Return the newest picture's number and JPEG, at most 1280 px; None: none yet."""
        self._asked_at = self._clock()
        newest = self._newest
        if newest is None:
            return None
        with newest.lock:
            if newest.content is None and newest.image_rgb is not None:
                marked = [Marked.of(crack) for crack in newest.cracks]
                small = reduced(newest.image_rgb, edge_px=EDGE_PX)
                newest.content = jpeg(draw_overlay(small, newest.frame, marked, edge_px=EDGE_PX), quality=QUALITY)
                newest.image_rgb, newest.cracks = None, []
                self.encoded += 1
            return newest.number, newest.content or b""
