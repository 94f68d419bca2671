"""Photos, videos and flight records as a camera: every frame is seen, at the networks' pace."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from agent.capture.source import Source
from agent.capture.status import CameraStatus, counted
from agent.contract.arrays import UInt8
from agent.contract.frame import Frame, SkippedFrame
from agent.errors import InputError

logger = logging.getLogger(__name__)


class FileFeed:
    """A source that waits: nothing is dropped.

    Args:
        name: the camera's.
        source: is read once.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self._source = source
        self._frames: Iterator[Frame | SkippedFrame] | None = None
        self._status = CameraStatus(name=name, kind="files", state="live")
        self._newest: UInt8 | None = None

    @property
    def ready(self) -> bool:
        """See `Feed.ready`."""
        return not self.ended

    @property
    def ended(self) -> bool:
        """See `Feed.ended`."""
        return self._status.state == "ended"

    @property
    def stuck(self) -> bool:
        """See `Feed.stuck`."""
        return False

    def look_after(self) -> None:
        """See `Feed.look_after`."""

    def take(self) -> Frame | SkippedFrame | None:
        """Return the next frame, its index counted within this source; None at the end."""
        if self._frames is None:
            self._frames = self._source.frames(0)
        try:
            frame = next(self._frames, None)
        except InputError as exc:  # the other cameras go on
            logger.warning("camera %s: %s", self.name, exc)
            self._status = replace(self._status, state="ended", problem=str(exc))
            return None
        if frame is None:
            self._status = replace(self._status, state="ended")
            return None
        if isinstance(frame, SkippedFrame):
            self._status = counted(self._status, arrived=1, damaged=1)
        else:
            self._newest = frame.image_rgb
            self._status = replace(counted(self._status, arrived=1, taken=1), width=frame.width, height=frame.height)
        return frame

    def status(self) -> CameraStatus:
        """See `Feed.status`."""
        return self._status

    def newest(self) -> UInt8 | None:
        """See `Feed.newest`."""
        return self._newest

    def start(self) -> None:
        """See `Feed.start`."""

    def close(self) -> None:
        """See `Feed.close`."""
        self._frames = iter(())
