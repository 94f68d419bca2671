"""All cells of a surface as one picture: outlines of what was inspected, what was not gradable, what was never seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from agent.contract.arrays import Bool, Float32, Float64, Int32, UInt8
from agent.contract.flight import NotGradable
from agent.track.quality import BLUR, BRIGHT, DARK, IGNORED, OK

NEVER: Final = 255
MOST_BLOCKS: Final = 6000  # of a surface, whose narrowest width is told
REASONS: Final[dict[int, NotGradable]] = {IGNORED: "ignored", DARK: "dark", BRIGHT: "bright", BLUR: "blur"}


@dataclass(frozen=True, slots=True, eq=False)
class Mosaic:
    """The cells.

    Args:
        state: (rows, columns), NEVER or a state of `agent.track.quality`.
        width_mm: (rows, columns), the narrowest crack that could be found; inf where not inspected.
        low: (2,), column and row of the first cell on the surface.
        cell_mm: (2,), width and height of a cell.
        target: (N, 2), corners of what was to be seen, in cells of the surface; None: gaps in what was seen.
    """

    state: UInt8
    width_mm: Float32
    low: Float64
    cell_mm: Float64
    target: Float64 | None

    @property
    def never_seen(self) -> int:
        """Cells that should have been seen, and were not."""
        return int(self._never().sum())

    def areas(self) -> Iterator[dict[str, Any]]:
        """Yield state, reason, outlines and area of each part, as `CoverageArea` has them."""
        of_cell = float(self.cell_mm.prod()) / 1e6
        for state, reason, mask in self._masks():
            for outlines, cells in _outlines(mask):
                yield {
                    "state": state,
                    "reason": reason,
                    "outlines_mm": tuple(
                        tuple((float(x), float(y)) for x, y in (line + self.low) * self.cell_mm) for line in outlines
                    ),
                    "area_m2": cells * of_cell,
                }

    def widths(self) -> dict[str, Any]:
        """Return place, size and widths of blocks, as `CoverageWidths` has them: of each the worst cell's."""
        seen = self.state != NEVER
        across, down = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
        left, top = int(across[0]), int(down[0])
        worst = np.where(np.isfinite(self.width_mm), self.width_mm, -1)[top : down[-1] + 1, left : across[-1] + 1]
        edge = max(1, math.isqrt(worst.size // MOST_BLOCKS))
        while math.prod(-(-size // edge) for size in worst.shape) > MOST_BLOCKS:
            edge += 1
        rows, columns = (-(-size // edge) for size in worst.shape)
        whole = np.full((rows * edge, columns * edge), -1, np.float32)
        whole[: worst.shape[0], : worst.shape[1]] = worst
        block = whole.reshape(rows, edge, columns, edge).max(axis=(1, 3))
        x_mm, y_mm = ((self.low + np.array([left, top])) * self.cell_mm).tolist()
        return {
            "x_mm": x_mm,
            "y_mm": y_mm,
            "block_mm": tuple((edge * self.cell_mm).tolist()),
            "columns": columns,
            "width_mm": tuple(None if value < 0 else round(value, 3) for value in block.ravel().tolist()),
        }

    def _masks(self) -> Iterator[tuple[str, NotGradable | None, Bool]]:
        yield "inspected", None, self.state == OK
        for state, reason in REASONS.items():
            yield "not_gradable", reason, self.state == state
        yield "never_seen", None, self._never()

    def _never(self) -> Bool:
        unseen = np.asarray(self.state == NEVER, np.bool_)
        return unseen & (_enclosed(~unseen) if self.target is None else self._inside(self.target))

    def _inside(self, target: Float64) -> Bool:
        canvas = np.zeros(self.state.shape, np.uint8)
        cv2.fillPoly(canvas, [np.rint((target - self.low - 0.5) * 16).astype(np.int32)], (1,), shift=4)
        return np.asarray(canvas > 0, np.bool_)


def _enclosed(seen: Bool) -> Bool:
    """The cells that nobody saw and from which no way leads out past what was seen."""
    around = cv2.copyMakeBorder(seen.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    _, labels = cv2.connectedComponents(1 - around, connectivity=4)
    return np.asarray((labels != labels[0, 0])[1:-1, 1:-1] & ~seen, np.bool_)


def _outlines(mask: Bool) -> Iterator[tuple[list[Float64], int]]:
    """Yield each part of a mask: its outer outline and those of its holes, in cells, and how many cells it has."""
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    lines, tree = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if tree is None:
        return
    _, labels, stats, _ = cv2.connectedComponentsWithStats(padded, connectivity=8)
    for number, line in enumerate(lines):
        if tree[0][number][3] >= 0:
            continue
        parts = [_around(np.asarray(line[:, 0], np.int32))]
        hole = int(tree[0][number][2])
        while hole >= 0:
            parts.append(_around(np.asarray(lines[hole][:, 0], np.int32)))
            hole = int(tree[0][hole][0])
        x, y = line[0, 0]
        yield parts, int(stats[labels[y, x], cv2.CC_STAT_AREA])


def _around(line: Int32) -> Float64:
    """Simplify an outline of cells to within half a cell; it runs through the middles of its cells."""
    simple = cv2.approxPolyDP(line[:, None], 0.5, closed=True)
    return np.asarray(simple[:, 0] - 1 + 0.5, np.float64)
