from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.tiling import TileGrid, tile_starts


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        pytest.param(1, [0], id="one pixel"),
        pytest.param(40, [0], id="an image smaller than a tile"),
        pytest.param(64, [0], id="as large as a tile"),
        pytest.param(65, [0, 48], id="one pixel more than a tile"),
        pytest.param(112, [0, 48], id="an exact fit"),
        pytest.param(113, [0, 48, 96], id="one pixel more: the last tile is padded by reflection"),
    ],
)
def test_tiles_cover_a_row(length: int, starts: list[int]) -> None:
    assert tile_starts(length, size=64, stride=48) == starts


@pytest.mark.parametrize(("length", "stride"), [(0, 48), (100, 0), (100, 65)])
def test_values_that_cannot_tile_are_refused(length: int, stride: int) -> None:
    with pytest.raises(ValueError, match=r"length=0|stride="):
        tile_starts(length, size=64, stride=stride)


@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    size=st.sampled_from([8, 16, 33, 64]),
    overlap=st.integers(0, 63),
)
def test_each_pixel_is_owned_once_by_the_tile_in_which_it_lies_farthest_from_a_border(
    height: int, width: int, size: int, overlap: int
) -> None:
    grid = TileGrid(height=height, width=width, size=size, overlap=overlap % size)
    owner_count = np.zeros((height, width), int)
    depth = np.zeros((height, width), int)
    best = np.zeros((height, width), int)
    rows, columns = np.mgrid[:height, :width]
    for tile in grid:
        owner_count[tile.own_y, tile.own_x] += 1
        # distance to the tile's border; a border at the frame's own edge is none, for nothing lies behind it
        sides = [
            rows - tile.y + (size if tile.y == 0 else 0),
            tile.y + size - 1 - rows + (size if tile.y == grid.starts_y[-1] else 0),
            columns - tile.x + (size if tile.x == 0 else 0),
            tile.x + size - 1 - columns + (size if tile.x == grid.starts_x[-1] else 0),
        ]
        inside = (rows >= tile.y) & (rows < tile.y + size) & (columns >= tile.x) & (columns < tile.x + size)
        distance = np.where(inside, np.minimum.reduce(sides), -1)
        best = np.maximum(best, distance)
        depth[tile.own_y, tile.own_x] = distance[tile.own_y, tile.own_x]
    assert (owner_count == 1).all()
    assert (depth >= best - 1).all()  # an overlap of odd width has no middle
    assert len(grid) == len(list(grid))


def test_the_padded_frame_holds_every_tile() -> None:
    grid = TileGrid(height=100, width=113, size=64, overlap=16)
    assert grid.padded_hw == (112, 160)
    assert all(tile.y + 64 <= 112 and tile.x + 64 <= 160 for tile in grid)


def test_an_overlap_as_large_as_the_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap=64"):
        TileGrid(height=10, width=10, size=64, overlap=64)
