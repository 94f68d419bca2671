"""Two parallel laser dots of known spacing: a scale that needs neither lens nor distance.

The dots are looked for as the two brightest spots of the laser's colour beyond the rest of the picture. A picture with
one dot, with a third that is nearly as bright, or with dots that touch gives no scale, and the reason.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Float64, UInt8

LEAST_EXCESS: Final = 40  # levels of 255 by which a dot's colour exceeds the others
LEAST_APART: Final = 12  # px
RIVAL_SHARE: Final = 0.6  # of the second dot's colour: a third spot above it could as well be the dot
_CHANNEL: Final = {"red": 0, "green": 1}


def find_dots(image_rgb: UInt8, colour: str) -> tuple[Float64, Float64] | str:
    """Return the middles of two dots, (2,) x and y in px, the left one first; or why there are none.

    Args:
        image_rgb: (H, W, 3).
        colour: red or green.
    """
    one = _CHANNEL[colour]
    first, second = (image_rgb[..., channel] for channel in range(3) if channel != one)
    excess = cv2.subtract(image_rgb[..., one], cv2.max(first, second))
    # scattered light around a dot is one spot with it
    spots = _spots(cv2.GaussianBlur(excess, (0, 0), 1.5).astype(np.uint8))
    if len(spots) < 2:
        return f"{len(spots)} {colour} laser dot{'' if len(spots) == 1 else 's'} in the picture, not two"
    if len(spots) > 2 and spots[2][0] > RIVAL_SHARE * spots[1][0]:
        return f"more than two {colour} spots that could be laser dots"
    left, right = sorted((spot[1] for spot in spots[:2]), key=lambda xy: (float(xy[0]), float(xy[1])))
    if math.dist(left, right) < LEAST_APART:
        return f"the {colour} laser dots are less than {LEAST_APART} px apart"
    return left, right


def laser_scale(image_rgb: UInt8, *, spacing_mm: float, colour: str) -> tuple[float, None] | tuple[None, str]:
    """Return mm per px along the line between the dots, or None and why not.

    Args:
        image_rgb: (H, W, 3).
        spacing_mm: between the dots, > 0.
        colour: red or green.
    """
    found = find_dots(image_rgb, colour)
    if isinstance(found, str):
        return None, found
    return spacing_mm / math.dist(*found), None


def _spots(excess: UInt8) -> list[tuple[float, Float64]]:
    """Return strength and middle of the coloured spots, the strongest first."""
    mask = (excess >= LEAST_EXCESS).astype(np.uint8)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    spots = []
    for label in range(1, min(count, 200)):
        x, y, width, height, _area = boxes[label]
        part = slice(y, y + height), slice(x, x + width)
        weight = np.where(labels[part] == label, excess[part], 0).astype(np.float64)
        rows, columns = np.indices(weight.shape)
        total = weight.sum()
        middle = np.array([x + (weight * columns).sum() / total, y + (weight * rows).sum() / total])
        spots.append((float(weight.max()), middle))
    return sorted(spots, key=lambda spot: -spot[0])
