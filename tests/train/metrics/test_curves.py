from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from sklearn.metrics import precision_recall_curve

from train.metrics.curves import curve, pooled_curve, save_curves
from train.metrics.pixels import STRICT
from train.metrics.tally import PixelTally

if TYPE_CHECKING:
    from pathlib import Path


def tally() -> tuple[PixelTally, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.random((3, 32, 32)) < 0.1
    probability = np.rint(rng.normal(90 + 80 * truth, 40).clip(0, 255)).astype(np.uint8)
    counted = PixelTally((STRICT,))
    for one_probability, one_truth in zip(probability, truth, strict=True):
        counted.update(one_probability, one_truth)
    return counted, probability, truth


def test_the_curve_passes_through_scikit_learns_points() -> None:
    counted, probability, truth = tally()
    got = pooled_curve(counted.counts(STRICT))
    assert got is not None
    precision, recall, levels = precision_recall_curve(truth.ravel(), probability.ravel())
    np.testing.assert_allclose(np.array(got.precision, float)[levels], precision[:-1])
    np.testing.assert_allclose(np.array(got.recall)[levels], recall[:-1])


def test_without_truth_there_is_no_curve_and_above_the_highest_probability_no_precision() -> None:
    nothing = STRICT.count(np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool))
    assert curve(nothing, "strict") is None
    faint = curve(STRICT.count(np.full((4, 4), 9, np.uint8), np.eye(4, dtype=bool)), "strict")
    assert faint is not None
    assert faint.precision[9:11] == (0.25, None)
    assert faint.recall[9:11] == (1, 0)
    assert type(faint).model_validate_json(faint.model_dump_json()) == faint


def test_a_picture_is_drawn_into_a_folder_that_need_not_exist(tmp_path: Path) -> None:
    got = pooled_curve(tally()[0].counts(STRICT))
    assert got is not None
    path = tmp_path / "pictures" / "curve.png"
    save_curves([got], path, title="rendered")
    picture = cv2.imread(str(path))
    assert picture is not None
    save_curves([], tmp_path / "empty.png")
    empty = cv2.imread(str(tmp_path / "empty.png"))
    assert empty is not None
    assert np.count_nonzero(picture != empty) > 1000  # the curve is there
