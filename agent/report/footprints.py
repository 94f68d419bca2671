"""What frames saw of the surface, as polygons on the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contract.arrays import Float64
from agent.contract.flight import FrameRow
from agent.contract.frame import Place, Sight
from agent.place import earth
from agent.place.surface import Plane, View
from agent.track import placement

STEPS: Final = 8  # points along each side of the picture: a lens bends it
LEAST_SHARE: Final = 0.02  # of the surface's area that is left on the map; a wall is a line there, and no polygon


@dataclass(frozen=True, slots=True)
class Footprint:
    """The part of a plane that a frame shows."""

    ring: tuple[tuple[float, float], ...] | None  # lon, lat, degrees, WGS 84, closed, counter-clockwise; None: no map
    area_m2: float  # on the surface, whichever way it leans


def footprint(frame: FrameRow) -> Footprint | None:
    """Return what the frame shows; None where position, attitude or scale are not known, or it shows the horizon.

    A wall as upright as it may be has an area but no ring, and so has what lies across 180 degrees east.
    """
    sight = frame.sight
    if frame.status == "skipped" or frame.lat is None or frame.lon is None or sight is None:
        return None
    view = View.of(
        Sight(**sight.model_dump()), Place(lat=frame.lat, lon=frame.lon), width=frame.width, height=frame.height
    )
    if view.attitude_deg is None or not isinstance(view.shape, Plane):
        return None
    edge = placement.outline(placement.Plane(np.eye(3)), (frame.height, frame.width), steps=STEPS)
    points = view.shape.meet(view.lens.rays(edge)) / 1000
    if not np.isfinite(points).all():
        return None
    ned = np.array([earth.to_ned(point, view.attitude_deg) for point in points])
    normal = _twice_area(ned) / 2
    area = float(np.linalg.norm(normal))
    ring = [earth.moved(frame.lat, frame.lon, north_m=north, east_m=east) for north, east, _ in ned.tolist()]
    lon = [one[1] for one in ring]
    if abs(normal[2]) < LEAST_SHARE * area or max(lon) - min(lon) > 180:
        return Footprint(None, area)
    if normal[2] > 0:  # clockwise as seen from above: north turns to east
        ring.reverse()
    closed = [*ring, ring[0]]
    return Footprint(tuple((round(lon, 9), round(lat, 9)) for lat, lon in closed), area)


def _twice_area(points: Float64) -> Float64:
    """Return (3,): the normal of a flat polygon (N, 3), as long as twice its area (Newell)."""
    from_first = points - points[0]
    return np.asarray(np.cross(from_first, np.roll(from_first, -1, axis=0)).sum(axis=0), np.float64)
