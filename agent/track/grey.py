"""A frame in grey, at full and at half size: registration and coverage look at the same one."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from agent.contract.arrays import UInt8


class Grey:
    """The grey of a picture; each size is made once, when it is first asked for.

    Args:
        image_rgb: (H, W, 3).
    """

    def __init__(self, image_rgb: UInt8) -> None:
        self._image_rgb = image_rgb

    @cached_property
    def full(self) -> UInt8:
        """(H, W)."""
        return np.asarray(cv2.cvtColor(self._image_rgb, cv2.COLOR_RGB2GRAY), np.uint8)

    @cached_property
    def half(self) -> UInt8:
        """(H // 2, W // 2), both at least 1; see `halved`."""
        return np.asarray(halved(self.full), np.uint8)


def halved(picture: UInt8) -> UInt8:
    """Return a picture at half its size: means over whole pixels, which cost a fifth of others; no odd row or column.

    Args:
        picture: (H, W), or with channels; of any type that OpenCV resizes.
    """
    height, width = (max(1, edge // 2) for edge in picture.shape[:2])
    return np.asarray(
        cv2.resize(picture[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA), picture.dtype
    )
