"""Which parts of a picture a crack could be seen in: not too dark, not burnt out, not out of focus, not covered.

Blur after Zhuo and Sim (Pattern Recognition 2011): an edge of blur s, smoothed by a and by b, has gradients whose
squared ratio is (s^2 + b^2) / (s^2 + a^2). Departure: `a` is 2 px, so that sensor noise is no edge.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Bool, Float32, Float64, UInt8
from agent.track.grey import Grey, halved
from agent.track.settings import CoverageSettings

BLOCK_PX: Final = 32  # light is judged over this
FOCUS_PX: Final = 192  # focus needs more: a block may hold nothing
SMOOTH_PX: Final = (2.0, 4.0)
STEEPEST: Final = 0.04  # share of a focus block's px that tell its blur
LARGEST_PX: Final = 4_000_000  # larger pictures are judged at half their size, and again
OK, IGNORED, DARK, BRIGHT, BLUR = 0, 1, 2, 3, 4  # the lower, the better known


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """A verdict for each block of a frame."""

    state: UInt8  # (rows, columns)
    blur_px: Float32  # (rows, columns) standard deviation
    block_px: int

    def at(self, xy: Float64) -> tuple[UInt8, Float32]:
        """Return state and blur at points (N, 2) of the frame, px."""
        rows, columns = self.state.shape
        column = np.clip((xy[:, 0] + 0.5) // self.block_px, 0, columns - 1).astype(np.intp)
        row = np.clip((xy[:, 1] + 0.5) // self.block_px, 0, rows - 1).astype(np.intp)
        return self.state[row, column], self.blur_px[row, column]


def judge(frame: Grey, ignored: Bool | None, settings: CoverageSettings) -> Quality:
    """Judge a frame.

    Args:
        frame: its grey.
        ignored: (H, W), True where the carrier's own gear is in view.
        settings: what is too dark, too bright, too blurred.
    """
    height, width = frame.full.shape
    grid = (-(-width // BLOCK_PX), -(-height // BLOCK_PX))
    light = _blocks(frame.full, grid)
    state = np.full((grid[1], grid[0]), OK, np.uint8)
    blur = _blur(frame, grid)
    state[blur > settings.largest_blur_px] = BLUR
    state[light > settings.brightest * 255] = BRIGHT
    state[light < settings.darkest * 255] = DARK
    if ignored is not None:
        state[_blocks(np.asarray(ignored, np.uint8) * np.uint8(255), grid) > 127] = IGNORED
    return Quality(state, blur, BLOCK_PX)


def _blocks(picture: UInt8, grid: tuple[int, int]) -> Float32:
    """Means over blocks; those at the far edges hold what there is of them."""
    whole = picture.shape[0] // BLOCK_PX * BLOCK_PX  # rows that need no padded copy
    return np.vstack([_means(part, grid[0]) for part in (picture[:whole], picture[whole:]) if len(part)])


def _means(part: UInt8, columns: int) -> Float32:
    height, width = part.shape
    rows = -(-height // BLOCK_PX)
    below, right = rows * BLOCK_PX - height, columns * BLOCK_PX - width
    if below or right:
        part = np.asarray(cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    return np.asarray(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)


def _blur(frame: Grey, grid: tuple[int, int]) -> Float32:
    """Blur in px at each block, told over larger ones."""
    grey, factor = (frame.half, 2) if frame.full.size > LARGEST_PX else (frame.full, 1)
    while grey.size > LARGEST_PX:
        grey, factor = halved(grey), 2 * factor
    small, large = SMOOTH_PX
    first = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), small)
    second = cv2.GaussianBlur(first, (0, 0), float(np.sqrt(large**2 - small**2)))
    edge = max(32, FOCUS_PX // factor)
    rows, columns = max(1, round(grey.shape[0] / edge)), max(1, round(grey.shape[1] / edge))
    told = np.zeros((rows, columns), np.float32)
    bounds = np.cumsum([0, *map(len, np.array_split(np.empty(grey.shape[0]), rows))]).tolist()
    for row, (top, bottom) in enumerate(itertools.pairwise(bounds)):  # a strip stays in the processor's cache
        a, b = (_steepness(np.asarray(picture, np.float32), top, bottom) for picture in (first, second))
        parts = zip(np.array_split(a, columns, axis=1), np.array_split(b, columns, axis=1), strict=True)
        for column, (sharp, soft) in enumerate(parts):
            told[row, column] = factor * _blur_of(sharp, soft)
    return np.asarray(cv2.resize(told, grid, interpolation=cv2.INTER_LINEAR), np.float32)


def _blur_of(sharp: Float32, soft: Float32) -> float:
    flat = sharp.ravel()
    count = max(16, int(STEEPEST * flat.size))
    if count >= flat.size:
        return 0.0
    chosen = np.argpartition(flat, -count)[-count:]
    below = float((soft.ravel()[chosen] ** 2).sum())
    if below < 1e-6 * count:
        return 0.0  # nothing there at all: its light says so
    ratio = float((flat[chosen] ** 2).sum()) / below
    small, large = (px**2 for px in SMOOTH_PX)
    if ratio <= 1.0 + 1e-6:
        return 99.0
    return float(np.sqrt(max(0.0, (large - ratio * small) / (ratio - 1))))


def _steepness(picture: Float32, top: int, bottom: int) -> Float32:
    """The gradient's length in rows `top` to `bottom`, told with the rows beside them."""
    first = max(top - 1, 0)
    strip = picture[first : bottom + 1]
    along = cv2.magnitude(cv2.Sobel(strip, cv2.CV_32F, 1, 0), cv2.Sobel(strip, cv2.CV_32F, 0, 1))
    return np.asarray(along[top - first : bottom - first], np.float32)
