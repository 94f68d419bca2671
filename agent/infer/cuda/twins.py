"""What the kernels compute, in numpy: their oracle on every machine, with a GPU and without.

The twins say what `agent.detect.Detector` does on the CPU, and a test holds them to it.
"""

from __future__ import annotations

import numpy as np

from agent.contract.arrays import Int32, UInt8


def reflected(at: Int32, length: int) -> Int32:
    """Return where coordinates of the padded frame lie in the frame: reflection without the edge repeated.

    Args:
        at: >= 0, any shape.
        length: the frame's extent, px, >= 1.
    """
    if length == 1:
        return np.zeros_like(at)
    phase = at % (2 * (length - 1))
    return np.where(phase < length, phase, 2 * (length - 1) - phase).astype(np.int32)


def cut_tiles(frame: UInt8, origins: Int32, size: int) -> UInt8:
    """Return (N, size, size, 3) tiles.

    Args:
        frame: (H, W, 3).
        origins: (N, 2) row and column of each tile in the padded frame.
        size: edge of a tile, px.
    """
    steps = np.arange(size, dtype=np.int32)
    rows = reflected(origins[:, :1] + steps, frame.shape[0])
    columns = reflected(origins[:, 1:] + steps, frame.shape[1])
    return np.asarray(frame[rows[:, :, None], columns[:, None, :]])


def reduce_tiles(frame: UInt8, origins: Int32, edge: int, factor: int) -> UInt8:
    """Return (N, edge, edge, 3) tiles, each pixel the mean of factor x factor, rounded as cv2.INTER_AREA does.

    Args:
        frame: (H, W, 3).
        origins: (N, 2) row and column of each tile in the padded frame, before the reduction.
        edge: of a reduced tile, px.
        factor: of the reduction, >= 1.
    """
    tiles = cut_tiles(frame, origins, edge * factor).astype(np.int32)
    sums = tiles.reshape(len(origins), edge, factor, edge, factor, 3).sum(axis=(2, 4))
    if factor == 2:
        return np.asarray((sums + 2) >> 2, np.uint8)
    return np.asarray(np.rint(sums.astype(np.float32) * np.float32(1 / np.float32(factor * factor))), np.uint8)


def stitch_maps(maps: UInt8, owned: Int32, height: int, width: int) -> UInt8:
    """Return (height, width), 0 where no tile answers.

    Args:
        maps: (N, size, size).
        owned: (N, 6) first and last row, first and last column in the frame, the tile's row and column.
        height: of the frame, px.
        width: of the frame, px.
    """
    probability = np.zeros((height, width), np.uint8)
    for map_, (top, bottom, left, right, y, x) in zip(maps, owned.tolist(), strict=True):
        probability[top:bottom, left:right] = map_[top - y : bottom - y, left - x : right - x]
    return probability
