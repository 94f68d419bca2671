"""What a run did, for people and for machines."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.pipeline import Tally


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The figures of one run."""

    out: Path
    report: Path
    tally: Tally
    wall_seconds: float
    ignored: Mapping[str, int] = field(default_factory=dict)  # files of the folders that were not read, by suffix
    unplaced: Mapping[str, int] = field(
        default_factory=dict
    )  # frames without scale or place, and rows left out, by why
    unacknowledged: int | None = None  # reports that the broker has not taken; None if none were to be published

    @property
    def delivered(self) -> bool:
        """Whether everything that was to be published was."""
        return not self.unacknowledged

    def as_json(self) -> dict[str, Any]:
        """Return one flat object; seconds are CPU seconds of the process but for `wall_seconds`."""
        tally = self.tally
        return {
            "frames": tally.frames,
            "skipped": tally.skipped,
            "cracks": tally.cracks,
            "sightings": tally.sightings,
            "others": tally.ledger.counts["others"],
            "retracted": tally.ledger.retracted,
            "ignored": dict(self.ignored),
            "unplaced": dict(self.unplaced),
            "tiles": tally.tiles,
            "tiles_segmented": tally.tiles_segmented,
            "megapixels": round(tally.megapixels, 3),
            "wall_seconds": round(self.wall_seconds, 3),
            "stage_seconds": {name: round(seconds, 3) for name, seconds in tally.stage_seconds.items()},
            "run_seconds": round(tally.run_seconds, 3),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "unacknowledged": self.unacknowledged,
            "out": str(self.out),
            "report": str(self.report),
        }

    def _others(self) -> list[str]:
        ledger = self.tally.ledger
        kinds = Counter(kind for kind in ledger.kinds.values() if kind != "crack")
        by_kind = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in sorted(kinds.items()))
        retracted = f"{ledger.retracted} retracted: found in few of the frames that showed the place"
        return [
            *([f"no cracks by their geometry: {by_kind}"] if kinds else []),
            *([retracted] if ledger.retracted else []),
        ]

    def as_text(self) -> str:
        """Return a few lines for a person."""
        tally = self.tally
        skipped = f", {tally.skipped} skipped (reasons in the report)" if tally.skipped else ""
        ignored = ", ".join(f"{count} {suffix}" for suffix, count in self.ignored.items())
        lines = [
            f"{tally.cracks} crack{'' if tally.cracks == 1 else 's'}, from {tally.sightings} sightings",
            f"{tally.frames} frames{skipped}, {self.wall_seconds:.1f} s",
            *self._others(),
            f"{tally.tiles_segmented} of {tally.tiles} tiles passed the gate",
            *([f"files in the folders that are no photos and were not read: {ignored}"] if ignored else []),
        ]
        lines += [f"scale and place: {count} x {reason}" for reason, count in self.unplaced.items()]
        if self.unacknowledged is not None:
            lines.append(
                f"{self.unacknowledged} reports were not acknowledged by the broker; they are in the flight record"
                if self.unacknowledged
                else "every report was acknowledged by the broker"
            )
        return "\n".join([*lines, f"report: {self.report}"])
