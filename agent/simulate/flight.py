"""A rendered flight: frames of a wall as a moving camera sees it, with pose, scale and the truth about its cracks.

The cracks are drawn into each frame from their geometry, not resampled with the wall: their picture and the truth mask
are exact at every scale and turn. Surface coordinates: mm, x along the wall, y downwards.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Bool, Float32, Float64
from agent.contract.frame import Frame, Pose, Scale
from agent.simulate.camera import Camera, as_file, lamp_light, take_picture
from agent.simulate.cracks import CrackShape, draw, grow_crack, paint
from agent.simulate.noise import as_float32
from agent.simulate.scene import SceneKind, SceneSettings
from agent.simulate.wall import LOOKS, Wall

CAMERA_NAME: Final = "rendered"
SWAY: Final = 0.04  # of the frame's height: how far the camera leaves its level
TURN_DEG: Final = 1.2  # how far it rolls
ZOOM: Final = 0.03  # how far the scale departs from the middle one
EXPOSURE_S: Final = 1 / 1000
FALL_OFF: Final[dict[SceneKind, float]] = {"tunnel": 0.45, "facade": 0.1}  # of the light, in the corners

_CRACKS, _PATH, _FRAME = 3, 4, 5  # what a generator is for, after the seed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedFrame:
    """A frame and its truth."""

    frame: Frame
    mask: Bool  # (H, W): coverage >= 0.5, or crossed by a centre line
    coverage: Float32  # (H, W), [0, 1]: share of the pixel that is crack, before blur


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedFlight:
    """A flight that is rendered while it is read: iterate it, as often as needed; it holds no frame."""

    settings: SceneSettings
    cracks: tuple[CrackShape, ...]  # on the surface, mm
    wall_mm: tuple[float, float]  # length and height that the camera sees

    def __len__(self) -> int:
        return self.settings.frames

    def __iter__(self) -> Iterator[RenderedFrame]:
        """Yield the frames in their order."""
        return self.frames()

    def frames(self, start: int = 0) -> Iterator[RenderedFrame]:
        """Yield the frames from index `start` on."""
        wall = Wall(self.settings, math.ceil(self.wall_mm[1] / self.settings.mm_per_px))
        for index in range(start, len(self)):
            yield self._frame(wall, index)

    def view(self, index: int) -> tuple[Pose, Scale]:
        """Return where the camera is at a frame, and its scale: rounded as a record keeps them."""
        s = self.settings
        phases = np.random.default_rng([s.seed, _PATH]).uniform(0, 2 * math.pi, 3)
        time = index / s.fps
        sway, turn, zoom = (
            math.sin(2 * math.pi * time / period + p) for period, p in zip((7, 11, 9), phases, strict=True)
        )
        mm_per_px = round(s.mm_per_px * (1 + ZOOM * zoom), 9)
        rotation = round(TURN_DEG * turn, 6)
        half = np.array([s.width_px, s.height_px]) / 2
        margin = _margin_mm(s)
        centre = np.array(
            [
                margin + half[0] * s.mm_per_px + s.speed_mm_s * time,
                self.wall_mm[1] / 2 + sway * SWAY * s.height_px * s.mm_per_px,
            ]
        )
        corner = centre - mm_per_px * _rotation(rotation) @ half
        pose = Pose(x_mm=round(float(corner[0]), 3), y_mm=round(float(corner[1]), 3), rotation_deg=rotation)
        return pose, Scale(mm_per_px=mm_per_px, source="rendered")

    def _frame(self, wall: Wall, index: int) -> RenderedFrame:
        s = self.settings
        rng = np.random.default_rng([s.seed, _FRAME, index])
        pose, scale = self.view(index)
        mm_per_px = scale.mm_per_px or s.mm_per_px
        to_frame = frame_from_surface(pose, mm_per_px)
        seen = [crack.transformed(to_frame, 1 / mm_per_px) for crack in self.cracks]
        seen = [crack for crack in seen if _touches(crack, s.width_px, s.height_px)]
        layer = draw(seen, s.height_px, s.width_px)
        light = paint(_look_at(wall, pose, mm_per_px, s), seen, layer)
        lamp = lamp_light(np.random.default_rng([s.seed, _PATH, 1]), s.height_px, s.width_px, FALL_OFF[s.kind])
        camera = Camera(
            blur_px=s.blur_px * rng.uniform(0.7, 1.4),
            motion_px=s.speed_mm_s * EXPOSURE_S / mm_per_px,
            exposure=rng.uniform(0.97, 1.03),
            noise=s.noise,
        )
        picture, encoded = as_file(take_picture(rng, light * lamp[..., None], camera), s.jpeg_quality)
        frame = Frame(
            index=index,
            name=f"{index:06d}",
            source=f"{s.kind}-{s.seed}",
            camera=CAMERA_NAME,
            image_rgb=picture,
            sha256=hashlib.sha256(encoded or picture.tobytes()).hexdigest(),
            media_time_ns=round(index * 1e9 / s.fps),
            encoded=encoded,
            suffix=".png" if encoded is None else ".jpg",
            scale=scale,
            pose=pose,
        )
        return RenderedFrame(frame=frame, mask=layer.mask, coverage=layer.coverage)


def render_flight(settings: SceneSettings) -> RenderedFlight:
    """Return the flight over a wall with cracks; frames are rendered when it is iterated."""
    s = settings
    margin = _margin_mm(s)
    length = 2 * margin + s.width_px * s.mm_per_px + s.speed_mm_s * (s.frames - 1) / s.fps
    height = 2 * margin + s.height_px * s.mm_per_px
    return RenderedFlight(settings=s, cracks=_crack_wall(s, length, height), wall_mm=(length, height))


def surface_from_frame(pose: Pose, mm_per_px: float) -> Float64:
    """Return the (2, 3) matrix from px of a frame (pixel centres at integers) to mm on the surface."""
    turn = mm_per_px * _rotation(pose.rotation_deg)
    shift = np.array([pose.x_mm, pose.y_mm]) + turn @ (0.5, 0.5)  # the pose is the corner of pixel (0, 0)
    return np.column_stack([turn, shift])


def frame_from_surface(pose: Pose, mm_per_px: float) -> Float64:
    """Return the (2, 3) matrix from mm on the surface to px of a frame (pixel centres at integers)."""
    turn = _rotation(-pose.rotation_deg) / mm_per_px
    return np.column_stack([turn, -turn @ (pose.x_mm, pose.y_mm) - 0.5])


def _rotation(degrees: float) -> Float64:
    """Clockwise as seen, since y points down."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cos, -sin], [sin, cos]])


def _margin_mm(s: SceneSettings) -> float:
    """Wall beyond the frame at rest, so that sway, roll and zoom never look past its end."""
    roll = math.sin(math.radians(TURN_DEG)) * max(s.width_px, s.height_px) / 2
    return s.mm_per_px * (SWAY * s.height_px + roll + ZOOM * max(s.width_px, s.height_px) / 2 + 4)


def _crack_wall(s: SceneSettings, length: float, height: float) -> tuple[CrackShape, ...]:
    """Spread the cracks along the wall, each in a stretch of its own, so that they stay separate cracks."""
    rng = np.random.default_rng([s.seed, _CRACKS, LOOKS[s.kind].tag])
    widths = rng.permutation(np.geomspace(*s.width_mm, max(s.cracks, 1)))[: s.cracks]
    margin = _margin_mm(s)
    stretch = (length - 2 * margin) / max(s.cracks, 1)
    cracks = []
    for i, width in enumerate(widths):
        upright = rng.random() < (0.7 if s.kind == "facade" else 0.45)
        heading = rng.normal(math.pi / 2, 0.35) if upright else rng.normal(0, 0.3)
        reach = abs(math.cos(heading)) * stretch + abs(math.sin(heading)) * (height - 2 * margin)
        crack = grow_crack(
            rng,
            start_xy=(0.0, 0.0),
            heading_rad=heading,
            length=max(reach * rng.uniform(0.6, 1.1), 4 * width),
            width=float(width),
            darkness=rng.uniform(0.5, 0.85),
            step=s.mm_per_px,
            branching=rng.uniform(0, 1.8),
        )
        box = (margin + (i + 0.05) * stretch, margin, margin + (i + 0.95) * stretch, height - margin)
        cracks.append(crack.placed(rng, box))
    return tuple(cracks)


def _touches(crack: CrackShape, width: int, height: int) -> bool:
    left, top, right, bottom = crack.bounds
    reach = max(float(branch.width.max()) for branch in crack.branches) + 3 * crack.halo_reach + 2
    return left < width + reach and right > -reach and top < height + reach and bottom > -reach


def _look_at(wall: Wall, pose: Pose, mm_per_px: float, s: SceneSettings) -> Float32:
    """The wall in the frame's pixels."""
    to_surface = surface_from_frame(pose, mm_per_px)
    to_grid = to_surface / s.mm_per_px
    to_grid[:, 2] -= 0.5
    corners = np.array([(0, 0), (s.width_px, 0), (0, s.height_px), (s.width_px, s.height_px)]) @ to_grid[:, :2].T
    columns = corners[:, 0] + to_grid[0, 2]
    left, right = math.floor(columns.min()) - 2, math.ceil(columns.max()) + 3
    to_grid[0, 2] -= left
    return as_float32(
        cv2.warpAffine(
            wall.strip(left, right),
            to_grid,
            (s.width_px, s.height_px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    )
