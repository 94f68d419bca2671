"""How a frame is cut into tiles and put together again: the one implementation for train, export and agent.

Tiles have the network's size and start at multiples of `size - overlap`, itself a multiple of the network's total
stride, so that a tile sees the same pooling grid as the whole image. The far edges are padded by reflection. Each
output pixel is taken from the tile in which it lies farthest from a border, so neighbours meet in the middle of their
overlap.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass


def tile_starts(length: int, *, size: int, stride: int) -> list[int]:
    """Return where tiles start along one axis of `length` px, so that the last one reaches the end.

    Args:
        length: the image's extent, px, >= 1.
        size: the tile's extent, px.
        stride: the step from one tile to the next, px, 1 to `size`.

    Raises:
        ValueError: `length` below 1, or `stride` outside 1 to `size`.
    """
    if length < 1:
        raise ValueError(f"length={length} px: an image has at least one pixel")
    if not 1 <= stride <= size:
        raise ValueError(f"stride={stride} must lie between 1 and size={size}")
    return list(range(0, max(length - size, 0) + stride, stride)) if length > size else [0]


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: where it lies in the padded frame, and which part of the frame it answers for."""

    y: int
    x: int
    own_y: slice  # rows of the frame taken from this tile
    own_x: slice  # columns of the frame taken from this tile

    @property
    def crop(self) -> tuple[slice, slice]:
        """The owned part in the tile's own coordinates."""
        return (
            slice(self.own_y.start - self.y, self.own_y.stop - self.y),
            slice(self.own_x.start - self.x, self.own_x.stop - self.x),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """The tiles of a frame of `height` x `width` px.

    Raises:
        ValueError: the overlap leaves no room to advance, or the frame is empty.
    """

    height: int
    width: int
    size: int
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.size:
            raise ValueError(f"overlap={self.overlap} must be at least 0 and below size={self.size}")
        if min(self.height, self.width) < 1:
            raise ValueError(f"a frame of {self.width}x{self.height} px has nothing to tile")

    @property
    def stride(self) -> int:
        """The step from one tile to the next, px."""
        return self.size - self.overlap

    @property
    def starts_y(self) -> list[int]:
        """The first row of each row of tiles."""
        return tile_starts(self.height, size=self.size, stride=self.stride)

    @property
    def starts_x(self) -> list[int]:
        """The first column of each column of tiles."""
        return tile_starts(self.width, size=self.size, stride=self.stride)

    @property
    def padded_hw(self) -> tuple[int, int]:
        """The extent that the tiles cover: the frame plus its padding at the far edges, px."""
        return self.starts_y[-1] + self.size, self.starts_x[-1] + self.size

    def __len__(self) -> int:
        return len(self.starts_y) * len(self.starts_x)

    def __iter__(self) -> Iterator[Tile]:
        """Yield the tiles row by row."""
        rows = _owned(self.starts_y, self.height, self.overlap)
        columns = _owned(self.starts_x, self.width, self.overlap)
        for y, own_y in zip(self.starts_y, rows, strict=True):
            for x, own_x in zip(self.starts_x, columns, strict=True):
                yield Tile(y, x, own_y, own_x)


def _owned(starts: list[int], length: int, overlap: int) -> list[slice]:
    """Split `length` px between tiles: neighbours meet in the middle of what they share."""
    cuts = [0, *(start + overlap // 2 for start in starts[1:]), length]
    return [slice(min(first, length), min(last, length)) for first, last in itertools.pairwise(cuts)]
