"""Which cracks there are, each once, from what happened to them."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.contract.flight import CrackRow, MaskRle, TrackRow
from agent.contract.reports import Kind


@dataclass(slots=True)
class Ledger:
    """Counts cracks while events come in."""

    kinds: dict[str, Kind] = field(default_factory=dict)  # of what there is, by crack id
    cracks: int = 0
    retracted: int = 0
    sightings: int = 0
    _gone: set[str] = field(default_factory=set)  # retracted

    def see(self, row: CrackRow) -> None:
        """Take note of a sighting, after the events of its frame; one that no event names is a crack of its own."""
        self.sightings += 1
        if row.crack_id not in self.kinds and row.crack_id not in self._gone:
            self.kinds[row.crack_id] = row.kind
            self.cracks += row.kind == "crack"

    def note(self, row: TrackRow) -> None:
        """Take note of an event."""
        self._gone.discard(row.crack_id)
        before = self.kinds.pop(row.crack_id, None)
        self.cracks -= before == "crack"
        if row.event == "retracted":
            self.retracted += not row.parents  # one that became part of another was no false alarm
            self._gone.add(row.crack_id)
        else:
            self.kinds[row.crack_id] = row.kind
            self.cracks += row.kind == "crack"

    @property
    def counts(self) -> dict[str, int]:
        """What a flight's header says."""
        others = len(self.kinds) - self.cracks
        return {"cracks": self.cracks, "sightings": self.sightings, "others": others, "retracted": self.retracted}


def whole_crack(track: TrackRow, best: CrackRow) -> CrackRow:
    """Return the line of a crack as a whole: the figures of the sighting that shows it best, the length of all.

    Args:
        track: the last event of the crack.
        best: the sighting; its own centre line, box and mask stay, in its own frame.
    """
    grown = track.length_px > best.length_px
    return best.model_copy(
        update={
            "id": track.id,
            "crack_id": track.crack_id,
            "event": track.event,
            "revision": track.revision,
            "parents": track.parents,
            "kind": track.kind,
            "sightings": track.sightings,
            "length_px": track.length_px if grown else best.length_px,
            "length_mm": track.length_mm if grown and track.length_mm is not None else best.length_mm,
        }
    )


def without_lines(crack: CrackRow) -> CrackRow:
    """Return the row without centre lines and mask, to be kept in memory."""
    return crack.model_copy(update={"branches": (), "mask": MaskRle(size=crack.mask.size, counts=())})


@dataclass(slots=True)
class BestSightings:
    """Holds the sighting that shows each open crack best, so that an event can be told with its figures."""

    _rows: dict[str, CrackRow] = field(default_factory=dict)  # by crack id

    def tell(self, track: TrackRow, seen: dict[str, CrackRow]) -> CrackRow | None:
        """Return the crack as a whole at an event; None if no sighting of it is at hand.

        Args:
            track: the event.
            seen: the current frame's sightings, by id.
        """
        best = seen.get(track.best_id)
        best = self._rows.get(track.crack_id) if best is None else without_lines(best)
        if best is None:  # it had ended and is seen again, less well than before
            best = next((without_lines(row) for row in seen.values() if row.crack_id == track.crack_id), None)
        for parent in track.parents if track.event == "merge" else ():
            self._rows.pop(parent, None)
        if best is None:
            return None
        if track.event in {"final", "retracted"}:
            self._rows.pop(track.crack_id, None)
        else:
            self._rows[track.crack_id] = best
        return whole_crack(track, best)
