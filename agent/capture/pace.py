"""How fast the scheduler may go: the seam to whoever watches heat and power."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Limit:
    """How fast frames may be inferred at this moment."""

    max_fps: float | None = None  # None: as fast as it goes
    stopped: bool = False
    reason: str | None = None


class Pace(Protocol):
    """Sets the limit: heat and power."""

    def limit(self) -> Limit:
        """Return the limit of this moment; cheap, asked at every frame."""
        ...


class FullPace:
    """No limit."""

    def limit(self) -> Limit:
        """See `Pace.limit`."""
        return Limit()
