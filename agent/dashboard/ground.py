"""Where frames looked and what lies there: footprints, places on the surface, and how coverage lies in each view."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from agent.contract.flight import CrackRow, FrameRow
from agent.contract.frame import Pose, Scale
from agent.place import earth
from agent.report.footprints import footprint
from agent.track.placement import Placement, outline, placed

MOST_FOOTPRINTS: Final = 5000  # of a flight, evenly chosen where there are more
MOST_BRANCHES: Final = 40  # of a crack, that are drawn on the wall
MOST_POINTS: Final = 24  # of a branch
CORNERS: Final = 8  # points from one corner of a footprint's outline to the next
STRAIGHT_M: Final = 0.5  # as far as a pose may depart from what its chainage says, and be drawn with it

View = Literal["map", "strip", "wall"]


class Seen(NamedTuple):
    """What a frame saw, as the page reads it."""

    frame: int
    quad_mm: list[list[float]] | None  # its outline on the surface
    lat: float | None
    lon: float | None
    chainage_m: float | None
    clock_deg: float | None
    ring: list[list[float]] | None  # lat, lon of its corners on level ground


@dataclass(slots=True)
class Footprints:
    """Where the frames of a flight looked; of a long one every second, then every fourth, and so on."""

    radius_mm: float | None = None  # of the tunnel
    _prints: list[Seen] = field(default_factory=list)
    _step: int = 1

    def note(self, row: FrameRow, placement: Placement | None) -> None:
        """Keep where a frame looked, if it knows."""
        if row.pose is not None and row.pose.radius_mm is not None:
            self.radius_mm = row.pose.radius_mm
        if (placement is None and row.lat is None and row.chainage_m is None) or row.index % self._step:
            return
        quad = None
        if placement is not None:
            quad = np.round(outline(placement, (row.height, row.width)), 1).tolist()
        seen = footprint(row)
        ring = None
        if seen is not None and seen.ring is not None:
            ring = [[lat, lon] for lon, lat in seen.ring[:-1:CORNERS]]
        self._prints.append(Seen(row.index, quad, row.lat, row.lon, row.chainage_m, row.clock_deg, ring))
        if len(self._prints) > MOST_FOOTPRINTS:
            self._step *= 2
            self._prints = [kept for kept in self._prints if kept.frame % self._step == 0]

    def listed(self) -> list[Seen]:
        """Return them in the order of the flight."""
        return list(self._prints)

    def onto(self, coverage: Mapping[str, Any]) -> dict[View, dict[str, Any]]:
        """Return how each view draws coverage: of which surface, and x and y there as offset and factor of its mm.

        The wall's x and y are m, y upwards; the strip's the chainage, m, and degrees to the right of the crown; the
        map's degrees east and north.
        """
        found: dict[View, dict[str, Any]] = {"wall": {"surface": "wall", "x": [0, 1e-3], "y": [0, -1e-3]}}
        radius, lat, lon = (coverage.get(name) for name in ("lining_radius_mm", "ground_lat", "ground_lon"))
        if isinstance(radius, (int, float)) and radius > 0:
            found["strip"] = {"surface": "lining", "x": [0, 1e-3], "y": [0, -math.degrees(1 / radius)]}
        elif (unrolled := self._unrolled()) is not None:
            found["strip"] = {"surface": "wall", **unrolled}
        if isinstance(lat, (int, float)) and isinstance(lon, (int, float)):
            north, east = earth.moved(lat, lon, north_m=1.0, east_m=1.0)
            found["map"] = {
                "surface": "ground",
                "x": [lon, ((east - lon + 180) % 360 - 180) / 1000],
                "y": [lat, (lat - north) / 1000],
            }
        return found

    def _unrolled(self) -> dict[str, list[float]] | None:
        """Return how poses along a tunnel become chainage and clock angle; None where frames do not tell."""
        known = [
            (np.mean(seen.quad_mm, axis=0), seen.chainage_m, seen.clock_deg)
            for seen in self._prints
            if seen.quad_mm is not None and seen.chainage_m is not None and seen.clock_deg is not None
        ]
        if self.radius_mm is None or len(known) < 2:
            return None
        middle, chainage = np.array([one[0] for one in known]), np.array([one[1] for one in known], np.float64)
        slope = 1e-3 if float(np.sum((middle[:, 0] - middle[0, 0]) * (chainage - chainage[0]))) >= 0 else -1e-3
        along = chainage - slope * middle[:, 0]
        turn = -slope * 1e3 * math.degrees(1 / self.radius_mm)  # see View.place: against y where chainage grows with x
        clock = np.radians(np.array([one[2] for one in known], np.float64) - turn * middle[:, 1])
        around = np.arctan2(np.sin(clock).mean(), np.cos(clock).mean())
        off = np.angle(np.exp(1j * (clock - around))) * self.radius_mm / 1000
        if max(np.ptp(along) / 2, np.abs(off).max()) > STRAIGHT_M:
            return None
        return {"x": [float(np.median(along)), slope], "y": [math.degrees(around), turn]}


def placement_of(frame: FrameRow) -> Placement | None:
    """Return where a frame lies on the surface, as its telemetry says."""
    pose = frame.pose
    if pose is None or frame.scale_mm_px is None or frame.scale_mm_px <= 0:
        return None
    scale = Scale(mm_per_px=frame.scale_mm_px, source="telemetry")
    return placed(Pose(**pose.model_dump()), scale, (frame.height, frame.width))


def lines_of(row: CrackRow, placement: Placement | None) -> tuple[Any, ...]:
    """Return a crack's centre line on the surface, mm, thinned out; nothing where it cannot be placed."""
    if placement is None:
        return ()
    return tuple(filter(None, (_on_surface(branch.line_px, placement) for branch in row.branches[:MOST_BRANCHES])))


def middle_of(row: CrackRow, placement: Placement | None) -> tuple[float | None, float | None]:
    """Return where on the surface the middle of a crack's box lies, mm."""
    if placement is None:
        return None, None
    middle = np.array([[row.bbox_x + (row.bbox_w - 1) / 2, row.bbox_y + (row.bbox_h - 1) / 2]])
    x, y = placement.to_surface(middle)[0]
    return (round(float(x), 1), round(float(y), 1)) if np.isfinite((x, y)).all() else (None, None)


def _on_surface(line_px: Sequence[tuple[float, float]], placement: Placement) -> list[list[float]]:
    every = max(1, -(-len(line_px) // MOST_POINTS))
    points = [*line_px[::every], line_px[-1]] if line_px else []
    if len(points) < 2:
        return []
    placed_mm = placement.to_surface(np.array(points, np.float64))
    return np.round(placed_mm, 1).tolist() if np.isfinite(placed_mm).all() else []
