"""Photographs of cracks whose width is known: straight bands and wandering cracks on rendered concrete and asphalt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from agent.contract.arrays import Float32, Float64, UInt8
from agent.simulate.camera import Camera, take_picture
from agent.simulate.cracks import CrackBranch, CrackShape, draw, grow_crack, paint
from agent.simulate.noise import log_uniform
from agent.simulate.surface import Material, render_surface

WINDOW_PX = 15  # the width of a crack is that of a stretch of this length: the agent's `window_px`


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WidthScene:
    """A picture with one crack, and what is true of it."""

    image_rgb: UInt8
    mask: UInt8  # (H, W) 0 or 255, a pixel too wide all round, as networks' masks are
    width_px: float  # 95th percentile along the centre lines of the width averaged over WINDOW_PX
    length_px: float
    blur_px: float
    darkness: float


def band_scene(
    rng: np.random.Generator,
    *,
    width: float,
    blur: float,
    darkness: float,
    length: float = 240,
    material: Material = "concrete",
    noise: float = 0.02,
) -> WidthScene:
    """Return a straight band at any angle on a textured surface."""
    size = int(length + 2 * width + 60)
    angle, middle = rng.uniform(0, math.pi), size / 2 + rng.uniform(-0.5, 0.5, 2)
    along = np.linspace(-length / 2, length / 2, 64)[:, None] * np.array([math.cos(angle), math.sin(angle)])
    branch = CrackBranch(line_xy=middle + along, width=np.full(64, width), darkness=np.full(64, darkness))
    return _scene(
        rng, CrackShape(branches=(branch,)), size, blur=blur, darkness=darkness, material=material, noise=noise
    )


def crack_scene(
    rng: np.random.Generator,
    *,
    width: float,
    blur: float,
    darkness: float,
    size: int = 320,
    material: Material | None = None,
    noise: float = 0.02,
) -> WidthScene:
    """Return a wandering crack with branches, of varying width and darkness, with halo, spalls and lit edges."""
    heading = rng.uniform(0, 2 * math.pi)
    length = size * 0.8
    start = size / 2 - length / 2 * np.array([math.cos(heading), math.sin(heading)])
    crack = grow_crack(
        rng,
        start_xy=(float(start[0]), float(start[1])),
        heading_rad=heading,
        length=length,
        width=width,
        darkness=darkness,
        step=1.0,
        branching=rng.uniform(0, 0.8),
    )
    chosen: Material = material or ("concrete" if rng.random() < 0.6 else "asphalt")
    return _scene(rng, crack, size, blur=blur, darkness=darkness, material=chosen, noise=noise)


def _scene(
    rng: np.random.Generator,
    crack: CrackShape,
    size: int,
    *,
    blur: float,
    darkness: float,
    material: Material,
    noise: float,
) -> WidthScene:
    surface = render_surface(rng, size, size, material=material, feature_px=log_uniform(rng, 0.6, 2.2))
    layer = draw([crack], size, size)
    light = paint(surface, [crack], layer)
    camera = Camera(blur_px=blur, exposure=0.55 / float(surface.mean()), noise=noise)
    marked = np.where(layer.coverage > 0.1, 255, 0).astype(np.uint8)
    return WidthScene(
        image_rgb=take_picture(rng, light, camera),
        mask=np.asarray(cv2.dilate(marked, np.ones((3, 3), np.uint8)), np.uint8),
        width_px=_true_width(crack, layer.coverage),
        length_px=crack.length,
        blur_px=blur,
        darkness=darkness,
    )


def _true_width(crack: CrackShape, coverage: Float32) -> float:
    """95th percentile, by length, of what is drawn: the area of coverage per px of centre line, over the window.

    A crack's nominal width is not it: the rendered edges wander, and what they sweep over is wider.
    """
    lines = [_smooth_line(branch.line_xy) for branch in crack.branches]
    points = np.concatenate(lines)
    branch = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    y, x = np.nonzero(coverage)
    nearest = np.array(
        [np.square(points - (u, v)).sum(axis=1).argmin() for u, v in zip(x.tolist(), y.tolist(), strict=True)], np.intp
    )
    area = np.bincount(nearest, coverage[y, x], minlength=len(points))
    inside = np.all((points >= 0) & (points <= np.array(coverage.shape[::-1]) - 1), axis=1)
    widths = []
    for one in range(len(lines)):
        mine = area[branch == one]
        total = np.concatenate([[0.0], np.cumsum(mine)])
        index = np.arange(len(mine))
        low, high = np.maximum(index - WINDOW_PX // 2, 0), np.minimum(index + WINDOW_PX // 2 + 1, len(mine))
        widths.append(((total[high] - total[low]) / (high - low))[inside[branch == one]])
    return float(np.percentile(np.concatenate(widths), 95))


def _smooth_line(line_xy: Float64) -> Float64:
    """Return points 1 px apart on the line, which is smoothed over 7 px."""
    for _ in range(2):
        at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line_xy, axis=0).T))])
        even = np.arange(0, at[-1], 1.0)
        line_xy = np.stack([np.interp(even, at, line_xy[:, axis]) for axis in (0, 1)], axis=1)
        padded = np.pad(line_xy, ((3, 3), (0, 0)), mode="reflect", reflect_type="odd")
        total = np.concatenate([np.zeros((1, 2)), np.cumsum(padded, axis=0)])
        line_xy = (total[7:] - total[:-7]) / 7
    return line_xy
