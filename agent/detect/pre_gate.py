"""The classical pre-gate: a black-hat at half size says where anything thin is darker than what lies around it.

Black-hat = closing minus picture (Serra, Image Analysis and Mathematical Morphology, 1982): what is narrower than the
window and darker than its surroundings stays, light and shade over larger stretches go. It costs about 0.5 ms per
megapixel, far less than any network, and knows nothing of cracks: joints, cables and stains pass too.
"""

from __future__ import annotations

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.tiling import Tile
from agent.detect.settings import PreGateSettings
from agent.detect.tiles import ReducedTiles

FACTOR = 2  # of the reduction


class PreGate:
    """Says which tiles of a frame may hold a crack.

    Args:
        reduced: the frame at half size.
        tile_px: edge of a tile, px of the frame.
        settings: contrast, number of pixels, width.
    """

    def __init__(self, reduced: ReducedTiles, tile_px: int, settings: PreGateSettings) -> None:
        self._edge = tile_px // FACTOR
        self._pixels = settings.pixels
        self._dark = _dark(reduced.frame, settings)

    def __call__(self, tile: Tile) -> bool:
        """Return whether the tile has enough thin dark pixels inside the frame."""
        y, x = tile.y // FACTOR, tile.x // FACTOR
        return cv2.countNonZero(self._dark[y : y + self._edge, x : x + self._edge]) >= self._pixels


def _dark(small_rgb: UInt8, settings: PreGateSettings) -> UInt8:
    """Return (h, w), 1 where the frame is dark and thin; a frame of one px is none and passes nothing."""
    if not small_rgb.size:
        return np.zeros(small_rgb.shape[:2], np.uint8)
    grey = cv2.cvtColor(small_rgb, cv2.COLOR_RGB2GRAY)
    window = 2 * (settings.width_px // FACTOR // 2) + 3  # odd, and wider than the line
    kernel = np.ones((window, window), np.uint8)
    hat = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel)
    return np.asarray(cv2.threshold(hat, settings.contrast - 1, 1, cv2.THRESH_BINARY)[1], np.uint8)
