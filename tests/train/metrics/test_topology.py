from __future__ import annotations

import numpy as np
import pytest

from train.metrics.pixels import precision_recall_f1
from train.metrics.topology import cldice_counts


def figures(predicted: np.ndarray, truth: np.ndarray, ignore: np.ndarray | None = None) -> list[float]:
    return [float(figure[0]) for figure in precision_recall_f1(cldice_counts(predicted, truth, ignore))]


def bar(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((31, 80), bool)
    mask[rows, columns] = True
    return mask


TRUTH = bar(slice(15, 16), slice(10, 70))


def test_a_thick_prediction_around_the_line_has_the_same_centre_line_but_for_its_ends() -> None:
    precision, recall, _ = figures(bar(slice(13, 18), slice(10, 70)), TRUTH)
    assert recall == 1
    assert precision >= 55 / 57


def test_a_thin_prediction_in_a_thick_truth_finds_its_centre_line_but_for_its_ends() -> None:
    precision, recall, _ = figures(TRUTH, bar(slice(13, 18), slice(10, 70)))
    assert precision == 1
    assert 55 / 57 <= recall <= 1


def test_a_gap_costs_the_length_it_takes_from_the_line() -> None:
    with_gap = TRUTH & ~bar(slice(0, 31), slice(30, 45))
    assert figures(with_gap, TRUTH) == pytest.approx([1, 45 / 60, 2 * 0.75 / 1.75])


def test_a_second_line_of_the_same_length_halves_precision() -> None:
    assert figures(TRUTH | bar(slice(5, 6), slice(10, 70)), TRUTH) == pytest.approx([1 / 2, 1, 2 / 3])


def test_a_shift_off_a_line_of_one_pixel_scores_zero() -> None:
    assert figures(np.roll(TRUTH, 1, axis=0), TRUTH) == [0, 0, 0]


def test_both_empty_is_undefined_and_one_empty_is_zero() -> None:
    empty = np.zeros_like(TRUTH)
    assert np.isnan(figures(empty, empty)).all()
    assert figures(empty, TRUTH)[1:] == [0, 0]
    assert figures(TRUTH, empty)[2] == 0


def test_skeleton_pixels_in_the_ignored_part_count_nowhere() -> None:
    left = bar(slice(0, 31), slice(0, 40))
    assert figures(TRUTH & left, TRUTH, ~left) == [1, 1, 1]
