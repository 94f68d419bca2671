"""What a source of frames is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from agent.contract.flight import SourceRef
from agent.contract.frame import Frame, SkippedFrame


class Source(Protocol):
    """Gives frames in a fixed order, one at a time. What cannot be read comes as a `SkippedFrame`, never as an end."""

    @property
    def ref(self) -> SourceRef:
        """Its name and the fingerprint of its content."""
        ...

    @property
    def names(self) -> list[str]:
        """The names its frames carry, or start with: unique in a run."""
        ...

    @property
    def length(self) -> int | None:
        """How many frames to expect, for a progress bar; None where the media does not say."""
        ...

    def frames(self, start: int) -> Iterator[Frame | SkippedFrame]:
        """Yield the frames, the first with index `start`.

        Raises:
            InputError: nothing at all can be read.
        """
        ...
