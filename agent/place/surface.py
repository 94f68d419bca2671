"""Where rays meet the surface, a plane at any slant or the inside of a tunnel, and what that makes of cracks.

The camera's own axes: x right and y down in the picture, z forward. Rays come from `Lens.rays`, distortion undone, so
that figures in mm are those of undistorted points though the picture itself is never resampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from typing_extensions import Self

from agent.contract.arrays import Float64, UInt8
from agent.contract.crack import Crack
from agent.contract.frame import Place, Scale, Sight
from agent.place import earth
from agent.place.lens import Lens


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A flat surface.

    Args:
        distance_mm: along the optical axis, > 0.
        tilt_deg: between the axis and the surface's normal, [0, 85]; 0 looks straight at it.
        toward_deg: the direction in the picture in which the surface recedes: 0 right, 90 up.
    """

    distance_mm: float
    tilt_deg: float = 0.0
    toward_deg: float = 0.0

    @property
    def normal(self) -> Float64:
        """(3,): points p of it have normal . p = distance_mm."""
        slope, toward = math.tan(math.radians(self.tilt_deg)), math.radians(self.toward_deg)
        return np.array([-slope * math.cos(toward), slope * math.sin(toward), 1.0])

    def meet(self, rays: Float64) -> Float64:
        """Return where rays (N, 2), x / z and y / z, meet it, (N, 3), mm; NaN where they do not."""
        slope, toward = math.tan(math.radians(self.tilt_deg)), math.radians(self.toward_deg)
        nearer = 1 - slope * (rays[:, 0] * math.cos(toward) - rays[:, 1] * math.sin(toward))
        z = np.where(nearer > 1e-6, self.distance_mm / np.where(nearer > 1e-6, nearer, 1), np.nan)
        return np.stack([rays[:, 0] * z, rays[:, 1] * z, z], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cylinder:
    """The inside of a tunnel whose axis runs along the picture's x or y.

    Args:
        radius_mm: > 0.
        distance_mm: from the camera to the wall along the optical axis; the radius if the camera is on the axis.
        along: the axis of the picture that the tunnel runs along.
    """

    radius_mm: float
    distance_mm: float
    along: Literal["x", "y"] = "x"

    def meet(self, rays: Float64) -> Float64:
        """Return where rays (N, 2), x / z and y / z, meet it, (N, 3), mm; NaN where they do not."""
        round_ = rays[:, 1] if self.along == "x" else rays[:, 0]
        middle = self.distance_mm - self.radius_mm  # z of the tunnel's axis
        a = round_**2 + 1
        root = middle**2 - a * (middle**2 - self.radius_mm**2)
        z = np.where(root >= 0, (middle + np.sqrt(np.maximum(root, 0))) / a, np.nan)
        return np.stack([rays[:, 0] * z, rays[:, 1] * z, z], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A picture on its surface: `agent.contract.frame.Geometry`.

    Args:
        lens: of the picture's size.
        shape: what the camera looks at.
        camera: its place.
        attitude_deg: yaw from north, pitch and roll of the camera (NED, ZYX); None where unknown.
        sense: +1 where chainage grows to the picture's right (down, if the tunnel runs along y), -1 where it falls.
    """

    lens: Lens
    shape: Plane | Cylinder
    camera: Place
    attitude_deg: tuple[float, float, float] | None = None
    sense: Literal[1, -1] = 1

    @classmethod
    def of(cls, sight: Sight, camera: Place, *, width: int, height: int) -> Self:
        """Return what `sight` tells of a picture of this size, px, taken from `camera`."""
        (fx, fy), (cx, cy) = sight.focal_px, sight.principal_px
        shape: Plane | Cylinder
        if sight.radius_mm is not None:
            shape = Cylinder(radius_mm=sight.radius_mm, distance_mm=sight.distance_mm, along=sight.along)
        else:
            shape = Plane(distance_mm=sight.distance_mm, tilt_deg=sight.tilt_deg, toward_deg=sight.toward_deg)
        return cls(
            lens=Lens(fx=fx, fy=fy, cx=cx, cy=cy, width=width, height=height, distortion=sight.distortion),
            shape=shape,
            camera=camera,
            attitude_deg=sight.attitude_deg,
            sense=sight.sense,
        )

    @property
    def sight(self) -> Sight:
        """See `Geometry.sight`."""
        lens, shape = self.lens, self.shape
        bare = Sight(
            focal_px=(lens.fx, lens.fy),
            principal_px=(lens.cx, lens.cy),
            distortion=lens.distortion,
            distance_mm=shape.distance_mm,
            sense=self.sense,
            attitude_deg=self.attitude_deg,
        )
        if isinstance(shape, Cylinder):
            return replace(bare, radius_mm=shape.radius_mm, along=shape.along)
        return replace(bare, tilt_deg=shape.tilt_deg, toward_deg=shape.toward_deg)

    def stretch(self, xy_px: Float64) -> Float64:
        """See `Geometry.stretch`."""
        half = np.array([[0.5, 0], [0, 0.5]])
        steps = [self.meet(xy_px + step) - self.meet(xy_px - step) for step in half]
        return np.stack(steps, axis=2)

    def place(self, x_px: float, y_px: float) -> Place:
        """See `Geometry.place`."""
        point = self.meet(np.array([[x_px, y_px]]))[0]
        camera = self.camera
        if not np.isfinite(point).all():
            return camera
        if isinstance(self.shape, Cylinder):
            return self._in_tunnel(point, self.shape)
        if self.attitude_deg is None or camera.lat is None or camera.lon is None:
            return camera
        north, east, down = earth.to_ned(point / 1000, self.attitude_deg)
        lat, lon = earth.moved(camera.lat, camera.lon, north_m=north, east_m=east)
        alt = None if camera.alt_m is None else camera.alt_m - down
        return replace(camera, lat=lat, lon=lon, alt_m=alt, of="surface")

    def _in_tunnel(self, point: Float64, shape: Cylinder) -> Place:
        camera = self.camera
        along, round_ = (point[0], point[1]) if shape.along == "x" else (point[1], -point[0])
        turn = math.degrees(math.atan2(round_, point[2] - (shape.distance_mm - shape.radius_mm)))
        chainage = None if camera.chainage_m is None else camera.chainage_m + self.sense * float(along) / 1000
        # looked at from inside: where chainage grows to the right, the clock angle grows upwards in the picture
        clock = None if camera.clock_deg is None else (camera.clock_deg - self.sense * turn) % 360
        return replace(camera, chainage_m=chainage, clock_deg=clock, of="surface")

    def meet(self, xy_px: Float64) -> Float64:
        """Return where rays of points (N, 2), px, meet the surface, (N, 3), mm, the camera's axes; NaN: nowhere."""
        return self.shape.meet(self.lens.rays(xy_px))


def middle_scale(view: View) -> float | None:
    """Return the mm of a px in the middle of the picture, geometric mean of its two directions; None: no surface."""
    middle = np.array([[(view.lens.width - 1) / 2, (view.lens.height - 1) / 2]])
    area = _areas(view.stretch(middle))[0]
    return float(math.sqrt(area)) if np.isfinite(area) and area > 0 else None


class Measure(Protocol):
    """See `agent.pipeline.Measure`."""

    def __call__(self, probability: UInt8, image_rgb: UInt8, *, scale: Scale) -> list[Crack]:
        """Return the cracks of a frame."""
        ...


def surfaced(measure: Measure) -> Measure:
    """Return `measure` followed by `on_surface`: what looks at millimetres comes after it."""

    def measured(probability: UInt8, image_rgb: UInt8, *, scale: Scale) -> list[Crack]:
        return on_surface(measure(probability, image_rgb, scale=scale))

    return measured


def on_surface(cracks: Sequence[Crack]) -> list[Crack]:
    """Return the cracks with the scale that each has at its own place and direction.

    Without a geometry the scale stays as it is; where a crack lies beyond the surface's horizon there is none.
    """
    return [crack if crack.scale.geometry is None else replace(crack, scale=_local(crack)) for crack in cracks]


def _local(crack: Crack) -> Scale:
    scale = crack.scale
    if scale.geometry is None or scale.mm_per_px is None:
        return scale
    points, steps = [], []
    for branch in crack.branches:
        line = branch.line_xy_px.astype(np.float64)
        step = np.gradient(line, axis=0) if len(line) > 1 else np.zeros_like(line)
        points.append(line)
        steps.append(step)
    xy, along_px = np.concatenate(points), np.concatenate(steps)
    stretch = scale.geometry.stretch(xy)
    seen = np.isfinite(stretch).all(axis=(1, 2))
    if not seen.any():
        return Scale(mm_per_px=None, source="none")
    stretch, along_px = stretch[seen], along_px[seen]
    px = np.hypot(*along_px.T)
    tangent = np.where(px[:, None] > 0, along_px / np.maximum(px, 1e-9)[:, None], np.array([1.0, 0.0]))
    along = np.linalg.norm(np.einsum("nij,nj->ni", stretch, tangent), axis=1)
    area = _areas(stretch)
    weight = px if px.sum() > 0 else np.ones_like(px)
    mm = scale.mm_per_px
    return replace(
        scale,
        along=float(np.average(along, weights=weight)) / mm,
        # the width is what is left of a px's area beside its length: right for a band that crosses the surface at any
        # angle, where the normal in the picture is not the normal on the surface
        across=float(np.average(area / along, weights=weight)) / mm,
        area=float(area.mean()) / mm**2,
    )


def _areas(stretch: Float64) -> Float64:
    """Return (N,): mm2 of a px."""
    return np.asarray(np.linalg.norm(np.cross(stretch[:, :, 0], stretch[:, :, 1]), axis=1), np.float64)
