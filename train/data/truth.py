"""Truths of different makers made comparable: centre lines grown to their cracks, margins that nobody learns from.

Sets are labelled by a line of one pixel or by the full width, and where a crack ends two people draw apart by a pixel
or two. A network that learns from both as they are learns the maker instead of the crack.
"""

from __future__ import annotations

import cv2
import numpy as np

from agent.contract.arrays import Bool, Float32, UInt8
from train.metrics.pixels import disk

_SURROUND_PX = 12  # of the ring beyond the widening that tells the surface's grey
_CONTRAST = 6.0  # grey levels by which a crack must be darker than its surface, to be followed


def widened(image_rgb: UInt8, mask: Bool, widen_px: int) -> Bool:
    """Return the truth, grown where the picture supports it.

    A pixel at most `widen_px` from the truth belongs to it if its grey lies nearer to that of the crack beside it than
    to that of the surface around, and if it hangs together with the truth through such pixels.

    Args:
        image_rgb: (H, W, 3).
        mask: (H, W), True is crack.
        widen_px: 0 changes nothing.
    """
    if not widen_px or not mask.any():
        return mask
    grey: Float32 = cv2.GaussianBlur(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY), (0, 0), 0.7).astype(np.float32)
    near = within(mask, widen_px)
    surface = _mean_of(grey, ~within(mask, widen_px + 1), widen_px + _SURROUND_PX)
    crack = _mean_of(grey, mask, widen_px)
    belongs = near & (grey < (surface + crack) / 2) & (surface - crack > _CONTRAST)
    _, labels = cv2.connectedComponents((belongs | mask).view(np.uint8), connectivity=8)
    return np.asarray((belongs | mask) & np.isin(labels, np.unique(labels[mask])), np.bool_)


def margin(mask: Bool, margin_px: int) -> Bool:
    """Return the background at most `margin_px` from a crack, (H, W)."""
    return np.asarray(within(mask, margin_px) & ~mask, np.bool_) if margin_px else np.zeros_like(mask)


def within(mask: Bool, radius_px: int) -> Bool:
    """Return the pixels at most so far from the mask, (H, W)."""
    return np.asarray(cv2.dilate(mask.view(np.uint8), disk(radius_px)) > 0, np.bool_)


def _mean_of(grey: Float32, where: Bool, radius_px: int) -> Float32:
    """Return the mean of the chosen pixels in the square around each pixel; of all, where there are none."""
    size = (2 * radius_px + 1, 2 * radius_px + 1)
    chosen = where.astype(np.float32)
    weight = cv2.boxFilter(chosen, -1, size, borderType=cv2.BORDER_REFLECT_101)
    total = cv2.boxFilter(grey * chosen, -1, size, borderType=cv2.BORDER_REFLECT_101)
    mean = np.where(weight > 1e-6, total / np.maximum(weight, 1e-6), grey.mean())
    return np.asarray(mean, np.float32)
