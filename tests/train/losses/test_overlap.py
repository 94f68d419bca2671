"""Dice (V-Net, 2016), robust Dice (Wang et al., 2020), clDice (Shit et al., 2021)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.pixel_batches import batch, gradient
from train.losses.overlap import cldice, dice, robust_dice, soft_skeleton


def bars(*rows: tuple[int, int], columns: tuple[int, int] = (2, 22)) -> Tensor:
    """Return a (1, 1, 24, 24) map with horizontal bars over rows from..to."""
    image = torch.zeros(1, 1, 24, 24)
    for start, stop in rows:
        image[..., start:stop, columns[0] : columns[1]] = 1
    return image


def sure(prediction: Tensor) -> Tensor:
    """Return logits of that prediction."""
    return 200 * prediction - 100


def test_the_gradient_of_dice() -> None:
    """V-Net, section 3: dD/dp = 2 (y (sum p^2 + sum y^2) - 2 p sum p y) / (sum p^2 + sum y^2)^2; the loss is 1 - D."""
    logits, target, _ = batch(seed=1)
    p = logits.sigmoid()
    squares = (p**2).sum() + (target**2).sum()
    want = -2 * (target * squares - 2 * p * (p * target).sum()) / squares**2 * p * (1 - p)
    _, grad = gradient(lambda *a: dice(*a, smoothing=1e-13), logits, target)
    torch.testing.assert_close(grad, want, rtol=1e-9, atol=1e-13)


def test_overlap_losses_of_a_perfect_and_of_an_empty_answer_are_0() -> None:
    truth = bars((10, 13))
    for loss in (dice, robust_dice, cldice):
        assert loss(sure(truth), truth).item() == pytest.approx(0, abs=1e-6)
        assert loss(sure(0 * truth), 0 * truth).item() == pytest.approx(0, abs=1e-6)


def test_robust_dice_with_gamma_2_is_dice() -> None:
    """Wang et al., the noise-robust Dice loss for gamma = 2."""
    logits, target, ignore = batch(seed=2)
    got = gradient(lambda *a: robust_dice(*a, gamma=2), logits, target, ignore)
    torch.testing.assert_close(got, gradient(dice, logits, target, ignore), rtol=1e-10, atol=0)


@pytest.mark.parametrize("thick", [1, 3, 5])
def test_the_skeleton_of_a_bar_is_its_centre_line(thick: int) -> None:
    """Shit et al., algorithm 1."""
    start = 12 - thick // 2
    skeleton = soft_skeleton(bars((start, start + thick)), 3)
    assert set(skeleton.nonzero()[:, 2].tolist()) == {12}
    assert skeleton.sum() == 20 - 2 * (thick // 2)


def test_cldice_forgives_thickness_and_dice_does_not() -> None:
    """Shit et al., equation (3)."""
    truth, thick = bars((11, 14)), bars((10, 15), columns=(1, 23))
    assert cldice(sure(thick), truth, alpha=1, smoothing=1e-6).item() == pytest.approx(0, abs=1e-5)
    assert dice(sure(thick), truth).item() > 0.2


def test_cldice_punishes_a_gap_more_than_thinness() -> None:
    """Shit et al.: 20 pixels missing across the line cost more than 20 pixels missing along its edge."""
    truth = bars((10, 14))
    thinner, gap = bars((10, 13)), truth.clone()
    gap[..., 9:14] = 0
    assert (truth - gap).sum() == (truth - thinner).sum() == 20
    assert cldice(sure(gap), truth, alpha=1) > 2 * cldice(sure(thinner), truth, alpha=1)
    assert dice(sure(gap), truth) == dice(sure(thinner), truth)


def test_cldice_with_alpha_0_is_dice() -> None:
    """Shit et al., algorithm 2."""
    logits, target, ignore = batch(seed=3)
    got = gradient(lambda *a: cldice(*a, alpha=0), logits, target, ignore)
    torch.testing.assert_close(got, gradient(dice, logits, target, ignore), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize(
    ("loss", "wrong", "message"),
    [
        (dice, {"smoothing": 0}, "smoothing=0"),
        (robust_dice, {"gamma": 0.9}, r"gamma=0.9 must lie in \[1, 2\]"),
        (robust_dice, {"smoothing": -1}, "smoothing=-1"),
        (cldice, {"alpha": 1.1}, "alpha=1.1"),
        (cldice, {"iterations": -1}, "iterations=-1"),
        (cldice, {"smoothing": 0}, "smoothing=0"),
    ],
)
def test_a_parameter_outside_its_range_is_named(loss: Any, wrong: dict[str, Any], message: str) -> None:
    logits, target, _ = batch()
    with pytest.raises(ValueError, match=message):
        loss(logits, target, **wrong)
