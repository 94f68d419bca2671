"""How much memory the frames that are being looked at may take, all cameras of the process together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from agent.errors import InferenceError

# Of each pixel: 3 bytes of the frame, 1 of its map, 3 of the half-size frame and its black-hat at a quarter each.
BYTES_PER_PIXEL: Final = 3 + 1 + 2
MEBIBYTE: Final = 1 << 20


class MemoryBudget:
    """Bytes that frames in work share: who comes when they are spent waits until another frame is done.

    Args:
        limit_bytes: of all frames in work together, > 0.

    Raises:
        ValueError: a limit of 0 or below.
    """

    def __init__(self, limit_bytes: int) -> None:
        if limit_bytes <= 0:
            raise ValueError(f"limit_bytes={limit_bytes} must be above 0")
        self._limit = limit_bytes
        self._taken = 0
        self._changed = threading.Condition()

    @property
    def taken_bytes(self) -> int:
        """What the frames in work hold now."""
        return self._taken

    @contextmanager
    def frame(self, height: int, width: int) -> Iterator[None]:
        """Hold what a frame of this size needs while the block runs; wait for it if need be.

        Raises:
            InferenceError: the frame alone needs more than the limit, so that waiting would never end.
        """
        need = height * width * BYTES_PER_PIXEL
        if need > self._limit:
            raise InferenceError(
                f"a frame of {width}x{height} px needs {need / MEBIBYTE:.0f} MiB, above detect.memory_mb="
                f"{self._limit / MEBIBYTE:.0f}; raise it, or cut the picture up"
            )
        with self._changed:
            self._changed.wait_for(lambda: self._taken + need <= self._limit)
            self._taken += need
        try:
            yield
        finally:
            with self._changed:
                self._taken -= need
                self._changed.notify_all()
