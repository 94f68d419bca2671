from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.arrays import UInt8
from agent.contract.tiling import TileGrid
from agent.detect.tiles import ReducedTiles, TileCutter


def noise(height: int, width: int) -> UInt8:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)


@given(height=st.integers(1, 300), width=st.integers(1, 300), overlap=st.sampled_from([0, 16, 32]))
def test_tiles_are_those_of_the_frame_padded_by_reflection_and_so_are_the_reduced_ones(
    height: int, width: int, overlap: int
) -> None:
    frame = noise(height, width)
    grid = TileGrid(height=height, width=width, size=64, overlap=overlap)
    below, right = np.subtract(grid.padded_hw, (height, width))
    padded = cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REFLECT_101)
    small = cv2.resize(padded, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    cutter = TileCutter(frame, 64)
    halved = ReducedTiles(cutter, 2)
    for tile in grid:
        assert np.array_equal(cutter.cut(tile), padded[tile.y : tile.y + 64, tile.x : tile.x + 64])
        assert np.array_equal(halved.cut(tile), small[tile.y // 2 : tile.y // 2 + 32, tile.x // 2 : tile.x // 2 + 32])


@pytest.mark.parametrize("overlap", [0, 16])
def test_tiles_inside_the_frame_are_views_and_cost_no_copy(overlap: int) -> None:
    frame = noise(200, 300)
    cutter = TileCutter(frame, 64)
    inside = [tile for tile in TileGrid(height=200, width=300, size=64, overlap=overlap) if cutter.whole(tile)]
    assert len(inside) > 5
    assert all(np.shares_memory(cutter.cut(tile), frame) for tile in inside)
