"""Pictures laid onto what all pictures of a flight share: a tunnel's lining, or level ground.

Coordinates are mm. On the lining x is the chainage and y runs around the tunnel, 0 at the crown, against the clock
angle; on the ground x is east and y south of an origin: y downwards, as on a wall.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contract.arrays import Float64
from agent.place import earth
from agent.place.surface import Cylinder, Plane, View

LEVEL: Final = math.cos(math.radians(20))  # ground that leans more covers clearly less of the map than it has surface


@dataclass(frozen=True, slots=True, eq=False)
class Lining:
    """A picture of a tunnel's wall whose camera knows its chainage and clock angle; see `agent.track.placement`.

    Around the tunnel y goes on past the invert, so that a picture is never torn: `round_mm` later it is the same place.
    """

    view: View
    shape: Cylinder
    chainage_mm: float
    y_mm: float  # where the camera looks, [-round_mm / 2, round_mm / 2)

    @classmethod
    def of(cls, view: View) -> Lining | None:
        """Return the picture on the lining; None where that is not known."""
        camera, shape = view.camera, view.shape
        if not isinstance(shape, Cylinder) or camera.chainage_m is None or camera.clock_deg is None:
            return None
        arc = math.radians((camera.clock_deg + 180) % 360 - 180) * shape.radius_mm
        return cls(view, shape, camera.chainage_m * 1000, -arc)

    @property
    def round_mm(self) -> float:
        """Once around the tunnel."""
        return 2 * math.pi * self.shape.radius_mm

    def to_surface(self, xy: Float64) -> Float64:
        """Map (N, 2) px to the lining; NaN where a ray misses it."""
        points = self.view.meet(xy)
        along, around = (points[:, 0], points[:, 1]) if self.shape.along == "x" else (points[:, 1], -points[:, 0])
        turn = np.arctan2(around, points[:, 2] - self._axis_mm)
        return np.column_stack(
            [self.chainage_mm + self.view.sense * along, self.y_mm + self.view.sense * turn * self.shape.radius_mm]
        )

    def to_frame(self, xy: Float64) -> Float64:
        """Map (N, 2) of the lining to px; NaN where the camera cannot see it."""
        along = self.view.sense * (xy[:, 0] - self.chainage_mm)
        turn = self.view.sense * (xy[:, 1] - self.y_mm) / self.shape.radius_mm
        around = self.shape.radius_mm * np.sin(turn)
        z = self.shape.radius_mm * np.cos(turn) + self._axis_mm
        x, y = (along, around) if self.shape.along == "x" else (-around, along)
        return _pixels(self.view, np.column_stack([x, y, np.where(np.abs(turn) < math.pi, z, np.nan)]))

    @property
    def _axis_mm(self) -> float:
        return self.shape.distance_mm - self.shape.radius_mm


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """A picture of level ground, a road or a deck, whose camera knows its position and attitude."""

    view: View
    origin: tuple[float, float]  # lat, lon, degrees
    camera_mm: Float64  # (2,) east, south of the origin
    turn: Float64  # (3, 3) camera's axes -> north, east, down
    normal: Float64  # (3,) of the ground, north, east, down
    reach_mm: float  # of the ground from the camera, along the normal

    @classmethod
    def of(cls, view: View, origin: tuple[float, float] | None = None) -> Ground | None:
        """Return the picture on the ground around `origin`, else the camera; None: it is not known, or not level."""
        camera, shape = view.camera, view.shape
        if not isinstance(shape, Plane) or view.attitude_deg is None or camera.lat is None or camera.lon is None:
            return None
        turn = earth.ned_from_camera(view.attitude_deg)
        normal = turn @ shape.normal
        if abs(normal[2]) < LEVEL * float(np.linalg.norm(normal)):
            return None
        origin = origin or (camera.lat, camera.lon)
        north, east = earth.step(origin, (camera.lat, camera.lon))
        return cls(view, origin, np.array([east, -north]) * 1000, turn, normal, shape.distance_mm)

    def to_surface(self, xy: Float64) -> Float64:
        """Map (N, 2) px to the ground; NaN where a ray misses it."""
        ned = self.view.meet(xy) @ self.turn.T
        return np.asarray(self.camera_mm + np.column_stack([ned[:, 1], -ned[:, 0]]), np.float64)

    def to_frame(self, xy: Float64) -> Float64:
        """Map (N, 2) of the ground to px; NaN where the camera cannot see it."""
        east, south = (xy - self.camera_mm).T
        down = (self.reach_mm + self.normal[0] * south - self.normal[1] * east) / self.normal[2]
        return _pixels(self.view, np.column_stack([-south, east, down]) @ self.turn)


def _pixels(view: View, points: Float64) -> Float64:
    """Return (N, 2): where points (N, 3) of the camera's axes are in the picture; NaN where they are not."""
    front = points[:, 2] > 1e-6
    rays = np.full((len(points), 2), np.nan)
    rays[front] = points[front, :2] / points[front, 2:]
    return view.lens.pixels(rays)
