"""How good a picture is as a picture: sharpness and exposure, cheap enough for every frame."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Final

import cv2
import numpy as np

from agent.capture.settings import QualitySettings
from agent.contract.arrays import UInt8
from agent.contract.frame import Quality

PATCH_PX: Final = 96  # edge of the nine places at which sharpness is looked at, in the picture's own pixels
DARK: Final = 4  # grey level up to which a pixel counts as black
BRIGHT: Final = 251  # and from which as white
STEP: Final = 4  # exposure looks at each fourth pixel of each fourth row
MEMORY: Final = 33  # pictures whose sharpness is remembered
FEWEST: Final = 5  # needed before one can be told from the others


def measure_quality(image_rgb: UInt8) -> Quality:
    """Return sharpness and exposure of (H, W, 3) uint8.

    Sharpness is the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000, LAPV), the median over nine patches at
    full resolution: a smaller copy would hide the blur.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image_rgb[::STEP, ::STEP]), cv2.COLOR_RGB2GRAY)
    return Quality(
        sharpness=round(median(_sharpness(patch) for patch in _patches(image_rgb)), 3),
        exposure=round(float(grey.mean()) / 255, 3),
        clipped_dark=round(float((grey <= DARK).mean()), 3),
        clipped_bright=round(float((grey >= BRIGHT).mean()), 3),
    )


class QualityFilter:
    """Says which pictures of one camera to pass over.

    A blurred picture is passed over only where that costs nothing: while more pictures come than are inferred, the next
    is there soon. What is blurred is told from the camera's own recent pictures, since a smooth wall is no worse than a
    rough one, and never more than `most_skipped` go in a row.
    """

    def __init__(self, settings: QualitySettings) -> None:
        self._settings = settings
        self._recent: deque[float] = deque(maxlen=MEMORY)
        self._in_a_row = 0

    def is_useless(self, quality: Quality) -> bool:
        """Whether hardly anything can be seen: the lens is covered, the lamp is off, or the sun is in it."""
        return max(quality.clipped_dark, quality.clipped_bright) > self._settings.clipped_above

    def objection(self, quality: Quality, *, more_come: bool) -> str | None:
        """Return why the picture is to be skipped, or None.

        Args:
            quality: of the picture.
            more_come: the camera gives more pictures than are inferred.
        """
        if self.is_useless(quality):
            clipped = max(quality.clipped_dark, quality.clipped_bright)
            kind = "black" if quality.clipped_dark >= quality.clipped_bright else "white"
            return f"{clipped:.0%} of the picture is {kind}"
        usual = median(self._recent) if len(self._recent) >= FEWEST else 0.0
        self._recent.append(quality.sharpness)
        blurred = quality.sharpness < self._settings.blurred_below * usual
        if blurred and more_come and self._in_a_row < self._settings.most_skipped:
            self._in_a_row += 1
            return f"blurred: sharpness {quality.sharpness:.3g}, and {usual:.3g} is usual here; a better one follows"
        self._in_a_row = 0
        return None


def _patches(image_rgb: UInt8) -> list[UInt8]:
    height, width = image_rgb.shape[:2]
    tops = _starts(height)
    return [image_rgb[top : top + PATCH_PX, left : left + PATCH_PX] for top in tops for left in _starts(width)]


def _starts(length: int) -> list[int]:
    """Three places spread over the length; one where it is too short for three."""
    if length < 3 * PATCH_PX:
        return [max(0, (length - PATCH_PX) // 2)]
    return [length * part // 6 - PATCH_PX // 2 for part in (1, 3, 5)]


def _sharpness(patch: UInt8) -> float:
    grey = cv2.cvtColor(np.ascontiguousarray(patch), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
