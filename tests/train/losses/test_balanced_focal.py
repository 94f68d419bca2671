"""Siriborvornratanakul, "Downstream Semantic Segmentation Model for Low-Level Surface Crack Detection", 2022."""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pixel_batches import batch, gradient
from tests.support.pixel_loss_oracles import Batch, nll, sigmoid
from train.losses.balanced_focal import balanced_focal
from train.losses.f1_guided import inverse_frequency

if TYPE_CHECKING:
    from torch import Tensor


def loop_gradient(x: Tensor, y: Tensor, gamma: float, alpha: float, detach: str) -> Tensor:
    """Return equation (2)'s gradient from a loop, with the denominator or the whole weight constant."""
    grad = torch.zeros_like(x)
    for label, scale in ((1, 1.0), (0, alpha)):
        members = [i for i in np.ndindex(*x.shape) if y[i] == label]
        against = {i: float(-x[i] if label == 1 else x[i]) for i in members}
        total = sum(sigmoid(z) ** gamma for z in against.values())
        for i, z in against.items():
            weight, ce = sigmoid(z) ** gamma, nll(float(x[i]), label)
            slope = weight * sigmoid(z)  # weight times dCE/dz
            if detach == "denominator":
                slope += gamma * weight * sigmoid(-z) * ce  # dweight/dz times CE
            grad[i] = scale * slope / total * (-1 if label == 1 else 1)
    return grad


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("detach", ["denominator", "weight"])
def test_the_gradient_with_constants_is_the_loops(gamma: float, detach: Any) -> None:
    """Equation (2)."""
    logits, target, _ = batch(seed=1)
    _, grad = gradient(lambda *a: balanced_focal(*a, gamma=gamma, detach=detach), logits, target)
    torch.testing.assert_close(grad, loop_gradient(logits, target, gamma, 3, detach), rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 4.0])
def test_with_the_denominators_held_constant_it_is_the_gradient_of_a_function(gamma: float) -> None:
    """Equation (2)."""
    logits, target, _ = batch(seed=2)
    p = logits.sigmoid()
    crack, background = (((1 - p) ** gamma * target).sum(), (p**gamma * (1 - target)).sum())

    def held(x: Tensor, *_: Tensor | None) -> Tensor:
        p = x.sigmoid()
        of_crack = -((1 - p) ** gamma * p.log() * target).sum() / crack
        return of_crack - 3 * (p**gamma * (1 - p).log() * (1 - target)).sum() / background

    assert torch.autograd.gradcheck(held, logits.clone().requires_grad_())
    got = gradient(lambda *a: balanced_focal(*a, gamma=gamma), logits, target)
    torch.testing.assert_close(got, gradient(held, logits, target), rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize(("gamma", "slope"), [(1.0, 1.866), (2.0, 0.516), (4.0, 0.013)])
def test_attached_denominators_lower_a_confident_crack_pixel(gamma: float, slope: float) -> None:
    """Equation (2): dL/dp of a crack pixel at p = 0.9 beside one at p = 0.1 is positive; detached, it is negative."""
    logits = torch.tensor([log(9.0), -log(9.0)], dtype=torch.float64).reshape(1, 1, 1, 2)
    target = torch.ones_like(logits)
    _, attached = gradient(lambda *a: balanced_focal(*a, gamma=gamma, detach="nothing"), logits, target)
    assert attached[..., 0].item() / (0.9 * 0.1) == pytest.approx(slope, abs=5e-4)
    for detach in ("denominator", "weight"):
        _, detached = gradient(lambda *a, d=detach: balanced_focal(*a, gamma=gamma, detach=d), logits, target)
        assert detached[..., 0] < 0


@given(seed=st.integers(0, 10_000), gamma=st.floats(0, 5), spread=st.floats(0.1, 6))
def test_detached_denominators_always_pull_the_right_way(seed: int, gamma: float, spread: float) -> None:
    """Equation (2)."""
    logits, target, _ = batch(seed=seed, spread=spread)
    _, grad = gradient(lambda *a: balanced_focal(*a, gamma=gamma), logits, target)
    assert (grad * (2 * target - 1) <= 0).all()


def test_without_focus_it_is_the_class_balanced_cross_entropy() -> None:
    """Equation (2) with gamma = 0: the mean over crack pixels plus alpha times that over background."""
    logits, target, _ = batch(seed=3)
    ce = torch.where(target > 0, -logits.sigmoid().log(), -(1 - logits.sigmoid()).log())
    want = ce[target > 0].mean() + 3 * ce[target == 0].mean()
    assert balanced_focal(logits, target, gamma=0).item() == pytest.approx(want.item(), rel=1e-12)
    assert balanced_focal(logits, target, gamma=0, alpha=1).item() == pytest.approx(
        inverse_frequency(logits, target).item(), rel=1e-12
    )


@given(gamma=st.floats(0, 8), x=st.floats(-30, 30))
def test_a_single_pixel_costs_its_cross_entropy_for_any_gamma(gamma: float, x: float) -> None:
    """Equation (2)."""
    logits = torch.full((1, 1, 1, 1), x, dtype=torch.float64)
    for y, factor in ((1.0, 1), (0.0, 3)):
        got = balanced_focal(logits, torch.full_like(logits, y), gamma=gamma).item()
        assert got == pytest.approx(factor * nll(x, y), rel=1e-12)


@pytest.mark.parametrize("y", [0.0, 1.0])
def test_a_class_without_pixels_adds_0(y: float) -> None:
    """Equation (2), 0/0."""
    logits, target, _ = batch(seed=4)
    only = torch.full_like(target, y)
    p = logits.sigmoid() if y == 0 else (-logits).sigmoid()
    want = (3 if y == 0 else 1) * (p**2 * -(1 - p).log()).sum() / (p**2).sum()
    assert balanced_focal(logits, only).item() == pytest.approx(want.item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("x", [-12.0, -50.0, -1000.0])
def test_weights_that_would_underflow_keep_their_ratio(x: float, dtype: torch.dtype) -> None:
    """Equation (2): p^4 is 0 in float32 at -50; two background pixels one logit apart weigh e^4 to 1."""
    logits = torch.tensor([x, x - 1], dtype=dtype).reshape(1, 1, 1, 2).requires_grad_()
    balanced_focal(logits, torch.zeros_like(logits), gamma=4, detach="weight").backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    if x > -17:  # the gradient itself, weight times p, has to fit as well
        ratio = (logits.grad[..., 0] / logits.grad[..., 1]).item()
        assert ratio == pytest.approx(exp(5), rel=0.05 if dtype == torch.float16 else 1e-4)
    wrong = torch.tensor([-x, 1 - x], dtype=dtype).reshape(1, 1, 1, 2)
    easy = torch.cat([torch.tensor([[[[x, x - 1]]]], dtype=dtype), wrong], dim=2)  # hits and silence, saturated
    value = balanced_focal(easy, torch.tensor([[[[0.0, 0.0], [1.0, 1.0]]]]), gamma=4)
    maps = Batch(easy[:, 0].double().numpy(), np.array([[[0.0, 0.0], [1.0, 1.0]]]), np.ones((1, 2, 2), bool))
    assert value.isfinite()
    if x > -100:
        crack = [sigmoid(-z) ** 4 for z in maps.cracks()]
        want = sum(w * nll(z, 1) for w, z in zip(crack, maps.cracks(), strict=True)) / sum(crack)
        quiet = [sigmoid(z) ** 4 for z in maps.background()]
        want += 3 * sum(w * nll(z, 0) for w, z in zip(quiet, maps.background(), strict=True)) / sum(quiet)
        assert value.item() == pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"gamma": -1}, "gamma=-1"), ({"alpha": -1}, "alpha=-1"), ({"detach": "all"}, "detach='all' is not one of")],
)
def test_a_parameter_outside_its_range_is_named(wrong: dict[str, Any], message: str) -> None:
    logits, target, _ = batch()
    with pytest.raises(ValueError, match=message):
        balanced_focal(logits, target, **wrong)
