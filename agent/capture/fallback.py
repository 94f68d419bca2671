"""A camera by two ways: the fast one as long as it works, else the safe one."""

from __future__ import annotations

import logging

from agent.capture.camera import Camera, Damaged, Picture
from agent.errors import CameraError

logger = logging.getLogger(__name__)


class FallbackCamera:
    """Uses `safe` for good once `fast` cannot be opened or gives no first picture, while `safe` does.

    A camera that is simply not there fails both ways, and then the fast one is tried again next time.
    """

    def __init__(self, fast: Camera, safe: Camera) -> None:
        self._fast, self._safe = fast, safe
        self._used: Camera | None = None
        self._waiting: Picture | Damaged | None = None
        self.fallen_back = False

    def open(self) -> None:
        """See `Camera.open`; the first picture is awaited here."""
        self.close()
        if not self.fallen_back:
            try:
                self._fast.open()
                self._waiting = self._fast.read()
            except CameraError as exc:
                self._fast.close()
                self._safe.open()  # fails if it is the camera, and not the way to it
                self._used, self.fallen_back = self._safe, True
                logger.warning("falling back to the slower way: %s", exc)
            else:
                self._used = self._fast
            return
        self._safe.open()
        self._used = self._safe

    def read(self) -> Picture | Damaged | None:
        """See `Camera.read`."""
        if self._used is None:
            raise CameraError("the camera is not open")
        if self._waiting is not None:
            picture, self._waiting = self._waiting, None
            return picture
        return self._used.read()

    def close(self) -> None:
        """See `Camera.close`."""
        self._waiting = self._used = None
        self._fast.close()
        self._safe.close()
