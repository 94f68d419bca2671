"""Crack-map metrics against scikit-learn, scipy's distance transform, and the values computed by hand in PAPERS.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from train.metrics import pixels
from train.metrics.pixels import STRICT, Matching, flex, tolerance

if TYPE_CHECKING:
    from agent.contract.arrays import Bool, UInt8

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
# Few distinct values make ties, and 0 and 255 the ends of the grid.
VALUES = st.sampled_from([0, 1, 127, 128, 254, 255]) | st.integers(0, 255)


@st.composite
def maps(draw: st.DrawFn) -> tuple[UInt8, Bool, Bool]:
    shape = draw(SHAPES)
    probability = draw(hnp.arrays(np.uint8, shape, elements=VALUES))
    truth = draw(hnp.arrays(np.bool_, shape) | st.sampled_from([np.zeros(shape, bool), np.ones(shape, bool)]))
    ignore = draw(hnp.arrays(np.bool_, shape) | st.just(np.zeros(shape, bool)))
    return probability, truth, ignore


def distance_to(mask: Bool) -> np.ndarray:
    """Euclidean distance of each pixel to the nearest True; scipy's transform of an all-True input is not one."""
    return ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)


def figures_at(matching: Matching, probability: UInt8, truth: Bool, level: int = 128) -> tuple[float, float, float]:
    precision, recall, f1 = pixels.precision_recall_f1(matching.count(probability, truth))
    return precision[level], recall[level], f1[level]


@settings(max_examples=60, deadline=None)
@given(maps())
def test_strict_counts_are_the_confusion_counts_of_each_threshold(case: tuple[UInt8, Bool, Bool]) -> None:
    probability, truth, ignore = case
    hit, predicted, found, sought = STRICT.count(probability, truth, ignore)
    for level in (0, 1, 127, 128, 255):
        called = (probability >= level) & ~ignore
        assert hit[level] == found[level] == (called & truth).sum()
        assert predicted[level] == called.sum()
        assert sought[level] == (truth & ~ignore).sum()


@settings(max_examples=60, deadline=None)
@given(maps(), st.integers(0, 4))
def test_tolerance_counts_are_those_of_the_distance_transform_at_every_threshold(
    case: tuple[UInt8, Bool, Bool], t: int
) -> None:
    probability, truth, ignore = case
    truth &= ~ignore
    hit, predicted, found, sought = tolerance(t).count(probability, truth, ignore)
    for level in (1, 2, 127, 128, 255):
        called = (probability >= level) & ~ignore
        assert predicted[level] == called.sum()
        assert hit[level] == (called & (distance_to(truth) <= t)).sum()
        assert found[level] == (truth & (distance_to(called) <= t)).sum()
        assert sought[level] == truth.sum()


@settings(max_examples=60, deadline=None)
@given(maps(), st.integers(0, 3))
def test_flex_counts_hits_on_the_truth_dilated_by_a_square_and_misses_on_the_truth_itself(
    case: tuple[UInt8, Bool, Bool], d: int
) -> None:
    probability, truth, ignore = case
    truth &= ~ignore
    hit, predicted, found, sought = flex(d).count(probability, truth, ignore)
    near = ndimage.binary_dilation(truth, np.ones((2 * d + 1, 2 * d + 1))) & ~ignore
    for level in (0, 1, 128, 255):
        called = (probability >= level) & ~ignore
        assert hit[level] == found[level] == (called & near).sum()
        assert predicted[level] == called.sum()
        assert sought[level] == (called & near).sum() + (truth & ~called).sum()


@settings(max_examples=60, deadline=None)
@given(maps())
def test_ignored_pixels_change_nothing_whatever_they_hold(case: tuple[UInt8, Bool, Bool]) -> None:
    probability, truth, ignore = case
    other = np.where(ignore, 255 - probability, probability).astype(np.uint8)
    for matching in (STRICT, flex(), tolerance()):
        assert (matching.count(probability, truth, ignore) == matching.count(other, truth ^ ignore, ignore)).all()


@settings(max_examples=40, deadline=None)
@given(maps())
def test_strict_figures_and_ap_are_those_of_scikit_learn(case: tuple[UInt8, Bool, Bool]) -> None:
    probability, truth, _ = case
    truth = truth.copy()
    truth[0, 0] = True  # scikit-learn warns where there is no positive
    counts = STRICT.count(probability, truth)
    expected = average_precision_score(truth.ravel(), probability.ravel())
    assert pixels.average_precision(counts) == pytest.approx(expected, abs=1e-12)
    got = np.nan_to_num(np.array(pixels.precision_recall_f1(counts)))
    for level in (1, 64, 128, 255):
        oracle = precision_recall_fscore_support(
            truth.ravel(), probability.ravel() >= level, average="binary", zero_division=0
        )
        np.testing.assert_allclose(got[:, level], np.array(oracle[:3]), atol=1e-12)


LINE = np.zeros((40, 140), bool)
LINE[20, 20:120] = True


def band(thickness: int, *, shift: int = 0, length: int = 100) -> UInt8:
    probability = np.zeros(LINE.shape, np.uint8)
    half = thickness // 2
    probability[20 + shift - half : 21 + shift + half, 20 : 20 + length] = 255
    return probability


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        pytest.param(band(1), (1, 1, 1), id="exact"),
        pytest.param(band(1, shift=1), (1, 1 / 2, 2 / 3), id="shifted by 1 px"),
        pytest.param(band(1, shift=2), (1, 1 / 2, 2 / 3), id="shifted by 2 px"),
        pytest.param(band(5), (1, 1, 1), id="5 px thick"),
        pytest.param(band(7), (5 / 7, 1, 5 / 6), id="7 px thick"),
        pytest.param(band(1, length=50), (1, 1 / 2, 2 / 3), id="half the line"),
        pytest.param(
            band(5, length=50), (1, 5 / 6, 10 / 11), id="half the line, 5 px thick: thickness inflates recall"
        ),
    ],
)
def test_flex_of_two_gives_the_deeplab_papers_values_on_a_line(
    prediction: UInt8, expected: tuple[float, float, float]
) -> None:
    assert figures_at(flex(2), prediction, LINE) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("matching", "prediction", "expected"),
    [
        pytest.param(STRICT, band(1, shift=1), (0, 0, 0), id="strict forgives no shift"),
        pytest.param(STRICT, band(5), (1 / 5, 1, 1 / 3), id="strict charges for thickness"),
        pytest.param(tolerance(2), band(1, shift=2), (1, 1, 1), id="tolerance forgives a shift of t"),
        pytest.param(tolerance(2), band(1, shift=3), (0, 0, 0), id="and none beyond it"),
        pytest.param(tolerance(2), band(7), (5 / 7, 1, 5 / 6), id="thickness beyond t costs precision"),
        pytest.param(
            tolerance(2), band(5, length=50), (1, 0.52, 2 * 0.52 / 1.52), id="thickness does not inflate recall"
        ),
    ],
)
def test_a_line_by_strict_and_by_tolerance(
    matching: Matching, prediction: UInt8, expected: tuple[float, float, float]
) -> None:
    assert figures_at(matching, prediction, LINE) == pytest.approx(expected)


def test_the_neighbourhood_of_tolerance_is_a_disk_and_that_of_flex_a_square() -> None:
    truth = np.zeros((9, 9), bool)
    truth[4, 4] = True
    everywhere = np.full((9, 9), 255, np.uint8)
    assert tolerance(2).count(everywhere, truth)[0, 255] == 13
    assert flex(2).count(everywhere, truth)[0, 255] == 25


@pytest.mark.parametrize("matching", [STRICT, flex(2), tolerance(2)], ids=str)
def test_zero_over_zero_is_undefined_and_half_of_it_is_zero(matching: Matching) -> None:
    empty, full = np.zeros((5, 5), np.uint8), np.full((5, 5), 255, np.uint8)
    no_crack, crack = np.zeros((5, 5), bool), np.ones((5, 5), bool)
    assert np.isnan(figures_at(matching, empty, no_crack)).all()
    precision, recall, f1 = figures_at(matching, empty, crack)
    assert np.isnan(precision)
    assert (recall, f1) == (0, 0)
    precision, recall, f1 = figures_at(matching, full, no_crack)
    assert np.isnan(recall)
    assert (precision, f1) == (0, 0)
    assert np.isnan(pixels.average_precision(matching.count(full, no_crack)))
    assert figures_at(matching, full, crack) == (1, 1, 1)
    assert pixels.average_precision(matching.count(full, crack)) == 1


def test_best_threshold_of_a_binary_map_is_the_middle_of_the_tie_and_never_level_zero() -> None:
    truth = np.ones((4, 4), bool)
    binary = np.where(np.arange(16).reshape(4, 4) < 8, 255, 0).astype(np.uint8)
    assert pixels.best_level(STRICT.count(binary, truth)) == pixels.level_of(0.5)
    assert pixels.best_level(STRICT.count(np.full((4, 4), 1, np.uint8), truth)) == 1
    assert pixels.best_level(STRICT.count(np.zeros((4, 4), np.uint8), truth)) == 255
    assert pixels.best_level(STRICT.count(binary, ~truth)) == 255


@pytest.mark.parametrize(("threshold", "level"), [(0.0, 0), (0.5, 128), (0.2, 51), (51 / 255, 51), (1.0, 255)])
def test_a_threshold_means_probability_at_or_above_it_on_the_grid(threshold: float, level: int) -> None:
    assert pixels.level_of(threshold) == level


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_zero_to_one_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold="):
        pixels.level_of(threshold)


def test_every_level_is_the_threshold_of_its_own_probability() -> None:
    assert [pixels.level_of(level / 255) for level in range(256)] == list(range(256))


def test_stretching_fills_the_range_and_leaves_a_flat_map() -> None:
    assert pixels.min_max_stretched(np.array([[10, 20, 30]], np.uint8)).tolist() == [[0, 128, 255]]
    assert pixels.min_max_stretched(np.full((2, 2), 7, np.uint8)).tolist() == [[7, 7], [7, 7]]


def test_probabilities_go_to_the_nearest_level() -> None:
    assert pixels.quantised(np.array([-0.1, 0.0, 0.1, 0.5, 1.0, 2.0])).tolist() == [0, 0, 26, 128, 255, 255]


@pytest.mark.parametrize(
    ("probability", "truth"),
    [
        pytest.param(np.zeros((2, 2), np.float32), np.zeros((2, 2), bool), id="probabilities not on the grid"),
        pytest.param(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), id="truth that is not bool"),
        pytest.param(np.zeros((2, 2), np.uint8), np.zeros((2, 1), bool), id="shapes that would broadcast"),
        pytest.param(np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2, 1), bool), id="a third axis"),
    ],
)
def test_wrong_types_and_shapes_are_refused(probability: UInt8, truth: Bool) -> None:
    with pytest.raises(ValueError, match="give"):
        STRICT.count(probability, truth)
