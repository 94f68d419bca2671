"""Centre lines of cracks on the developed surface: a facade's plane, or a tunnel's lining unrolled.

Where frames have a pose, every sighting adds what the ones before did not show: a crack over many frames is one line.
Where only a crack's own place in the tunnel is known, its best sighting is laid there, at the frame's scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from agent.contract.arrays import Bool, Float64, Int64
from agent.contract.flight import BranchRow, Coverage, CoverageArea, CrackRow, FrameRow
from agent.contract.frame import Pose, Scale
from agent.record import FlightRecord
from agent.track.placement import Placement, placed

NEAR_PX: Final = 6.0  # a sighting's points this near to a line that is known are that line
LEAST_RUN: Final = 3  # points that lie on nothing known; fewer are trembling
MOST_POINTS: Final = 2_000_000  # of all lines together; what comes later is counted


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """An unbranched piece of a crack's centre line."""

    xy_mm: Float64  # (K, 2), K >= 1: x to the right or along the tunnel, y up or along the arc from the crown
    width_mm: Float64  # (K,); NaN where not measured


@dataclass(slots=True)
class Developed:
    """The cracks of a flight, by crack id, as far as their place on the surface is known."""

    stretches: dict[str, list[Stretch]] = field(default_factory=dict)
    radius_mm: float | None = None  # of the tunnel, where the surface is an unrolled lining
    cut_points: int = 0  # beyond MOST_POINTS
    _points: int = 0

    @classmethod
    def of(cls, record: FlightRecord) -> Developed:
        """Read a record, twice if its frames have a pose.

        Raises:
            InputError: the record was altered.
        """
        developed = cls()
        if any(frame.pose is not None for frame in record.frames()):
            developed._by_pose(record)
        else:
            developed._by_tunnel(record)
        return developed

    def areas(self, coverage: Coverage | None) -> list[CoverageArea]:
        """Return the parts of the coverage that lie on the same surface: x, y downwards, mm."""
        surface = "wall" if self.radius_mm is None else "lining"
        return [area for area in coverage.areas if area.surface == surface] if coverage else []

    def _by_pose(self, record: FlightRecord) -> None:
        owner, best = heirs(record), _best_ids(record)
        known: dict[str, set[tuple[int, int]]] = {}
        for first in (True, False):  # the best sighting of each first: the others fill in what it does not show
            for frame, cracks in record.sightings():
                placement = _placement(frame)
                if placement is None:
                    continue
                for crack in cracks:
                    crack_id = owner.get(crack.crack_id, crack.crack_id)
                    leads = best.get(crack_id, crack.id) == crack.id
                    if leads is first and best.get(crack_id, "") is not None:
                        self._see(crack_id, crack, frame, placement, known.setdefault(crack_id, set()))

    def _see(
        self, crack_id: str, crack: CrackRow, frame: FrameRow, placement: Placement, known: set[tuple[int, int]]
    ) -> None:
        scale = frame.scale_mm_px or 1.0
        cell = NEAR_PX * scale
        fresh: set[tuple[int, int]] = set()
        for branch in crack.branches:
            line = np.array(branch.line_px, np.float64).reshape(-1, 2)
            xy = placement.to_surface(line) * (1.0, -1.0)
            seen = np.asarray(np.isfinite(xy).all(axis=1), np.bool_)
            cells = np.floor(np.where(seen[:, None], xy, 0.0) / cell).astype(np.int64)
            new = seen & ~_near(cells, known) if known else seen
            for run in _runs(new, least=LEAST_RUN if known else 1):
                self._keep(crack_id, Stretch(xy[run], _widths(branch, crack.scale_mm_px)[run]))
            fresh.update(map(tuple, cells[new].tolist()))
        known |= fresh

    def _by_tunnel(self, record: FlightRecord) -> None:
        tunnel = (record.header.settings.get("place") or {}).get("tunnel") or {}
        radius_m = tunnel.get("radius_m")
        if not radius_m:
            return
        self.radius_mm = 1000.0 * float(radius_m)
        for _, crack in record.whole_cracks():
            if crack.chainage_m is None or crack.clock_deg is None or crack.scale_mm_px is None:
                continue
            middle = np.array([crack.bbox_x + crack.bbox_w / 2, crack.bbox_y + crack.bbox_h / 2])
            clock = (crack.clock_deg + 180) % 360 - 180  # the crown in the middle of the sheet
            corner = np.array([crack.chainage_m * 1000, math.radians(clock) * self.radius_mm])
            for branch in crack.branches:
                step = (np.array(branch.line_px, np.float64).reshape(-1, 2) - middle) * crack.scale_mm_px
                self._keep(
                    crack.crack_id, Stretch(corner + _unrolled(step, tunnel), _widths(branch, crack.scale_mm_px))
                )

    def _keep(self, crack_id: str, stretch: Stretch) -> None:
        if self._points + len(stretch.xy_mm) > MOST_POINTS:
            self.cut_points += len(stretch.xy_mm)
            return
        self._points += len(stretch.xy_mm)
        self.stretches.setdefault(crack_id, []).append(stretch)


def heirs(record: FlightRecord) -> dict[str, str]:
    """Return which crack each crack that became part of another belongs to at the end.

    Raises:
        InputError: the record was altered.
    """
    into: dict[str, str] = {}
    for row in record.tracks():
        if row.event == "retracted" and row.parents:
            into[row.crack_id] = row.parents[0]
        else:
            into.pop(row.crack_id, None)
    found = {}
    for crack_id in into:
        end, steps = crack_id, 0
        while end in into and steps <= len(into):
            end, steps = into[end], steps + 1
        found[crack_id] = end
    return found


def _best_ids(record: FlightRecord) -> dict[str, str | None]:
    """Return the sighting that shows each crack best; None for one that was retracted; nothing if none follows it."""
    return {row.crack_id: None if row.event == "retracted" else row.best_id for row in record.tracks()}


def _unrolled(step_mm: Float64, tunnel: Mapping[str, Any]) -> Float64:
    """Turn steps (N, 2) of the picture, mm, into steps along the tunnel and around it."""
    sense = -1.0 if tunnel.get("reverse") else 1.0
    along, round_ = (
        (step_mm[:, 0], step_mm[:, 1]) if tunnel.get("along", "x") == "x" else (step_mm[:, 1], -step_mm[:, 0])
    )
    return sense * np.column_stack([along, -round_])  # see View.place: the clock angle grows upwards in the picture


def _placement(frame: FrameRow) -> Placement | None:
    if frame.pose is None or frame.scale_mm_px is None:
        return None
    scale = Scale(mm_per_px=frame.scale_mm_px, source=frame.scale_source)
    return placed(Pose(**frame.pose.model_dump()), scale, (frame.height, frame.width))


def _widths(branch: BranchRow, mm_per_px: float | None) -> Float64:
    width = np.array([math.nan if value is None else value for value in branch.width_px], np.float64)
    return width * (math.nan if mm_per_px is None else mm_per_px)


def _near(cells: Int64, known: set[tuple[int, int]]) -> Bool:
    """Return which cells (N, 2) lie on or beside a known one."""
    around = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    return np.array([any((x + i, y + j) in known for i, j in around) for x, y in cells.tolist()], np.bool_)


def _runs(chosen: Bool, *, least: int) -> list[Int64]:
    """Return the indices of each run of chosen points that is long enough, or is all there is."""
    borders = np.flatnonzero(np.diff(chosen.astype(np.int8)) != 0) + 1
    runs = [run for run in np.split(np.arange(len(chosen)), borders) if len(run) and chosen[run[0]]]
    return [run for run in runs if len(run) >= min(least, len(chosen))]
