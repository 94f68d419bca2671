"""Finds room for labels: near their crack, on no crack, on no other label."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from agent.contract.arrays import Bool, UInt8


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a label goes, px of the picture."""

    x: int
    y: int
    crack_xy: tuple[int, int]  # the point of the crack that is nearest to it


class LabelRoom:
    """The room that is left in a picture, on a grid of cells.

    Args:
        taken: (H, W) cells, 1 where a crack is.
        cell_px: edge of a cell, px of the picture.
    """

    def __init__(self, taken: UInt8, cell_px: int) -> None:
        self._taken = taken.copy()
        self._cell_px = cell_px

    def take(self, own: Bool, *, width_px: int, height_px: int) -> Spot | None:
        """Find the free place nearest to a crack for a label, and take it.

        Args:
            own: (H, W) cells of the crack; at least one.
            width_px: of the label.
            height_px: of the label.

        Returns:
            None if there is no free place.
        """
        wide, high = -(-width_px // self._cell_px), -(-height_px // self._cell_px)
        rows, columns = self._taken.shape
        if wide > columns or high > rows:
            return None
        total = cv2.integral(self._taken)
        crowd = total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide] + total[:-high, :-wide]
        away = cv2.distanceTransform((~own).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # Of a place, the middle counts: a label beside its crack is read with it, one in line with its end less so.
        middle = away[high // 2 : high // 2 + crowd.shape[0], wide // 2 : wide // 2 + crowd.shape[1]]
        cost = np.where(crowd == 0, middle, np.inf)
        y, x = divmod(int(cost.argmin()), cost.shape[1])
        if not np.isfinite(cost[y, x]):
            return None
        self._taken[y : y + high, x : x + wide] = 1
        return Spot(x * self._cell_px, y * self._cell_px, self._nearest(own, x, y, wide, high))

    def _nearest(self, own: Bool, x: int, y: int, wide: int, high: int) -> tuple[int, int]:
        """Return the middle of the crack's cell that is nearest to a place."""
        at_y, at_x = np.nonzero(own)
        gap = np.hypot(at_x - at_x.clip(x, x + wide - 1), at_y - at_y.clip(y, y + high - 1))
        cell = int(gap.argmin())
        return (int(at_x[cell]) * 2 + 1) * self._cell_px // 2, (int(at_y[cell]) * 2 + 1) * self._cell_px // 2
