from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.measure.components import find_components


def flooded(mask: NDArray[np.uint8], gap: int) -> list[set[tuple[int, int]]]:
    """Group pixels by walking from each to all that lie within the gap; components in the order of their boxes."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    groups = []
    while left:
        group, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            group.add((y, x))
            near = {(v, u) for v, u in left if max(abs(v - y), abs(u - x)) <= gap + 1}
            left -= near
            edge += near
        groups.append(group)
    return groups


@pytest.mark.parametrize("gap", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("density", [0.01, 0.05, 0.2])
def test_components_are_the_pixels_within_the_gap_of_each_other(gap: int, density: float) -> None:
    mask = (np.random.default_rng(7).random((47, 61)) < density).astype(np.uint8)
    found = find_components(mask, gap_px=gap, min_area_px=1, min_extent_px=0)
    got = []
    for one in range(len(found)):
        x, y, _, _ = found.bbox_xywh[one]
        got.append({(int(v + y), int(u + x)) for v, u in np.argwhere(found.mask(one))})
    assert sorted(map(sorted, got)) == sorted(map(sorted, flooded(mask, gap)))


def test_components_come_in_the_order_of_their_boxes_and_the_boxes_are_tight() -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[20:25, 3] = mask[2, 30:35] = mask[2, 5:9] = 1
    found = find_components(mask, gap_px=2, min_area_px=1, min_extent_px=0)
    assert found.bbox_xywh.tolist() == [[5, 2, 4, 1], [30, 2, 5, 1], [3, 20, 1, 5]]
    assert found.area.tolist() == [4, 5, 5]


def test_small_and_short_components_are_left_out() -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[5:9, 5:9] = 1  # 16 px, short
    mask[30, 5:15] = 1  # 10 px
    mask[50, 5:45] = 1
    found = find_components(mask, gap_px=0, min_area_px=12, min_extent_px=8)
    assert found.bbox_xywh.tolist() == [[5, 50, 40, 1]]


def test_more_specks_than_16_bits_can_count_are_all_counted() -> None:
    mask = np.zeros((600, 600), np.uint8)
    mask[::2, ::2] = 1
    assert len(find_components(mask, gap_px=0, min_area_px=1, min_extent_px=0)) == 300 * 300
