"""Kobayashi, "Spiral-Net with F1-Based Optimization for Image-Based Crack Detection", 2018, and its rivals."""

from __future__ import annotations

from math import log, log1p
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.support.pixel_batches import batch, gradient
from tests.support.pixel_loss_oracles import Batch, pseudo_f1_weights
from train.losses.f1_guided import cross_entropy, f1, focal, inverse_frequency, pseudo_f1
from train.losses.overlap import dice

if TYPE_CHECKING:
    from torch import Tensor


def eq7(p: Tensor, y: Tensor) -> Tensor:
    """Return dL/dsigma of -log F1."""
    tp, mass, n1 = (p * y).sum(), p.sum(), y.sum()
    return torch.where(y > 0, -(1 / tp - 1 / (n1 + mass)), 1 / (n1 + mass))


def eq11(x: Tensor, y: Tensor) -> Tensor:
    p = x.sigmoid()
    return torch.where(y > 0, eq7(p, y) * (1 - p), eq7(p, y) * p)


def r_of(logits: Tensor, target: Tensor) -> float:
    """Return the ratio of weights that the loss in fact applies, crack to background."""
    _, grad = gradient(pseudo_f1, logits, target)
    side = 1 - 2 * target
    weight = grad / (side * (side * logits).sigmoid())  # sigma - y, exact where it is small
    return (weight[target > 0][0] / weight[target == 0][0]).item()


def test_finite_differences_of_log_f1() -> None:
    """Equation (7), against complex-step differences of equation (6) written in sigma."""
    logits, target, _ = batch()
    p, y = logits.sigmoid(), target
    want = eq7(p, y)
    for i in np.ndindex(*p.shape):
        stepped = p.numpy().astype(complex)
        stepped[i] += 1e-30j
        value = -np.log(2 * (stepped * y.numpy()).sum() / (y.sum().item() + stepped.sum()))
        assert value.imag / 1e-30 == pytest.approx(want[i].item(), rel=1e-10)


def test_the_gradient_of_f1() -> None:
    """Equation (8): equation (7) times sigma (1 - sigma)."""
    logits, target, _ = batch(seed=1)
    p = logits.sigmoid()
    _, grad = gradient(f1, logits, target)
    torch.testing.assert_close(grad, eq7(p, target) * p * (1 - p), rtol=1e-10, atol=0)


def test_f1_is_the_soft_dice_score_with_linear_sums() -> None:
    """Equation (6)."""
    logits, target, _ = batch(seed=2)
    assert torch.exp(-f1(logits, target)).item() == pytest.approx(
        1 - dice(logits, target, squared=False, smoothing=1e-13).item(), rel=1e-10
    )


def test_f1_without_crack_pixels_counts_false_alarms() -> None:
    """Where equation (6) is 0: log(1 + sum sigma)."""
    logits, target, _ = batch(seed=3)
    assert f1(logits, 0 * target).item() == pytest.approx(log1p(logits.sigmoid().sum().item()), rel=1e-12)


@pytest.mark.parametrize("x", [-50.0, -200.0, -1e4])
def test_f1_of_vanishing_probabilities_is_still_a_logarithm(x: float) -> None:
    """Equation (6) as sigma -> 0: -log(2 e^x) for one crack pixel beside background of no mass."""
    logits = torch.full((1, 1, 2, 2), x, requires_grad=True)
    target = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    value = f1(logits, target)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(-log(2) - x, rel=1e-6)
    assert logits.grad is not None
    assert logits.grad[0, 0, 0, 0].item() == pytest.approx(-1)


def test_pseudo_f1_at_the_papers_scale() -> None:
    """Equation (11): weights of equation (7), constants to autograd, times cross-entropy, without 1/N."""
    for seed in range(5):
        logits, target, _ = batch(seed=seed)
        _, grad = gradient(lambda *a: pseudo_f1(*a, scale="paper"), logits, target)
        torch.testing.assert_close(grad, eq11(logits, target), rtol=1e-10, atol=0)


def test_pseudo_f1_is_equation_11_times_a_positive_number_that_makes_weights_1_on_average() -> None:
    """Equation (11), our default scale."""
    logits, target, ignore = batch(seed=4)
    _, grad = gradient(pseudo_f1, logits, target, ignore)
    valid = ~ignore
    scale = grad[valid] / eq11(logits[valid], target[valid])
    torch.testing.assert_close(scale, scale[:1].expand_as(scale), rtol=1e-10, atol=0)
    weights = (grad / (logits.sigmoid() - target))[valid] * valid.sum()
    assert scale[0] > 0
    assert weights.mean().item() == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize("scale", ["mean_one", "paper"])
def test_pseudo_f1_is_the_gradient_of_cross_entropy_with_the_weights_held(scale: Any) -> None:
    """Equation (11): gradcheck of sum w CE with w from a loop, and the same gradient from the loss."""
    logits, target, _ = batch(seed=5)
    maps = Batch(logits[:, 0].numpy(), target[:, 0].numpy(), np.ones(target[:, 0].shape, bool))
    crack, background = pseudo_f1_weights(maps, scale)
    weight = crack * target + background * (1 - target)

    def held(x: Tensor, *_: Tensor | None) -> Tensor:
        return (weight * F.binary_cross_entropy_with_logits(x, target, reduction="none")).sum()

    assert torch.autograd.gradcheck(held, logits.clone().requires_grad_())
    torch.testing.assert_close(
        gradient(lambda *a: pseudo_f1(*a, scale=scale), logits, target),
        gradient(held, logits, target),
        rtol=1e-10,
        atol=0,
    )


def test_no_function_has_the_pseudo_f1_gradient() -> None:
    """Equation (11), footnote 2: its Jacobian is not symmetric; that of equation (8), a gradient, is."""
    logits, target, _ = batch(1, seed=6)
    x, y = logits.flatten(), target.flatten()

    def eq8(x: Tensor) -> Tensor:
        p = x.sigmoid()
        return eq7(p, y) * p * (1 - p)

    for field, symmetric in ((lambda x: eq11(x, y), False), (eq8, True)):
        jacobian: Any = torch.autograd.functional.jacobian(field, x)  # type: ignore[no-untyped-call]
        asymmetry = (jacobian - jacobian.T).norm() / jacobian.norm()
        assert asymmetry < 1e-12 if symmetric else asymmetry > 0.01


@given(seed=st.integers(0, 10_000), spread=st.floats(0.1, 5), cracks=st.floats(0, 1))
def test_a_crack_pixel_never_weighs_less_than_background(seed: int, spread: float, cracks: float) -> None:
    """Equation (13): r = (N1 + FP) / TP >= 1."""
    logits, target, _ = batch(seed=seed, spread=spread, cracks=cracks)
    p = logits.sigmoid()
    r = (target.sum() + (p * (1 - target)).sum()) / (p * target).sum()
    assert r_of(logits, target) == pytest.approx(r.item(), rel=1e-9)
    assert r >= 1


def test_weights_are_equal_only_when_nothing_is_left_to_learn() -> None:
    """Equation (13): r = 1 iff FP = 0 and TP = N1; it grows as the prediction falls silent."""
    _, target, _ = batch(seed=7)
    assert r_of(30 * (2 * target - 1), target) == pytest.approx(1, abs=1e-6)
    assert r_of(30 * (2 * target - 1) - 29 * target, target) > 1.1  # some hits are faint
    assert r_of(30 * (2 * target - 1) + 29 * (1 - target), target) > 1.1  # some false alarms are left
    silent = [r_of(torch.full_like(target, x), target) for x in (0.0, -2.0, -4.0, -8.0)]
    assert silent == sorted(silent)
    assert silent[-1] > 1000


@pytest.mark.parametrize("scale", ["mean_one", "paper"])
def test_pseudo_f1_without_crack_pixels_is_cross_entropy(scale: Any) -> None:
    """Equation (11) divides by zero there."""
    logits, target, ignore = batch(seed=8)
    nothing = torch.zeros_like(target)
    got = gradient(lambda *a: pseudo_f1(*a, scale=scale), logits, nothing, ignore)
    want = gradient(cross_entropy, logits, nothing, ignore)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    vanishing = gradient(pseudo_f1, logits - 100, nothing)[1].abs().sum()
    assert vanishing < 1e-30  # and the pull ends with the false alarms


def test_inverse_frequency_is_the_sum_of_the_class_means() -> None:
    """Section 4.4; a class without pixels adds 0."""
    logits, target, _ = batch(seed=9)
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    assert inverse_frequency(logits, target).item() == pytest.approx(
        (ce[target > 0].mean() + ce[target == 0].mean()).item()
    )
    for only in (torch.zeros_like(target), torch.ones_like(target)):
        assert inverse_frequency(logits, only).item() == pytest.approx(cross_entropy(logits, only).item(), rel=1e-12)


def test_focal_loss_without_focus_is_weighted_cross_entropy() -> None:
    """Lin et al., equation (5) with gamma = 0."""
    logits, target, _ = batch(seed=10)
    got = gradient(lambda *a: focal(*a, alpha=0.5, gamma=0), logits, target)
    torch.testing.assert_close(got, gradient(lambda *a: cross_entropy(*a) / 2, logits, target), rtol=1e-12, atol=0)


def test_focal_loss_of_an_easy_pixel_is_a_hundredth() -> None:
    """Lin et al., section 3.2: with gamma = 2 a pixel of p_t = 0.9 costs 100 times less than in cross-entropy."""
    logits, target = torch.full((1, 1, 1, 1), log(9.0)), torch.ones(1, 1, 1, 1)
    assert cross_entropy(logits, target).item() / focal(logits, target, alpha=1).item() == pytest.approx(100, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "wrong", "message"),
    [
        (focal, {"alpha": 1.5}, r"alpha=1.5 must lie in \[0, 1\]"),
        (focal, {"gamma": -1}, "gamma=-1"),
        (pseudo_f1, {"scale": "sum"}, "scale='sum' is not one of"),
        (cross_entropy, {"reduction": "none"}, "reduction='none'"),
    ],
)
def test_a_parameter_outside_its_range_is_named(loss: Any, wrong: dict[str, Any], message: str) -> None:
    logits, target, _ = batch()
    with pytest.raises(ValueError, match=message):
        loss(logits, target, **wrong)
