"""Poly-1 (Leng et al., 2022) and the robust t-loss (Gonzalez-Jimenez et al., 2023)."""

from __future__ import annotations

from math import log, pi

import pytest
import torch

from tests.support.pixel_batches import batch, gradient
from train.losses import build_loss
from train.losses.f1_guided import cross_entropy
from train.losses.rivals import RobustT, poly, robust_t


def test_poly_is_cross_entropy_plus_epsilon_times_the_error() -> None:
    """Leng et al., Poly-1: with epsilon = 0 cross-entropy; else the slope of a crack pixel gains epsilon p (1 - p)."""
    logits, target, _ = batch(seed=1)
    torch.testing.assert_close(poly(logits, target, epsilon=0), cross_entropy(logits, target), rtol=1e-12, atol=0)
    p = logits.sigmoid()
    want = (p - target + 2 * (1 - 2 * target) * p * (1 - p)) / target.numel()
    torch.testing.assert_close(gradient(poly, logits, target)[1], want, rtol=1e-10, atol=1e-16)


def test_the_t_loss_of_many_degrees_of_freedom_is_the_gaussians() -> None:
    """Gonzalez-Jimenez et al.: as nu grows, D/2 ln(2 pi) + |p - y|^2 / 2, the squared error."""
    logits, target, _ = batch(seed=2)
    error = ((logits.sigmoid() - target) ** 2).sum((1, 2, 3))
    want = (error.numel() * target[0].numel() / 2 * log(2 * pi) + error.sum() / 2) / error.numel()
    assert robust_t(logits, target, nu=1e9, reduction="sum").item() == pytest.approx(want.item(), rel=1e-6)


def test_few_degrees_of_freedom_pull_less_at_an_image_that_is_all_wrong() -> None:
    """Gonzalez-Jimenez et al.: robust against outliers, so against wrong masks."""
    _, target, _ = batch(2, 16, 16, seed=3)
    right = 4 * (2 * target - 1)
    logits = torch.cat([right[:1], 1 - right[1:]])  # the second image's mask is wrong

    def share_of_the_wrong_image(nu: float) -> float:
        _, grad = gradient(lambda *a: robust_t(*a, nu=nu), logits, target)
        return (grad[1].abs().sum() / grad.abs().sum()).item()

    assert share_of_the_wrong_image(1) < share_of_the_wrong_image(1000)


def test_degrees_of_freedom_are_learnt_and_stay_positive() -> None:
    """Gonzalez-Jimenez et al.: nu = exp(.) + epsilon, by gradient descent with the network."""
    logits, target, _ = batch(4, 16, 16, seed=4)
    loss = build_loss("robust_t", nu=2.0)
    assert isinstance(loss, RobustT)
    assert [name for name, _ in loss.named_parameters()] == ["log_nu"]
    assert loss.log_nu.exp().item() == pytest.approx(2)
    optimiser = torch.optim.SGD(loss.parameters(), lr=1.0)
    costs = []
    for _ in range(50):
        optimiser.zero_grad()
        cost = loss(logits, target)
        cost.backward()
        optimiser.step()
        costs.append(cost.item())
    assert costs == sorted(costs, reverse=True)
    assert loss.log_nu.exp() > 0
    assert loss.log_nu.exp().item() != pytest.approx(2, rel=0.01)


def test_a_large_image_loses_no_digits() -> None:
    """Gonzalez-Jimenez et al.: the terms grow with the number of pixels and cancel, in float32 too."""
    logits, target, _ = batch(1, 512, 512, seed=5)
    assert robust_t(logits.float(), target).item() == pytest.approx(
        robust_t(logits.float().double(), target).item(), rel=1e-5
    )


@pytest.mark.parametrize(("name", "wrong"), [("poly", {"epsilon": -1.5}), ("robust_t", {"nu": 0})])
def test_a_parameter_outside_its_range_is_named(name: str, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"loss '{name}': {next(iter(wrong))}=.* must be"):
        build_loss(name, **wrong)
