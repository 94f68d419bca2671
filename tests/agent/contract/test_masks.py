from __future__ import annotations

import numpy as np
import pytest

from agent.contract.masks import set_pixels, set_yx


@pytest.mark.parametrize("hw", [(1, 1), (1, 7), (3, 8), (5, 13), (64, 64), (0, 4), (4, 0)])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_set_pixels_are_those_that_numpy_finds(hw: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(0).random(hw) < share
    assert np.array_equal(set_pixels(mask), np.flatnonzero(mask))
    assert np.array_equal(set_pixels(mask.astype(np.uint8) * 200), np.flatnonzero(mask))


def test_a_part_of_a_mask_is_a_mask() -> None:
    mask = np.random.default_rng(1).random((40, 50)) < 0.1
    part = mask[3:31, 7:38]
    y, x = np.nonzero(part)
    found_y, found_x = set_yx(part)
    assert np.array_equal(found_y, y)
    assert np.array_equal(found_x, x)
