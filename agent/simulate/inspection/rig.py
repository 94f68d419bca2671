"""Where the camera is at every moment, and what that makes of points of the wall: perspective, row by row.

Own axes of the rig, mm: x along the wall to the picture's right, y down the picture, z into the wall; the camera's
nominal place is the origin, so that the wall lies at z = standoff. On the wall: u along, v down the picture (in a
tunnel along its arc), both 0 where the nominal axis meets it at u = 0. Chainage = sense x u; the clock angle falls with
v where sense is +1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Float32, Float64
from agent.simulate.inspection.settings import InspectionSettings
from agent.simulate.noise import as_float32

GRID_PX: Final = 16  # the map from pixels to the wall is smooth: computed this far apart, and filled in between
_SWAYS: Final = 3  # sines of each slow motion
_SHAKES: Final = 4  # of each fast one
_PATH = 4  # what a generator is for, after the seed


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """Sums of sines: one signal a row."""

    amplitude: Float64  # (S, N)
    hertz: Float64
    phase: Float64

    def at(self, seconds: Float64) -> Float64:
        """Return the signals at (T,) moments, (S, T)."""
        angle = 2 * math.pi * self.hertz[:, :, None] * seconds + self.phase[:, :, None]
        return np.asarray((self.amplitude[:, :, None] * np.sin(angle)).sum(axis=1), np.float64)


class Rig:
    """The camera on its way, and the wall before it.

    Args:
        settings: of the inspection.
    """

    def __init__(self, settings: InspectionSettings) -> None:
        self._s = settings
        self.standoff = settings.camera.standoff_m * 1000
        self.radius = settings.tunnel.radius_m * 1000 if settings.kind == "tunnel" else None
        rng = np.random.default_rng([settings.seed, _PATH])
        sizes = np.array([[settings.path.sway_m * 1000]] * 3 + [[settings.path.turn_deg]] * 3) / _SWAYS
        slow = rng.uniform(0.04, 0.22, (6, _SWAYS))
        self._slow = Waves(np.broadcast_to(sizes, slow.shape), slow, rng.uniform(0, 2 * math.pi, slow.shape))
        fast = rng.uniform(8, 35, (2, _SHAKES))
        shake = np.full(fast.shape, settings.path.vibration_px * settings.camera.mm_per_px / math.sqrt(_SHAKES))
        self._fast = Waves(shake, fast, rng.uniform(0, 2 * math.pi, fast.shape))
        self.centre = ((settings.camera.width_px - 1) / 2, (settings.camera.height_px - 1) / 2)

    def position(self, seconds: Float64) -> Float64:
        """Return where the camera is at (T,) moments, (T, 3), mm."""
        slow, shake = self._slow.at(seconds)[:3], self._fast.at(seconds)
        travel = self._s.sense * 1000 * (self._s.path.start_m + self._s.path.speed_m_s * seconds)
        return np.stack([travel + slow[0] + shake[0], slow[1] + shake[1], slow[2]], axis=1)

    def angles(self, seconds: Float64) -> Float64:
        """Return yaw to the right, pitch up and roll clockwise at (T,) moments, (T, 3), degrees."""
        return self._slow.at(seconds)[3:].T

    def row_times(self, seconds: float, rows: Float64) -> Float64:
        """Return when rows of the frame of this moment are exposed, s: its middle row at the moment itself."""
        height = self._s.camera.height_px
        return np.asarray(seconds + self._s.camera.readout_s * ((rows + 0.5) / height - 0.5), np.float64)

    def wall_of(self, seconds: float, xy_px: Float64) -> Float64:
        """Return where rays through (N, 2) px meet the wall, (N, 2) u and v, mm."""
        times = self.row_times(seconds, xy_px[:, 1])
        place, turn = self.position(times), rotations(self.angles(times))
        focal = self._s.focal_px
        rays = np.column_stack([(xy_px - self.centre) / focal, np.ones(len(xy_px))])
        rays = np.einsum("nij,nj->ni", turn, rays)
        if self.radius is None:
            reach = (self.standoff - place[:, 2]) / rays[:, 2]
            hit = place + reach[:, None] * rays
            return np.asarray(hit[:, :2], np.float64)
        axis = self.standoff - self.radius
        y, z = place[:, 1], place[:, 2] - axis
        a = rays[:, 1] ** 2 + rays[:, 2] ** 2
        b = y * rays[:, 1] + z * rays[:, 2]
        reach = (-b + np.sqrt(b**2 - a * (y**2 + z**2 - self.radius**2))) / a
        hit = place + reach[:, None] * rays
        return np.column_stack([hit[:, 0], self.radius * np.arctan2(hit[:, 1], hit[:, 2] - axis)])

    def space(self, uv: Float64, *, off: float | Float64 = 0.0) -> Float64:
        """Return points (N, 2) of the wall, `off` mm in front of it, in the rig's axes, (N, 3)."""
        if self.radius is None:
            return np.column_stack([uv, np.broadcast_to(self.standoff - off, len(uv))])
        angle, radius = uv[:, 1] / self.radius, self.radius - off
        return np.column_stack([uv[:, 0], radius * np.sin(angle), self.standoff - self.radius + radius * np.cos(angle)])

    def picture_of(self, seconds: float, uv: Float64, *, off: float | Float64 = 0.0) -> tuple[Float64, Float64]:
        """Return (N, 2) px of points `off` mm in front of the wall, and their depth, (N,) mm.

        A row's time follows from the row: found in three steps, which is exact to far below a pixel.
        """
        points = self.space(uv, off=off)
        times = np.full(len(uv), seconds)
        xy, depth = np.zeros((len(uv), 2)), np.zeros(len(uv))
        for _ in range(3):
            local = np.einsum("nji,nj->ni", rotations(self.angles(times)), points - self.position(times))
            depth = local[:, 2]
            xy = self._s.focal_px * local[:, :2] / np.maximum(depth, 1)[:, None] + self.centre
            times = self.row_times(seconds, np.clip(xy[:, 1], 0, self._s.camera.height_px))
        return xy, depth

    def maps(self, seconds: float) -> Float32:
        """Return (H, W, 2): u and v of every pixel of a frame, mm, u less that of the frame's nominal middle."""
        height, width = self._s.camera.height_px, self._s.camera.width_px
        rows, columns = math.ceil(height / GRID_PX) + 2, math.ceil(width / GRID_PX) + 2
        y = (np.arange(rows) - 0.5) * GRID_PX - 0.5
        x = (np.arange(columns) - 0.5) * GRID_PX - 0.5
        nodes = np.stack(np.meshgrid(x, y), axis=2).reshape(-1, 2)
        uv = self.wall_of(seconds, nodes).reshape(rows, columns, 2)
        uv[..., 0] -= self.along(seconds)
        full = cv2.resize(as_float32(uv), (columns * GRID_PX, rows * GRID_PX), interpolation=cv2.INTER_LINEAR)
        return as_float32(full[GRID_PX : GRID_PX + height, GRID_PX : GRID_PX + width])

    def along(self, seconds: float) -> float:
        """Return u of the nominal camera at a moment, mm."""
        return self._s.sense * 1000 * (self._s.path.start_m + self._s.path.speed_m_s * seconds)

    def standoff_scale(self) -> float:
        """Return the focal length, px: px of a mm at a depth of 1 mm."""
        return self._s.focal_px

    def frame_reach(self, seconds: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the stretch of u and of v that one frame may see, mm, with a margin."""
        (left, right), down = self.reach()
        half = (right - left - abs(self.along((self._s.frames - 1) / self._s.fps) - self.along(0.0))) / 2
        middle = self.along(seconds)
        return (middle - half, middle + half), down

    def reach(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the stretch of u and of v that any frame may see, mm, with a margin."""
        camera, path = self._s.camera, self._s.path
        half = np.array([camera.width_px, camera.height_px]) / 2 * camera.mm_per_px
        tilt = math.tan(math.radians(path.turn_deg))
        spare = path.sway_m * 1000 * 2 + tilt * (self.standoff + half.max()) * 1.5 + 8 * camera.mm_per_px
        spare += 6 * path.vibration_px * camera.mm_per_px
        margin = half * 1.06 + spare
        if self.radius is not None:  # the wall comes towards the camera beside its axis: an arc is longer than a chord
            margin[1] *= 1.12
        ends = sorted((self.along(0.0), self.along((self._s.frames - 1) / self._s.fps)))
        return (ends[0] - margin[0], ends[1] + margin[0]), (-margin[1], margin[1])

    def clock_deg(self, v_mm: Float64) -> Float64:
        """Return the clock angle at v, [0, 360)."""
        turn = np.degrees(v_mm / (self.radius or math.inf))
        return np.asarray((self._s.tunnel.clock_deg - self._s.sense * turn) % 360, np.float64)

    def chainage_m(self, u_mm: Float64) -> Float64:
        """Return the chainage at u."""
        return np.asarray(self._s.sense * u_mm / 1000, np.float64)


def rotations(angles_deg: Float64) -> Float64:
    """Return (N, 3, 3) from the camera's axes to the rig's: yaw right, then pitch up, then roll clockwise, degrees."""
    yaw, pitch, roll = np.radians(angles_deg).T
    one, nil = np.ones_like(yaw), np.zeros_like(yaw)

    def stacked(*rows: tuple[Float64, Float64, Float64]) -> Float64:
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    about_y = stacked((np.cos(yaw), nil, np.sin(yaw)), (nil, one, nil), (-np.sin(yaw), nil, np.cos(yaw)))
    about_x = stacked((one, nil, nil), (nil, np.cos(pitch), -np.sin(pitch)), (nil, np.sin(pitch), np.cos(pitch)))
    about_z = stacked((np.cos(roll), -np.sin(roll), nil), (np.sin(roll), np.cos(roll), nil), (nil, nil, one))
    return np.asarray(about_y @ about_x @ about_z, np.float64)
