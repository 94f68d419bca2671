"""Pieces of one crack within a frame: their ends face each other across a gap that the network left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from agent.contract.arrays import Float64
from agent.contract.crack import Crack
from agent.track.lines import BESIDE, SPACING_PX, Line, beside, pairs

FACING_COS: Final = float(np.cos(np.radians(35)))
BACK_PX: Final = 20.0  # an end's direction is told over this stretch
ASIDE_PX: Final = 3.0  # how far a continuation may lie off an end's direction
ASIDE_SHARE: Final = 0.3  # or this share of the gap
NODE_PX: Final = 2.5  # an end of a branch so near to another branch is a junction, no end


class Groups:
    """A union-find over 0 .. n - 1 whose roots are the smallest members."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, one: int) -> int:
        """Return the group's smallest member."""
        while self._parent[one] != one:
            self._parent[one] = self._parent[self._parent[one]]
            one = self._parent[one]
        return one

    def join(self, one: int, two: int) -> None:
        """Make two groups one."""
        a, b = sorted((self.root(one), self.root(two)))
        self._parent[b] = a

    def members(self) -> list[list[int]]:
        """Return the groups, each in order, by their smallest members."""
        groups: dict[int, list[int]] = {}
        for one in range(len(self._parent)):
            groups.setdefault(self.root(one), []).append(one)
        return list(groups.values())


def pieces(cracks: Sequence[Crack], lines: Sequence[Line], *, join_px: float) -> list[list[int]]:
    """Return which cracks of a frame are pieces of one.

    Args:
        cracks: of the frame.
        lines: theirs, px of the frame.
        join_px: the longest gap; half of it where an end meets another's side.
    """
    groups = Groups(len(cracks))
    if len(cracks) < 2 or join_px <= 0:
        return groups.members()
    ends = [_ends(crack) for crack in cracks]
    end_xy = np.concatenate([xy for xy, _ in ends])
    outward = np.concatenate([direction for _, direction in ends])
    end_of = np.repeat(np.arange(len(cracks)), [len(xy) for xy, _ in ends])
    points = np.concatenate([line.xy for line in lines])
    point_of = np.repeat(np.arange(len(cracks)), [len(line) for line in lines])
    flat = np.zeros(len(end_xy), np.int64)
    found = pairs(
        Line(end_xy, outward, np.ones(len(end_xy)), flat),
        Line(points, np.zeros_like(points), np.ones(len(points)), np.zeros(len(points), np.int64)),
        join_px + SPACING_PX,
    )
    first_end = np.concatenate([[0], np.cumsum([len(xy) for xy, _ in ends])])
    used: set[int] = set()  # an end is continued once
    order = np.lexsort((found.two, found.one, found.distance))
    for at in order.tolist():
        end, point = int(found.one[at]), int(found.two[at])
        one, two = int(end_of[end]), int(point_of[point])
        if end in used or one == two:
            continue
        facing = _facing(end_xy[end], outward[end], points[point], ends[two], join_px)
        other = first_end[two] + facing if facing is not None and facing >= 0 else None
        if facing is None or other in used:
            continue
        if beside(lines[one], lines[two], nearest=1.0, farthest=join_px, spacing=SPACING_PX) <= BESIDE:
            used |= {end} if other is None else {end, int(other)}
            groups.join(one, two)
    return groups.members()


def _facing(
    end: Float64, outward: Float64, point: Float64, others: tuple[Float64, Float64], join_px: float
) -> int | None:
    """Say whether an end points at a point of another crack, which either ends there and points back, or is met there.

    Returns:
        The number of the other crack's end, -1 for its side, None for neither.
    """
    xy, direction = others
    if len(xy):
        nearest = int(np.hypot(*(xy - point).T).argmin())
        if np.hypot(*(xy[nearest] - point)) <= 1.5 * SPACING_PX:
            back = bool(direction[nearest] @ outward <= -FACING_COS)
            return nearest if back and _ahead(end, outward, xy[nearest], join_px) else None
    return -1 if _ahead(end, outward, point, join_px / 2) else None


def _ahead(end: Float64, outward: Float64, point: Float64, farthest: float) -> bool:
    """Whether a point lies before an end, hardly off its direction: parallel cracks end beside each other."""
    gap = point - end
    distance = float(np.hypot(*gap))
    aside = abs(float(gap[0] * outward[1] - gap[1] * outward[0]))
    return distance <= farthest and aside <= max(ASIDE_PX, ASIDE_SHARE * distance) and bool(gap @ outward >= 0)


def _ends(crack: Crack) -> tuple[Float64, Float64]:
    """The free ends of a crack's branches (E, 2), and where they point."""
    found: list[tuple[Float64, Float64]] = []
    tips = [branch.line_xy_px[[0, -1]].astype(np.float64) for branch in crack.branches]
    for number, branch in enumerate(crack.branches):
        line = branch.line_xy_px.astype(np.float64)
        others = [tip for other, tip in enumerate(tips) if other != number]
        for points in (line, line[::-1]):
            tip = points[0]
            if others and (np.hypot(*(np.concatenate(others) - tip).T) <= NODE_PX).any():
                continue
            back = points[min(len(points) - 1, int(BACK_PX))]
            size = float(np.hypot(*(tip - back)))
            if size > 0:
                found.append((tip, (tip - back) / size))
    if not found:
        return np.zeros((0, 2)), np.zeros((0, 2))
    return np.array([xy for xy, _ in found]), np.array([direction for _, direction in found])
