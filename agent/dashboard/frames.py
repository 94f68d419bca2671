"""The frames of a flight, as far as they were read: how many of which kind, and where each one's line lies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.contract.flight import FRAMES_FILE, FrameRow
from agent.dashboard.tail import parsed
from agent.errors import InputError

MOST_REASONS: Final = 20
OTHER_REASONS: Final = "other reasons"


@dataclass(slots=True)
class Frames:
    """Counts, and rows that are read when they are asked for.

    Args:
        folder: of the record.
    """

    folder: Path
    inferred: int = 0
    skipped: int = 0
    with_cracks: int = 0
    without_scale: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # why frames were skipped
    last: FrameRow | None = None  # the newest that was inferred
    _lines: dict[int, tuple[int, int]] = field(default_factory=dict)  # index -> its line's place and length

    def add(self, row: FrameRow, at: int, length: int) -> None:
        """Take note of a frame whose line begins at a byte and has so many."""
        self._lines[row.index] = at, length
        if row.status == "skipped":
            self.skipped += 1
            reason = row.reason or "no reason given"
            self.reasons[reason if reason in self.reasons or len(self.reasons) < MOST_REASONS else OTHER_REASONS] += 1
            return
        self.inferred += 1
        self.with_cracks += row.cracks > 0
        self.without_scale += row.scale_mm_px is None
        self.last = row

    def __contains__(self, index: int) -> bool:
        """Whether the frame was read."""
        return index in self._lines

    def row(self, index: int) -> FrameRow:
        """Return a frame's row.

        Raises:
            KeyError: there is none of this index.
            InputError: the record was altered.
        """
        at, length = self._lines[index]
        with (self.folder / FRAMES_FILE).open("rb") as file:
            file.seek(at)
            row = parsed(FrameRow, file.read(length))
        if row is None:
            raise InputError(f"{self.folder / FRAMES_FILE}: the line of frame {index} was altered")
        return row

    def pictured(self) -> list[list[Any]]:
        """Return index, name and number of finds of each frame that may have a picture, in their order."""
        found = []
        with (self.folder / FRAMES_FILE).open("rb") as file:
            for line in file:
                row = parsed(FrameRow, line) if line.endswith(b"\n") else None
                if row is not None and row.status != "skipped" and (row.cracks or row.file is not None):
                    found.append([row.index, row.name, row.cracks])
        return found
