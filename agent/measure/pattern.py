"""How a crack is laid out: single, branched, or a network round closed cells (map cracking)."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import Bool, Int32
from agent.contract.crack import Pattern
from agent.measure.graph import Skeleton

SHORT_POINTS: Final = 4  # junctions no farther apart are one: thinning splits a crossing into two forks
MAP_CELLS: Final = 3  # closed cells that make a crack a network
CELL_PX: Final = 400  # area from which on a hole in the mask is a cell and not an island between two edges


def pattern(branch_points: int, mask: Bool) -> Pattern:
    """Return `map` from MAP_CELLS closed cells on, else `branched` where branches meet, else `single`.

    Args:
        branch_points: of the crack.
        mask: (height, width) of its box.
    """
    if branch_points >= MAP_CELLS and _cells(mask) >= MAP_CELLS:
        return "map"
    return "branched" if branch_points else "single"


def branch_points(skeleton: Skeleton, crack_of_branch: Int32, cracks: int) -> list[int]:
    """Count for each crack where three or more branches meet.

    Args:
        skeleton: of the frame.
        crack_of_branch: (B,) which crack each branch belongs to.
        cracks: how many there are.
    """
    first, last = skeleton.points[skeleton.starts[:-1]], skeleton.points[skeleton.starts[1:] - 1]
    nodes, ends = np.unique(np.concatenate([first, last]), return_inverse=True)
    one, other = ends[: len(first)], ends[len(first) :]
    owner = np.zeros(len(nodes), np.intp)
    owner[one], owner[other] = crack_of_branch, crack_of_branch
    junction = skeleton.degree[nodes] > 2
    short = (np.diff(skeleton.starts) <= SHORT_POINTS) & junction[one] & junction[other]
    cluster = _joined(len(nodes), one[short], other[short])
    counts: list[int] = np.bincount(owner[np.unique(cluster[junction])], minlength=cracks).tolist()
    return counts


def _cells(mask: Bool) -> int:
    """Count the holes of a mask that are large enough."""
    outlines, above = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    inner = [line for line, parent in zip(outlines, above[0, :, 3].tolist(), strict=True) if parent >= 0]
    return sum(cv2.contourArea(line) >= CELL_PX for line in inner)


def _joined(count: int, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.intp]:
    """Name each node by the first of those that it is joined to."""
    root = np.arange(count)
    while True:
        low, before = np.minimum(root[one], root[other]), root.copy()
        np.minimum.at(root, one, low)
        np.minimum.at(root, other, low)
        root = root[root]
        if (root == before).all():
            return root
