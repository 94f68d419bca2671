"""Walls and cracks with known places, seen by a camera that moves: for tests of tracking."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from agent.contract.arrays import Float64, UInt8
from agent.contract.crack import Branch, Crack
from agent.contract.frame import UNKNOWN_SCALE, Frame, Pose, Scale

HALF_MM = Scale(mm_per_px=0.5, source="setting")


def wall(seed: int, height: int, width: int) -> UInt8:
    """Concrete that differs everywhere, (H, W, 3)."""
    random = np.random.default_rng(seed)
    light = np.full((height, width), 150.0, np.float32)
    for size, strength in ((40, 30.0), (9, 20.0), (3, 14.0)):
        coarse = random.normal(0, strength, (height // size + 2, width // size + 2)).astype(np.float32)
        light += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grey = np.clip(light + random.normal(0, 2, light.shape), 0, 255).astype(np.uint8)
    return np.asarray(np.repeat(grey[..., None], 3, axis=2), np.uint8)


def wandering(seed: int, start: tuple[float, float], length: float, *, heading_deg: float = 0.0) -> Float64:
    """A crack's centre line on the wall, a point per unit of length, (K, 2)."""
    random = np.random.default_rng([7, seed])
    count = max(3, round(length))
    turn = np.convolve(random.normal(0, 1.2, count + 40), np.hanning(41) / 20, mode="valid")[:count]
    angle = math.radians(heading_deg) + turn - turn.mean()
    steps = np.column_stack([np.cos(angle), np.sin(angle)])
    return np.asarray(np.array(start) + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)]), np.float64)


def seen(lines: Sequence[Float64], view: Float64, hw: tuple[int, int], *, width_px: float = 3.0) -> list[Crack]:
    """The cracks of a frame: each line's part in it, one crack for each stretch.

    Args:
        lines: centre lines on the wall.
        view: (2, 3) wall -> px.
        hw: of the frame.
        width_px: of all of them.
    """
    found = []
    for line in lines:
        px = line @ view[:, :2].T + view[:, 2]
        inside = np.asarray(((px >= 2) & (px < (hw[1] - 2, hw[0] - 2))).all(axis=1), np.bool_)
        borders = np.flatnonzero(np.diff(inside.astype(np.int8))) + 1
        found += [
            crack_along(px[part], hw, width_px=width_px)
            for part in np.split(np.arange(len(px)), borders)
            if inside[part[0]] and len(part) >= 24
        ]
    return found


def crack_along(
    px: Float64, hw: tuple[int, int], *, width_px: float = 3.0, scale: Scale = UNKNOWN_SCALE, confidence: float = 0.9
) -> Crack:
    """A crack with this centre line, px."""
    canvas = np.zeros(hw, np.uint8)
    cv2.polylines(canvas, [np.rint(px * 16).astype(np.int32)], False, 1, max(1, round(width_px)), shift=4)
    x, y, w, h = cv2.boundingRect(canvas)
    length = float(np.hypot(*np.diff(px, axis=0).T).sum())
    return Crack(
        bbox_xywh_px=(x, y, w, h),
        mask=canvas[y : y + h, x : x + w].astype(bool),
        branches=(Branch(line_xy_px=px.astype(np.float32), width_px=np.full(len(px), width_px, np.float32)),),
        length_px=length,
        width_px=width_px,
        width_p50_px=width_px,
        width_max_px=width_px,
        area_px=int(canvas.sum()),
        orientation_deg=0.0,
        confidence=confidence,
        scale=scale,
    )


def frame(index: int, image: UInt8, *, pose: Pose | None = None, scale: Scale = UNKNOWN_SCALE) -> Frame:
    """A frame of a video."""
    return Frame(
        index=index, name=f"{index:06d}", source="v.mp4", camera="cam", image_rgb=image, sha256="0" * 64,
        media_time_ns=index * 40_000_000, scale=scale, pose=pose,
    )  # fmt: skip


def shift(x: float, y: float) -> Float64:
    """The view of a camera whose upper left corner is at x, y of the wall, a px per unit."""
    return np.array([[1.0, 0.0, -x], [0.0, 1.0, -y]])
