"""Centre lines as points with a direction and a length each: what sightings are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contract.arrays import Bool, Float64, Int64
from agent.contract.crack import Branch, Crack
from agent.track.placement import Placement, projected

SPACING_PX: Final = 4.0  # of the points
AGREE_COS: Final = float(np.cos(np.radians(35)))  # directions that belong together
ALONG: Final = 0.8  # of the spacing: how far along a line a point stands for it
BESIDE: Final = 0.4  # share of the shorter line: two lines that run side by side for it are two cracks


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Points of a centre line; a crack with branches is one line of several stretches."""

    xy: Float64  # (N, 2)
    along: Float64  # (N, 2) unit vectors
    weight: Float64  # (N,) length that each stands for
    stretch: Int64  # (N,) which branch

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def length(self) -> float:
        """Of all stretches."""
        return float(self.weight.sum())

    def part(self, chosen: Bool | Int64) -> Line:
        """Return some of the points."""
        return Line(self.xy[chosen], self.along[chosen], self.weight[chosen], self.stretch[chosen])


def line_of(crack: Crack) -> Line:
    """Return a crack's centre line, px of its frame; its weights sum to the crack's length."""
    parts = [_resampled(branch) for branch in crack.branches]
    xy = np.concatenate([points for points, _, _ in parts])
    along = np.concatenate([direction for _, direction, _ in parts])
    weight = np.concatenate([np.full(len(points), length / len(points)) for points, _, length in parts])
    stretch = np.repeat(np.arange(len(parts)), [len(points) for points, _, _ in parts])
    total = float(weight.sum())
    weight = weight * (crack.length_px / total) if total > 0 else np.full(len(xy), crack.length_px / len(xy))
    return Line(xy, along, weight, stretch.astype(np.int64))


def moved(line: Line, placement: Placement) -> Line:
    """Return a line of a frame on the surface."""
    return _mapped(line, placement.to_surface(line.xy), placement.to_surface(line.xy + line.along))


def _mapped(line: Line, xy: Float64, ahead: Float64) -> Line:
    step = ahead - xy
    size = np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-12)
    return Line(xy, step / size[:, None], line.weight * size, line.stretch)


def remapped(line: Line, matrix: Float64) -> Line:
    """Return a line under a homography."""
    return _mapped(line, projected(matrix, line.xy), projected(matrix, line.xy + line.along))


def joined(lines: Sequence[Line]) -> Line:
    """Return all of the lines' points, their stretches kept apart."""
    offset, stretches = 0, []
    for line in lines:
        stretches.append(line.stretch + offset)
        offset += int(line.stretch.max(initial=-1)) + 1
    return Line(
        np.concatenate([line.xy for line in lines]) if lines else np.zeros((0, 2)),
        np.concatenate([line.along for line in lines]) if lines else np.zeros((0, 2)),
        np.concatenate([line.weight for line in lines]) if lines else np.zeros(0),
        np.concatenate(stretches) if lines else np.zeros(0, np.int64),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of points of two lines that lie near each other, with how the second sees the first."""

    one: Int64  # (P,) into the first line
    two: Int64  # (P,) into the second
    distance: Float64  # (P,)
    along: Float64  # (P,) >= 0, along the second's direction
    across: Float64  # (P,) signed, across it
    agree: Bool  # (P,) their directions belong together


def pairs(one: Line, two: Line, radius: float) -> Pairs:
    """Return every pair of points nearer than `radius`: points are sorted into cells of that edge."""
    if not len(one) or not len(two):
        none = np.zeros(0, np.int64)
        return Pairs(none, none, np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, np.bool_))
    cells = np.floor(two.xy / radius).astype(np.int64)
    keys = _key(cells)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    home = np.floor(one.xy / radius).astype(np.int64)
    left: list[Int64] = []
    right: list[Int64] = []
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            wanted = _key(home + np.array((dx, dy)))
            first = np.searchsorted(keys, wanted, "left")
            count = np.searchsorted(keys, wanted, "right") - first
            a = np.repeat(np.arange(len(one)), count)
            within = np.arange(len(a)) - np.repeat(np.cumsum(count) - count, count)
            left.append(a)
            right.append(order[np.repeat(first, count) + within])
    i, j = np.concatenate(left), np.concatenate(right)
    gap = one.xy[i] - two.xy[j]
    distance = np.hypot(gap[:, 0], gap[:, 1])
    near = distance <= radius
    i, j, gap, distance = i[near], j[near], gap[near], distance[near]
    direction = two.along[j]
    along = np.abs((gap * direction).sum(axis=1))
    across = gap[:, 1] * direction[:, 0] - gap[:, 0] * direction[:, 1]
    agree = np.abs((one.along[i] * direction).sum(axis=1)) >= AGREE_COS
    return Pairs(i, j, distance, along, across, agree)


def beside(one: Line, two: Line, *, nearest: float, farthest: float, spacing: float) -> float:
    """Return the share of the shorter line that runs beside the other, not on it, [0, 1].

    Args:
        one: a line.
        two: another.
        nearest: up to this distance it is the same line.
        farthest: from this distance on they have nothing to do with each other.
        spacing: of the lines' points.
    """
    found = pairs(one, two, farthest)
    level = found.agree & (found.along <= spacing)
    on = np.unique(found.one[level & (np.abs(found.across) <= nearest)])
    at_side = np.setdiff1d(np.unique(found.one[level & (np.abs(found.across) > nearest)]), on)
    on_two = np.unique(found.two[level & (np.abs(found.across) <= nearest)])
    side_two = np.setdiff1d(np.unique(found.two[level & (np.abs(found.across) > nearest)]), on_two)
    share_one = float(one.weight[at_side].sum()) / max(one.length, 1e-9)
    share_two = float(two.weight[side_two].sum()) / max(two.length, 1e-9)
    return max(share_one, share_two)


def _key(cells: Int64) -> Int64:
    return np.asarray((cells[:, 0] << 32) + (cells[:, 1] & 0xFFFFFFFF), np.int64)


def _resampled(branch: Branch) -> tuple[Float64, Float64, float]:
    """Points at even distances, their directions, and the stretch's length; a stair of pixels is smoothed first."""
    raw = branch.line_xy_px.astype(np.float64)
    if len(raw) >= 5:
        padded = np.pad(raw, ((2, 2), (0, 0)), mode="edge")
        smooth = (padded[:-4] + padded[1:-3] + padded[2:-2] + padded[3:-1] + padded[4:]) / 5
        smooth[[0, -1]] = raw[[0, -1]]
    else:
        smooth = raw
    walked = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(smooth, axis=0).T))])
    length = float(walked[-1])
    count = max(1, round(length / SPACING_PX))
    at = (np.arange(count) + 0.5) * (length / count)
    xy = np.column_stack([np.interp(at, walked, smooth[:, axis]) for axis in (0, 1)])
    reach = 2 * SPACING_PX
    ahead = np.column_stack([np.interp(np.minimum(at + reach, length), walked, smooth[:, axis]) for axis in (0, 1)])
    behind = np.column_stack([np.interp(np.maximum(at - reach, 0), walked, smooth[:, axis]) for axis in (0, 1)])
    step = ahead - behind
    size = np.hypot(step[:, 0], step[:, 1])
    along = np.where(size[:, None] > 1e-9, step / np.maximum(size, 1e-9)[:, None], np.array([1.0, 0.0]))
    return xy, along, length
