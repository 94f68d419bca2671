"""Small drawings of a sheet, in px of their own canvas: the width along a crack, and over the frames that showed it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contract.flight import CrackRow
from agent.report.figures import number

WIDTH: Final = 320
HEIGHT: Final = 120
LEFT, RIGHT, TOP, BOTTOM = 34, 8, 8, 22  # of the canvas, outside the axes
MOST_POINTS: Final = 300  # of a line; of the points that share a place the widest stays, for peaks count


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float  # px
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A sighting."""

    x: float
    y: float
    filled: bool  # gradable
    best: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws."""

    unit: str  # of the widths
    along: str  # what x is
    lines: tuple[str, ...]  # polylines
    dots: tuple[Dot, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    level: float | None  # y of the width that is reported
    band: tuple[float, float] | None  # y of the interval's ends, the upper one first
    branches: int = 0  # laid one after the other


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the history keeps of a sighting."""

    frame: int
    width: float | None  # mm, or px where no sighting has a scale
    gradable: bool
    best: bool


def profile(crack: CrackRow) -> Chart | None:
    """Return the width along a crack's centre line; None where no point of it was measured.

    Branches stand one after the other, the longest first, with a gap between them.
    """
    mm_per_px = crack.scale_mm_px
    factor, unit = (mm_per_px, "mm") if mm_per_px is not None else (1.0, "px")
    runs: list[tuple[np.ndarray, np.ndarray]] = []
    start = 0.0
    branches = []
    for branch in crack.branches:
        line = np.array(branch.line_px, np.float64).reshape(-1, 2)
        width = np.array([math.nan if value is None else value for value in branch.width_px]) * factor
        steps = np.hypot(*np.diff(line, axis=0).T) if len(line) > 1 else np.zeros(0)
        branches.append((np.concatenate([[0.0], np.cumsum(steps)]) * factor, width))
    branches.sort(key=lambda one: -float(one[0][-1]))
    for along, width in branches:
        if np.isfinite(width).any():
            runs.append((along + start, width))
        start += float(along[-1]) + 4 * factor
    if not runs:
        return None
    longest = max(float(along[-1]) for along, _ in runs) or 1.0
    reported = crack.width_mm if mm_per_px is not None else crack.width_px
    low, high = (
        (crack.width_lo_mm, crack.width_hi_mm) if mm_per_px is not None else (crack.width_lo_px, crack.width_hi_px)
    )
    values = [float(np.nanmax(width)) for _, width in runs] + [value for value in (reported, high) if value is not None]
    axes = _Axes.of(0.0, longest, max(values))
    lines = [piece for along, width in runs for piece in _polylines(along, width, axes)]
    return Chart(
        unit=unit,
        along=f"along the centre line, {unit}",
        lines=tuple(lines),
        dots=(),
        x_ticks=axes.x_ticks,
        y_ticks=axes.y_ticks,
        level=None if reported is None else axes.y(reported),
        band=None if low is None or high is None else (axes.y(high), axes.y(low)),
        branches=len(crack.branches),
    )


def history(seen: Sequence[Sighting], unit: str = "mm") -> Chart | None:
    """Return the width in each frame that showed a crack; None for fewer than two measured sightings."""
    measured = [one for one in seen if one.width is not None]
    if len(measured) < 2:
        return None
    frames = [one.frame for one in measured]
    axes = _Axes.of(min(frames), max(frames), max(one.width or 0.0 for one in measured), whole=True)
    kept = [one for one in measured if one.best] + measured[:: max(1, len(measured) // MOST_POINTS)]
    return Chart(
        unit=unit,
        along="frame",
        lines=(),
        dots=tuple(Dot(axes.x(one.frame), axes.y(one.width or 0.0), one.gradable, one.best) for one in reversed(kept)),
        x_ticks=axes.x_ticks,
        y_ticks=axes.y_ticks,
        level=None,
        band=None,
    )


@dataclass(frozen=True, slots=True)
class _Axes:
    left: float
    right: float
    top: float  # value
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @classmethod
    def of(cls, left: float, right: float, highest: float, *, whole: bool = False) -> _Axes:
        if right <= left:
            right = left + 1
        top = (highest or 1.0) * 1.08
        axes = cls(left, right, top, (), ())
        y_ticks = tuple(Tick(axes.y(value), _text(value)) for value in steps(0.0, top, 4))
        x_ticks = tuple(Tick(axes.x(v), _text(v)) for v in steps(left, right, 6) if not whole or v == int(v))
        return cls(left, right, top, x_ticks, y_ticks)

    def x(self, value: float) -> float:
        share = (value - self.left) / (self.right - self.left)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - min(value / self.top, 1.0) * (HEIGHT - TOP - BOTTOM), 1)


def steps(low: float, high: float, most: int) -> list[float]:
    """Return round values from `low` to `high`, at most about `most` of them, a step of 1, 2 or 5 apart."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _text(value: float) -> str:
    return f"{value:g}" if value == 0 or abs(value) >= 0.01 else number(value)


def _polylines(along: np.ndarray, width: np.ndarray, axes: _Axes) -> list[str]:
    """Return the measured runs of a branch; of the points of one bin the widest stays."""
    bins = np.floor((along - axes.left) / (axes.right - axes.left) * MOST_POINTS).astype(np.int64)
    pieces: list[list[tuple[float, float]]] = [[]]
    for bin_ in np.unique(bins):
        part = bins == bin_
        if not np.isfinite(width[part]).any():
            pieces.append([])
            continue
        at = int(np.flatnonzero(part)[np.nanargmax(width[part])])
        pieces[-1].append((axes.x(float(along[at])), axes.y(float(width[at]))))
    return [" ".join(f"{x:g},{y:g}" for x, y in (piece if len(piece) > 1 else piece * 2)) for piece in pieces if piece]
