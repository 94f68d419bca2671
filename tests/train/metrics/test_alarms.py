from __future__ import annotations

import numpy as np
import pytest

from train.metrics.alarms import area_m2, count_cracks


def test_components_below_the_stated_size_are_no_cracks() -> None:
    called = np.zeros((20, 40), bool)
    called[2, 2:12] = True  # 10 px
    called[8, 2:11] = True  # 9 px
    assert count_cracks(called, min_px=10) == 1
    assert count_cracks(called, min_px=9) == 2
    assert count_cracks(called, min_px=11) == 0


def test_pixels_that_touch_at_a_corner_are_one_crack() -> None:
    assert count_cracks(np.eye(25, dtype=bool), min_px=20) == 1


def test_nothing_called_is_no_crack_and_everything_called_is_one() -> None:
    assert count_cracks(np.zeros((30, 30), bool)) == 0
    assert count_cracks(np.ones((30, 30), bool)) == 1


def test_area_is_in_square_metres() -> None:
    assert area_m2(np.zeros((1000, 2000), bool), mm_per_px=0.5) == pytest.approx(0.5)
