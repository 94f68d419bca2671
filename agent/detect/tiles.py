"""Cuts a frame into tiles without copying it: views inside, small padded copies at the far edges."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.tiling import Tile


@dataclass(frozen=True, slots=True)
class TileCutter:
    """The tiles of a frame, full size and reduced.

    Args:
        image: (H, W, 3).
        size: edge of a tile, px.
    """

    image: UInt8
    size: int

    def whole(self, tile: Tile) -> bool:
        """Whether the tile lies inside the frame."""
        height, width = self.image.shape[:2]
        return bool(tile.y + self.size <= height and tile.x + self.size <= width)

    def cut(self, tile: Tile) -> UInt8:
        """Return the tile (size, size, 3): a view, or where it leaves the frame a copy continued by reflection."""
        if self.whole(tile):
            return self.image[tile.y : tile.y + self.size, tile.x : tile.x + self.size]
        height, width = self.image.shape[:2]
        top, below = _reach(tile.y, self.size, height)
        left, right = _reach(tile.x, self.size, width)
        part = self.image[top : tile.y + self.size, left : tile.x + self.size]
        # reflection hides no crack and invents no edge
        padded = np.asarray(cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8)
        return padded[tile.y - top :, tile.x - left :]


def _reach(start: int, size: int, length: int) -> tuple[int, int]:
    """Return where to begin so that the reflection is that of the whole frame, and how many px to add at the end."""
    missing = max(0, start + size - length)
    return min(start, max(0, length - 1 - missing)), missing


class ReducedTiles:
    """The tiles at 1/`factor` of their size, cut from one reduced frame: a resize per tile would cost twice as much.

    Args:
        cutter: of the tiles.
        factor: a divisor of the tiles' size and starts.
    """

    def __init__(self, cutter: TileCutter, factor: int) -> None:
        self._cutter = cutter
        self._factor = factor
        height, width = (edge // factor for edge in cutter.image.shape[:2])
        inside = cutter.image[: height * factor, : width * factor]
        self.frame = _reduced(inside, width, height) if min(height, width) else np.zeros((0, 0, 3), np.uint8)

    def cut(self, tile: Tile) -> UInt8:
        """Return the reduced tile (size / factor, size / factor, 3)."""
        edge = self._cutter.size // self._factor
        if not self._cutter.whole(tile):
            return _reduced(self._cutter.cut(tile), edge, edge)
        y, x = tile.y // self._factor, tile.x // self._factor
        return self.frame[y : y + edge, x : x + edge]


def _reduced(image: UInt8, width: int, height: int) -> UInt8:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
