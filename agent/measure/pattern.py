"""How a crack is laid out: single, branched, or a network round closed cells (map cracking)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contract.arrays import Int32
from agent.contract.crack import Pattern
from agent.measure.graph import Skeleton

SHORT_POINTS: Final = 4  # junctions no farther apart are one: thinning splits a crossing into two forks
MAP_CELLS: Final = 3  # closed cells that make a crack a network; one or two are an island or a hole in the mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Of one crack."""

    branch_points: int  # where three or more branches meet
    cells: int  # areas that the lines close in

    @property
    def pattern(self) -> Pattern:
        """`map` from MAP_CELLS closed cells on, else `branched` where branches meet, else `single`."""
        if self.cells >= MAP_CELLS:
            return "map"
        return "branched" if self.branch_points else "single"


def layouts(skeleton: Skeleton, crack_of_branch: Int32, cracks: int) -> list[Layout]:
    """Return the layout of each crack.

    Args:
        skeleton: of the frame.
        crack_of_branch: (B,) which crack each branch belongs to.
        cracks: how many there are.
    """
    first, last = skeleton.points[skeleton.starts[:-1]], skeleton.points[skeleton.starts[1:] - 1]
    nodes, ends = np.unique(np.concatenate([first, last]), return_inverse=True)
    first, last = ends[: len(first)], ends[len(first) :]
    owner = np.zeros(len(nodes), np.intp)
    owner[first], owner[last] = crack_of_branch, crack_of_branch
    junction = skeleton.degree[nodes] > 2
    piece = _joined(len(nodes), first, last)
    short = (np.diff(skeleton.starts) <= SHORT_POINTS) & junction[first] & junction[last]
    cluster = _joined(len(nodes), first[short], last[short])
    single = np.diff(skeleton.starts) == 1  # a lone pixel is a branch from itself to itself, and closes in nothing
    edges = np.bincount(crack_of_branch[~single], minlength=cracks)
    vertices = np.bincount(owner, minlength=cracks)
    pieces = np.bincount(owner[np.unique(piece)], minlength=cracks)
    crossings = np.bincount(owner[np.unique(cluster[junction])], minlength=cracks)
    cells = np.maximum(edges - vertices + pieces, 0)  # Euler
    return [
        Layout(branch_points=points, cells=count)
        for points, count in zip(crossings.tolist(), cells.tolist(), strict=True)
    ]


def _joined(count: int, one: Int32, other: Int32) -> Int32:
    """Name each node by the first of those that it is joined to."""
    root = np.arange(count, dtype=np.int32)
    while True:
        low = np.minimum(root[one], root[other])
        before = root.copy()
        np.minimum.at(root, one, low)
        np.minimum.at(root, other, low)
        root = root[root]
        if (root == before).all():
            return root
