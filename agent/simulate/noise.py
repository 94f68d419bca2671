"""Random fields that surfaces are made of: all float32, zero mean, about unit standard deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np

from agent.contract.arrays import Float32

Sides: TypeAlias = tuple[float, float]

COARSE_CELL_PX = 32.0  # coarser fields are made at a quarter of the size: smooth anyway, and much cheaper


def value_noise(rng: np.random.Generator, height: int, width: int, cell_px: float | Sides) -> Float32:
    """Return (height, width) smooth noise whose features are about `cell_px` wide (one figure, or y and x)."""
    cell_y, cell_x = (max(cell, 1.0) for cell in _yx(cell_px))
    if min(cell_y, cell_x) > COARSE_CELL_PX and min(height, width) > 8:
        small = value_noise(rng, math.ceil(height / 4), math.ceil(width / 4), (cell_y / 4, cell_x / 4))
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
    rows, columns = math.ceil(height / cell_y) + 2, math.ceil(width / cell_x) + 2
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    size = (math.ceil(columns * cell_x), math.ceil(rows * cell_y))
    full = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
    y, x = int(cell_y * rng.uniform(0.5, 1.0)), int(cell_x * rng.uniform(0.5, 1.0))
    return np.asarray(full[y : y + height, x : x + width] * 1.3, np.float32)


def cloud(rng: np.random.Generator, height: int, width: int, cells_px: Sequence[float]) -> Float32:
    """Return the sum of value noise over several scales, each half as strong as the one before it."""
    weights = [0.5**i for i in range(len(cells_px))]
    norm = math.sqrt(sum(weight**2 for weight in weights))
    total = np.zeros((height, width), np.float32)
    for weight, cell in zip(weights, cells_px, strict=True):
        total += np.float32(weight / norm) * value_noise(rng, height, width, cell)
    return total


def grain(rng: np.random.Generator, height: int, width: int, sigma_px: float | Sides) -> Float32:
    """Return white noise blurred by a Gaussian of `sigma_px` (one figure, or y and x), back at unit deviation."""
    white = rng.standard_normal((height, width), dtype=np.float32)
    sigma_y, sigma_x = _yx(sigma_px)
    if max(sigma_y, sigma_x) < 0.3:
        return white
    blurred = cv2.GaussianBlur(white, (0, 0), sigmaX=max(sigma_x, 0.05), sigmaY=max(sigma_y, 0.05))
    return np.asarray(blurred / max(float(blurred.std()), 1e-6), np.float32)


def smoothstep(field: Float32, low: float, high: float) -> Float32:
    """Return the field mapped to [0, 1]: 0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def curve_noise(rng: np.random.Generator, count: int, cell: float) -> Float32:
    """Return (count,) smooth noise along a line, features about `cell` samples long."""
    knots = rng.standard_normal(max(int(count / max(cell, 1.0)), 1) + 3)
    at = rng.uniform(0, 1) + np.arange(count) * ((len(knots) - 2.001) / max(count, 1))
    i = at.astype(np.int64)
    t = at - i
    t = t * t * (3 - 2 * t)
    return np.asarray((knots[i] * (1 - t) + knots[i + 1] * t) * 1.2, np.float32)


def step_noise(rng: np.random.Generator, count: int, mean_run: float) -> Float32:
    """Return (count,) noise along a line that jumps and then holds, runs of `mean_run` samples on average."""
    jumps = rng.random(count) < 1.0 / max(mean_run, 1.0)
    levels = rng.standard_normal(int(jumps.sum()) + 1)
    return np.asarray(levels[np.cumsum(jumps)], np.float32)


def as_float32(array: object) -> Float32:
    """Return the array as float32, without a copy where it already is."""
    return np.asarray(array, np.float32)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a draw whose logarithm is uniform between those of `low` and `high`."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def _yx(value: float | Sides) -> Sides:
    return value if isinstance(value, tuple) else (value, value)
