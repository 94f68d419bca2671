"""How far a reader has come: lines of each file of a record that only grows.

The id of a server-sent event. Files grow apart, so one count would not do: a frame's line and an event's may be read in
another order after a restart.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

_TEXT: Final = re.compile(r"([0-9a-f]{16})~(\d{1,15})\.(\d{1,15})\.(\d{1,15})")


def key_of(mission_id: str) -> str:
    """Return what a flight is called in addresses and ids: a record from elsewhere may name its mission anything."""
    return hashlib.sha256(mission_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Lines that were read."""

    flight: str  # key
    frames: int = 0
    tracks: int = 0
    reviews: int = 0

    def __str__(self) -> str:
        return f"{self.flight}~{self.frames}.{self.tracks}.{self.reviews}"

    @classmethod
    def parse(cls, text: str | None) -> Cursor | None:
        """Return what `str` made; None if it is something else."""
        found = _TEXT.fullmatch(text or "")
        if found is None:
            return None
        return cls(found[1], int(found[2]), int(found[3]), int(found[4]))
