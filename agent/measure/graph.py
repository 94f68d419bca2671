"""From skeleton pixels to branches: ordered lines between ends and junctions, short side branches pruned."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import Bool, Float32, Float64, Int32
from agent.measure.length import branch_lengths, smoothed
from agent.measure.skeleton import OFFSETS_YX, neighbour_code, subset_table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Skeleton:
    """The branches of a frame's cracks. Points are the branches' pixels one after the other, nodes included."""

    pixels: Int32  # (M,) flat indices in the padded frame
    radius: Float32  # (M,) distance to the nearest pixel outside, px
    stride: int  # width of the padded frame
    degree: Int32  # (M,) 0 alone, 1 end, 2 on the way, 3 and more junction
    points: Int32  # (P,) positions in `pixels`; a junction's pixel comes once in each of its branches
    starts: Int32  # (B + 1,) where each branch begins in `points`, and the end

    def __len__(self) -> int:
        return len(self.starts) - 1

    def line_xy(self) -> Float64:
        """Return the points in the frame, smoothed along their branch, (P, 2), px."""
        rows, columns = np.divmod(self.pixels[self.points], self.stride)
        return smoothed(np.stack([columns - 1, rows - 1], axis=1).astype(np.float64), self.starts)


def trace(pixels: Int32, table: Int32, radius: Float32, stride: int, *, spur_factor: float) -> Skeleton:
    """Order skeleton pixels into branches and prune spurs.

    Two pixels are linked along rows and columns, and along a diagonal where no pixel beside it links them already;
    so a corner is not taken for a junction. Pruned is a branch from a junction to a free end that is shorter than
    `spur_factor` times the width at the junction: the trace of a bump in the outline, not a crack of its own.

    Args:
        pixels: (M,) flat indices in the padded frame, ascending.
        table: (M, 8) their neighbours as positions, M where there is none.
        radius: (M,) distance to the nearest pixel outside, px.
        stride: width of the padded frame.
        spur_factor: >= 0; 0 prunes nothing.
    """
    while True:
        links = np.where(_LINKED[neighbour_code(table)], table, len(table)).astype(np.int32)
        degree = np.count_nonzero(links < len(table), axis=1).astype(np.int32)
        lines = _lines(links, degree)
        starts = np.cumsum([0, *map(len, lines)], dtype=np.int32)
        points = np.fromiter(itertools.chain.from_iterable(lines), np.int32, count=int(starts[-1]))
        skeleton = Skeleton(pixels=pixels, radius=radius, stride=stride, degree=degree, points=points, starts=starts)
        spurs = _spur_pixels(skeleton, spur_factor)
        if not spurs.any():
            return skeleton
        pixels, radius, table = pixels[~spurs], radius[~spurs], subset_table(table, ~spurs)


def _lines(links: Int32, degree: Int32) -> list[list[int]]:
    """Walk from node to node, then round the cycles that have none."""
    count = len(degree)
    neighbours = np.sort(links, axis=1)
    # On the way, the next pixel is the sum of both neighbours less the one we came from.
    total = neighbours[:, :2].sum(axis=1).tolist()
    passing = [*(degree == 2).tolist(), False]
    nodes = np.flatnonzero(degree != 2)
    lines: list[list[int]] = []
    seen = bytearray(count)
    walked: set[tuple[int, int]] = set()
    for node, around in zip(nodes.tolist(), neighbours[nodes].tolist(), strict=True):
        if around[0] == count:
            lines.append([node])
        for first in around:
            if first == count or (node, first) in walked:
                continue
            line, last, here = [node], node, first
            while passing[here]:
                seen[here] = 1
                line.append(here)
                last, here = here, total[here] - last
            line.append(here)
            walked.add((here, last))
            lines.append(line)
    for start in np.flatnonzero((degree == 2) & (np.frombuffer(seen, np.uint8) == 0)).tolist():
        if seen[start]:
            continue
        line, last, here = [start], start, int(neighbours[start, 0])
        while here != start:
            seen[here] = 1
            line.append(here)
            last, here = here, total[here] - last
        seen[start] = 1
        lines.append([*line, start])
    return lines


def _spur_pixels(skeleton: Skeleton, spur_factor: float) -> Bool:
    """Mark the pixels of spurs, their junctions excepted."""
    first, last = skeleton.points[skeleton.starts[:-1]], skeleton.points[skeleton.starts[1:] - 1]
    first_degree, last_degree = skeleton.degree[first], skeleton.degree[last]
    free = ((first_degree == 1) & (last_degree > 2)) | ((last_degree == 1) & (first_degree > 2))
    junction = np.where(first_degree > 2, first, last)
    length = branch_lengths(skeleton.line_xy(), skeleton.starts)
    spur = free & (length < spur_factor * 2 * skeleton.radius[junction])
    pixels = skeleton.points[np.repeat(spur, np.diff(skeleton.starts))]
    marked = np.zeros(len(skeleton.pixels), np.bool_)
    marked[pixels] = True
    marked[junction[spur]] = False
    return marked


def distance_to_outside(pixels: Int32, inside: Bool, stride: int) -> Float32:
    """Return the Euclidean distance from each pixel to the nearest pixel outside, px, at most `MAX_RADIUS_PX`.

    Exact, by looking at offsets in the order of their distance: for the few pixels of a skeleton this is far cheaper
    than the transform of a whole frame.

    Args:
        pixels: (M,) flat indices in the padded frame.
        inside: the padded frame, flat.
        stride: its width.
    """
    radius = np.full(len(pixels), MAX_RADIUS_PX, np.float32)
    left = np.arange(len(pixels))
    for dy, dx, distance in _DISC:  # the frame's padding is outside, so no look goes beyond it
        out = ~inside[pixels[left] + dy * stride + dx]
        radius[left[out]] = distance
        left = left[~out]
        if not len(left):
            break
    return radius


MAX_RADIUS_PX: Final = 64.0


def _disc() -> list[tuple[int, int, float]]:
    reach = int(MAX_RADIUS_PX)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    distance = np.hypot(dy, dx)
    order = np.argsort(distance, kind="stable")[1:]
    return [(int(dy[k]), int(dx[k]), float(distance[k])) for k in order if distance[k] < MAX_RADIUS_PX]


_DISC: Final = _disc()


def _linked() -> NDArray[np.bool_]:
    """Tabulate which of the 8 neighbours are linked for all 256 neighbourhoods, (256, 8)."""
    there = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool)
    linked = there.copy()
    for bit, (dy, dx) in enumerate(OFFSETS_YX):
        if dy and dx:
            linked[:, bit] &= ~there[:, bit - 1] & ~there[:, (bit + 1) % 8]
    return linked


_LINKED: Final = _linked()
