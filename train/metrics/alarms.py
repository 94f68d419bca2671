"""False cracks: what is called crack on surfaces that have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from agent.contract.arrays import Bool

MIN_CRACK_PX = 20
"""Smaller specks are no crack anybody would report, px."""


def count_cracks(called: Bool, *, min_px: int = MIN_CRACK_PX) -> int:
    """Return how many connected components (8 neighbours) of at least `min_px` pixels a mask (H, W) has.

    On an image whose truth is empty, these are its false cracks.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(called.astype(np.uint8), connectivity=8)
    return int(np.count_nonzero(stats[1:, cv2.CC_STAT_AREA] >= min_px))


def area_m2(called: Bool, mm_per_px: float) -> float:
    """Return the surface that a mask (H, W) covers, m2: what false cracks are divided by to give FA/m2."""
    return called.size * mm_per_px**2 / 1e6
