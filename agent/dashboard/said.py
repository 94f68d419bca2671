"""What people said of the cracks of a flight, as far as it was read."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.contract.flight import ReviewRow
from agent.dashboard.tail import Tail, parsed
from agent.record.reviews import Reviewed, fold


@dataclass(slots=True)
class Said:
    """Reviews, and what holds of each crack now."""

    rows: list[ReviewRow] = field(default_factory=list)
    faults: int = 0  # lines that do not fit
    _holds: dict[str, Reviewed] = field(default_factory=dict)
    _lines: dict[str, int] = field(default_factory=dict)

    def take(self, tail: Tail) -> None:
        """Read what was added."""
        before = tail.taken
        while (line := tail.peek()) is not None:
            tail.take()
            row = parsed(ReviewRow, line)
            if row is None:
                self.faults += 1
                continue
            self.rows.append(row)
            undone = next((one.merge_into for one in self.rows if one.id == row.undo), None) if row.undo else None
            for id_ in filter(None, (row.crack_id, row.merge_into, undone)):
                self._lines[id_] = tail.taken
        if tail.taken > before:
            self._holds = fold(self.rows)

    def of(self, crack_id: str) -> Reviewed | None:
        """Return what holds of a crack; None if nothing."""
        return self._holds.get(crack_id)

    def line(self, crack_id: str) -> int:
        """Return the line that told of a crack last; 0: none did."""
        return self._lines.get(crack_id, 0)
