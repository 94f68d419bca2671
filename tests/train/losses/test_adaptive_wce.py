"""Li et al., "Fast and Accurate Road Crack Detection Based on Adaptive Cost-Sensitive Loss Function", 2023."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.support.pixel_batches import batch, gradient
from train.losses.adaptive_wce import adaptive_wce, class_weight, holistic, jaccard_distance

FAMILIES: list[dict[str, Any]] = [
    {"kind": "ratio"},
    {"kind": "power", "beta": 0.5, "gamma": 0.5},
    {"kind": "power", "beta": 0.85, "gamma": 1 / 3},
    {"kind": "logarithm", "beta": 0.9},
    {"kind": "exponential", "beta": 0.75},
]


def q(n_background: float, n_crack: float, **parameters: Any) -> float:
    counts = torch.tensor([n_background, n_crack], dtype=torch.float64)
    return class_weight(counts[0], counts[1], **parameters).item()


@pytest.mark.parametrize(
    ("family", "weight"),
    [
        pytest.param(FAMILIES[0], 89.09, id="ratio, Eq. 3"),
        pytest.param(FAMILIES[1], 4.72, id="power 1/2, Eq. 4"),
        pytest.param(FAMILIES[2], 3.80, id="power 1/3, Eq. 4"),
        pytest.param(FAMILIES[3], 4.04, id="logarithm, Eq. 5"),
        pytest.param(FAMILIES[4], 7.13, id="exponential, Eq. 7"),
    ],
)
def test_the_weights_on_crackforest(family: dict[str, Any], weight: float) -> None:
    """Table I's settings at alpha = 0.9889, without smoothing."""
    assert q(9889, 111, smoothing=0, **family) == pytest.approx(weight, abs=0.005)


@pytest.mark.parametrize("family", FAMILIES)
@given(crack=st.integers(1, 998))
def test_the_weight_grows_with_the_share_of_background(family: dict[str, Any], crack: int) -> None:
    """Equations (3) to (6)."""
    rarer, commoner = q(1000 - crack, crack, **family), q(999 - crack, crack + 1, **family)
    assert rarer > commoner or (rarer == commoner == 0)


@given(beta=st.floats(0.01, 1), base=st.floats(1.01, 20), gamma=st.floats(0, 1), crack=st.integers(0, 100))
def test_the_exponential_is_bounded_without_smoothing(beta: float, base: float, gamma: float, crack: int) -> None:
    """Equation (6): in [beta / a, beta a], for a batch without crack pixels and for one without background too."""
    weight = q(100 - crack, crack, beta=beta, base=base, gamma=gamma)
    assert beta / base * (1 - 1e-12) <= weight <= beta * base * (1 + 1e-12)
    assert q(100, 0, beta=beta) == pytest.approx(10 * beta)


def test_the_weight_is_not_always_between_1_and_the_ratio() -> None:
    """Equation (7): with beta < 1 it falls below 1 where the classes are even, against what the paper says."""
    assert q(50, 50, beta=0.75) == pytest.approx(0.75)


def test_the_logarithm_never_rewards_a_missed_crack() -> None:
    """Equation (5) turns negative for alpha < 1/2; so it is cut at 0, unless asked for as printed."""
    assert q(10, 90, kind="logarithm") == 0
    assert q(10, 90, kind="logarithm", floor=-inf) == pytest.approx(-2.113, abs=0.001)


@pytest.mark.parametrize("family", FAMILIES)
def test_laplace_smoothing_counts_one_more_of_each(family: dict[str, Any]) -> None:
    """Section III-C: for batches without crack pixels; the exponential needs none, and has none unless asked."""
    assert q(99, 0, **family, smoothing=1) == pytest.approx(q(100, 1, **family, smoothing=0))
    if family["kind"] != "exponential":
        assert q(99, 0, **family) == q(99, 0, **family, smoothing=1)
    else:
        assert q(99, 0, **family) == q(99, 0, **family, smoothing=0)


@pytest.mark.parametrize("kind", ["ratio", "power", "logarithm"])
def test_without_smoothing_a_batch_without_cracks_still_has_a_finite_weight(kind: str) -> None:
    assert 0 < q(100, 0, kind=kind, smoothing=0) <= 100


def test_a_weight_of_1_is_cross_entropy() -> None:
    """Equation (2) with q = 1."""
    logits, target, _ = batch()
    assert adaptive_wce(logits, target, gamma=0.0).item() == pytest.approx(
        F.binary_cross_entropy_with_logits(logits, target).item(), rel=1e-12
    )


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_the_two_forms_differ_by_the_share_of_cracks(smoothing: float) -> None:
    """Equation (1), written out, equals (1 - alpha) times equation (2), so they are equivalent up to the step size."""
    logits, target, _ = batch()
    p, n = logits.sigmoid(), target.numel()
    alpha = (n - target.sum() + smoothing) / (n + 2 * smoothing)
    xie = -(alpha * target * p.log() + (1 - alpha) * (1 - target) * (1 - p).log()).mean()
    first = adaptive_wce(logits, target, kind="ratio", form="xie", smoothing=smoothing)
    second = adaptive_wce(logits, target, kind="ratio", smoothing=smoothing)
    torch.testing.assert_close(first, xie, rtol=1e-12, atol=0)
    torch.testing.assert_close(first, (1 - alpha) * second, rtol=1e-12, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_of_weighted_cross_entropy(family: dict[str, Any]) -> None:
    """Equation (16): ((1 - y) p - q y (1 - p)) / N; q does not depend on the logits."""
    logits, target, _ = batch(seed=1)
    weight, p = q(float((1 - target).sum()), float(target.sum()), **family), logits.sigmoid()
    _, grad = gradient(lambda *a: adaptive_wce(*a, **family), logits, target)
    torch.testing.assert_close(
        grad, ((1 - target) * p - weight * target * (1 - p)) / target.numel(), rtol=1e-10, atol=0
    )


def test_the_jaccard_distance_of_a_perfect_prediction_is_0() -> None:
    """Equations (9) and (10)."""
    _, target, _ = batch()
    assert jaccard_distance(2000 * target - 1000, target) == 0
    assert jaccard_distance((2000 * target - 1000).float(), target) == 0


@pytest.mark.parametrize("smoothing", [0.01, 1.0, 10.0])
def test_nothing_predicted_where_nothing_is_has_distance_0(smoothing: float) -> None:
    """Equation (10), thanks to lambda; and with it a false alarm of k pixels costs k / (k + lambda)."""
    empty = torch.zeros(1, 1, 4, 4)
    assert jaccard_distance(empty - 1000, empty, smoothing=smoothing) == 0
    false = torch.full_like(empty, -1000.0)
    false[0, 0, 1] = 1000
    assert jaccard_distance(false, empty, smoothing=smoothing).item() == pytest.approx(4 / (4 + smoothing))


def test_the_gradient_of_the_jaccard_distance() -> None:
    """Equation (10): with I, U the smoothed sums, dd/dp = -1/U for a crack pixel and I/U^2 for background."""
    logits, target, _ = batch(seed=2)
    p = logits.sigmoid()
    i = (target * p).sum() + 1
    u = (target + p - target * p).sum() + 1
    _, grad = gradient(jaccard_distance, logits, target)
    torch.testing.assert_close(grad, torch.where(target > 0, -1 / u, i / u**2) * p * (1 - p), rtol=1e-10, atol=0)


def test_the_holistic_loss_is_the_weighted_sum() -> None:
    """Equation (8)."""
    logits, target, ignore = batch(seed=3)

    def weighted(*args: Tensor) -> Tensor:
        return 20 * adaptive_wce(*args, beta=0.75) + 3 * jaccard_distance(*args, smoothing=2.0)

    got = gradient(lambda *a: holistic(*a, a=20, b=3, beta=0.75, jaccard_smoothing=2.0), logits, target, ignore)
    torch.testing.assert_close(got, gradient(weighted, logits, target, ignore), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "sqrt"}, "kind='sqrt' is not one of"),
        ({"beta": 0}, r"beta=0 must lie in \(0, 1\]"),
        ({"gamma": 1.1}, "gamma=1.1"),
        ({"kind": "power", "gamma": 0}, "above 0 for the power family"),
        ({"base": 1}, "base=1 must be above 1"),
        ({"smoothing": -1}, "smoothing=-1"),
        ({"form": "eq"}, "form='eq'"),
        ({"alpha_over": "image"}, "alpha_over='image'"),
        ({"reduction": "none"}, "reduction='none'"),
    ],
)
def test_a_parameter_outside_its_range_is_named(wrong: dict[str, Any], message: str) -> None:
    logits, target, _ = batch()
    with pytest.raises(ValueError, match=message):
        adaptive_wce(logits, target, **wrong)
