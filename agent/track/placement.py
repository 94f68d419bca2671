"""Where a frame's pixels lie on the surface: on a plane, or on the developed wall of a tunnel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from agent.contract.arrays import Float64
from agent.contract.frame import Pose, Scale


class Placement(Protocol):
    """A map between px of a frame (pixel centres at integers) and a surface's own coordinates."""

    def to_surface(self, xy: Float64) -> Float64:
        """Map (N, 2) px to the surface."""
        ...

    def to_frame(self, xy: Float64) -> Float64:
        """Map (N, 2) of the surface to px; NaN where the camera cannot see it."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A plane seen through a homography."""

    matrix: Float64  # (3, 3), px -> surface

    def to_surface(self, xy: Float64) -> Float64:
        """See `Placement.to_surface`."""
        return projected(self.matrix, xy)

    def to_frame(self, xy: Float64) -> Float64:
        """See `Placement.to_frame`."""
        return projected(np.asarray(np.linalg.inv(self.matrix), np.float64), xy)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cylinder:
    """The wall of a tunnel, developed: x along the axis, y along the arc, mm.

    The camera looks square at the wall from inside: by the law of cosines in the cross-section, a ray at the angle p
    off the optical axis meets the wall at t = -c cos p + sqrt(R^2 - c^2 sin^2 p), c = R - standoff.
    """

    tangent: Plane  # px -> the plane that touches the wall where the optical axis meets it
    centre: Float64  # (2,) that point, mm on the tangent plane and on the developed wall alike
    radius_mm: float
    standoff_mm: float

    def to_surface(self, xy: Float64) -> Float64:
        """See `Placement.to_surface`."""
        flat = self.tangent.to_surface(xy) - self.centre
        off = self.radius_mm - self.standoff_mm
        angle = np.arctan2(flat[:, 1], self.standoff_mm)
        reach = -off * np.cos(angle) + np.sqrt(self.radius_mm**2 - (off * np.sin(angle)) ** 2)
        arc = self.radius_mm * np.arctan2(reach * np.sin(angle), off + reach * np.cos(angle))
        along = flat[:, 0] * reach * np.cos(angle) / self.standoff_mm
        return np.column_stack([along, arc]) + self.centre

    def to_frame(self, xy: Float64) -> Float64:
        """See `Placement.to_frame`."""
        wall = xy - self.centre
        angle = wall[:, 1] / self.radius_mm
        depth = self.radius_mm * np.cos(angle) - (self.radius_mm - self.standoff_mm)
        depth = np.where(depth > 1e-6 * self.radius_mm, depth, np.nan)  # behind the camera
        across = self.standoff_mm * self.radius_mm * np.sin(angle) / depth
        along = wall[:, 0] * self.standoff_mm / depth
        px = self.tangent.to_frame(np.column_stack([along, across]) + self.centre)
        px[np.isnan(depth)] = np.nan  # OpenCV maps NaN to the upper left corner
        return px


def placed(pose: Pose | None, scale: Scale, hw: tuple[int, int]) -> Placement | None:
    """Return where telemetry puts a frame on the surface, mm; None where it does not say, or says nonsense.

    Args:
        pose: as telemetry gives it.
        scale: of the frame.
        hw: height and width of the frame, px.
    """
    mm_per_px = scale.mm_per_px
    if pose is None or mm_per_px is None:
        return None
    if not all(map(math.isfinite, (pose.x_mm, pose.y_mm, pose.rotation_deg))):
        return None
    cos, sin = math.cos(math.radians(pose.rotation_deg)), math.sin(math.radians(pose.rotation_deg))
    turn = mm_per_px * np.array([[cos, -sin], [sin, cos]])
    shift = np.array([pose.x_mm, pose.y_mm]) + turn @ (0.5, 0.5)  # the pose is the corner of pixel (0, 0)
    plane = Plane(np.vstack([np.column_stack([turn, shift]), [0.0, 0.0, 1.0]]))
    radius, standoff = pose.radius_mm, pose.standoff_mm
    if radius is None or standoff is None or not 0 < standoff < 2 * radius < math.inf:
        return plane
    middle = plane.to_surface(np.array([[(hw[1] - 1) / 2, (hw[0] - 1) / 2]]))[0]
    return Cylinder(tangent=plane, centre=middle, radius_mm=radius, standoff_mm=standoff)


def projected(matrix: Float64, xy: Float64) -> Float64:
    """Return points (N, 2) under a homography (3, 3)."""
    if not len(xy):
        return np.zeros((0, 2))
    return np.asarray(cv2.perspectiveTransform(np.asarray(xy, np.float64)[None], matrix)[0], np.float64)


def corners(hw: tuple[int, int]) -> Float64:
    """Return the outer corners of a frame, (4, 2) px, clockwise from the upper left."""
    height, width = hw
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64) - 0.5


def outline(placement: Placement, hw: tuple[int, int], *, steps: int = 1) -> Float64:
    """Return the frame's outline on the surface, (4 * steps, 2); more steps follow a curved wall."""
    corner = corners(hw)
    share = np.arange(steps)[:, None] / steps
    sides = [a + share * (b - a) for a, b in zip(corner, np.roll(corner, -1, axis=0), strict=True)]
    return placement.to_surface(np.concatenate(sides))
