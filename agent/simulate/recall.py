"""What an agent found of a rendered inspection, against its truth.

Definitions. A truth crack is found where, in at least one frame, half of the length of its centre lines that the frame
shows lies within `REACH_PX` of the centre line of a crack that the record holds to the end, and the frame shows a
quarter of the crack or `LEAST_PX` of it. A reported crack is true where half of its centre line, in its best frame,
lies within `REACH_PX` of the truth. Pixels are those of the camera; what a cable hides is not asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Bool, Float64
from agent.contract.flight import CrackRow, FrameRow
from agent.record import read_flight
from agent.simulate.inspection.flight import InspectionFlight

REACH_PX: Final = 6
LEAST_PX: Final = 60.0
FOUND_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """What was found of what there was."""

    true: int  # cracks of the truth that any frame shows long enough
    found: int  # of these
    reported: int  # cracks that the record holds to the end
    right: int  # of these
    missed_mm: tuple[float, ...]  # median widths of the cracks that were missed

    def as_text(self) -> str:
        """Return one sentence or two."""
        missed = ", ".join(f"{width:.1f}" for width in sorted(self.missed_mm))
        return (
            f"against the truth of the rendering: {self.found} of {self.true} cracks found"
            + (f" (missed, by median width in mm: {missed})" if missed else "")
            + f"; {self.right} of {self.reported} reported cracks are true. A rendering, no wall: it says that the "
            "parts work together, not how well they do outside."
        )


def recall_of(flight: InspectionFlight, record: Path) -> Recall:
    """Lay a record of the flight beside its truth.

    Raises:
        InputError: the record cannot be read.
    """
    read = read_flight(record)
    whole = {crack.crack_id: (frame, crack) for frame, crack in read.whole_cracks() if crack.kind == "crack"}
    asked: set[int] = set()
    found: set[int] = set()
    for frame, sightings in read.sightings():
        kept = [row for row in sightings if row.crack_id in whole]
        truth = flight.lines(frame.index)
        drawn = _drawn([_lines(row) for row in kept], frame.height, frame.width)
        for number, length, lines in truth:
            points = _inside(np.concatenate([_points(line) for line in lines]), frame.height, frame.width)
            if len(points) < min(LEAST_PX, 0.25 * length):
                continue
            asked.add(number)
            if _share(points, drawn) >= FOUND_SHARE:
                found.add(number)
    right = sum(_is_true(flight, frame, crack) for frame, crack in whole.values())
    missed = tuple(float(np.median(flight.cracks[i].branches[0].width)) for i in asked - found)
    return Recall(true=len(asked), found=len(found & asked), reported=len(whole), right=right, missed_mm=missed)


def _is_true(flight: InspectionFlight, frame: FrameRow, crack: CrackRow) -> bool:
    """Whether a reported crack lies on the truth, in the frame that shows it best."""
    real = _drawn([lines for _, _, lines in flight.lines(frame.index)], frame.height, frame.width)
    points = _inside(np.concatenate([_points(line) for line in _lines(crack)]), frame.height, frame.width)
    return bool(len(points)) and _share(points, real) >= FOUND_SHARE


def _lines(row: CrackRow) -> list[Float64]:
    return [np.asarray(branch.line_px, np.float64) for branch in row.branches]


def _drawn(cracks: list[list[Float64]], height: int, width: int) -> Bool:
    """Return where a centre line is at most REACH_PX away."""
    canvas = np.zeros((height, width), np.uint8)
    for lines in cracks:
        for line in lines:
            points = np.floor(line + 0.5).astype(np.int32).reshape(-1, 1, 2)
            cv2.polylines(canvas, [points], isClosed=False, color=1, thickness=2 * REACH_PX + 1)
    return canvas > 0


def _points(line: Float64) -> Float64:
    """Return points of a line a pixel apart."""
    if len(line) < 2:
        return line
    way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    at = np.arange(0, way[-1] + 1e-9, 1.0)
    return np.column_stack([np.interp(at, way, line[:, i]) for i in range(2)])


def _inside(points: Float64, height: int, width: int) -> Float64:
    keep = (points >= 0).all(axis=1) & (points[:, 0] <= width - 1) & (points[:, 1] <= height - 1)
    return np.asarray(points[keep], np.float64)


def _share(points: Float64, canvas: Bool) -> float:
    at = np.floor(points + 0.5).astype(int)
    return float(canvas[at[:, 1], at[:, 0]].mean())
