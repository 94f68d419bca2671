from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import zero_one_loss

from train.losses.gagl import fga_pgd
from train.metrics.classification import average_kappa, error_rate, pgd_error_rate


def test_error_rate_is_scikit_learns_zero_one_loss() -> None:
    rng = np.random.default_rng(0)
    predicted, labels = rng.integers(0, 3, (2, 200))
    assert error_rate(predicted, labels) == pytest.approx(zero_one_loss(labels, predicted))


def test_of_no_patches_there_is_no_rate() -> None:
    assert error_rate([], []) is None
    assert average_kappa([]) is None


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\)"):
        error_rate([1], [1, 1, 1])


def test_pgd_error_rate_on_a_linear_head_counts_the_margins_that_twenty_steps_overcome() -> None:
    """GAGL, equation (3): each step lowers the margin by step_size * ||w_y - w_o||_1, in closed form."""
    torch.manual_seed(0)
    head = torch.nn.Linear(6, 2).double().requires_grad_(requires_grad=False)
    features = torch.randn(500, 6, dtype=torch.float64) * 3
    labels = head(features).argmax(1)
    labels[:50] = 1 - labels[:50]

    def attack(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return fga_pgd(features, labels, head, steps=20, step_size=0.1, radius=2.1).features

    got = pgd_error_rate(features, labels, attack=attack, classify=lambda attacked: head(attacked).argmax(1))
    logits = head(features)
    margin = (logits.gather(1, labels[:, None]) - logits.gather(1, 1 - labels[:, None]))[:, 0]
    reach = 20 * 0.1 * (head.weight[0] - head.weight[1]).abs().sum()
    assert got == pytest.approx(float((margin < reach).double().mean()))
    assert error_rate(logits.argmax(1), labels) == pytest.approx(0.1)
    assert 0.2 < float((margin < reach).double().mean()) < 0.9  # the case tells attacked from plain, and from all wrong


def test_average_kappa_is_the_mean_over_classes_and_refuses_negative_steps() -> None:
    assert average_kappa([10, 3, 5]) == 6
    with pytest.raises(ValueError, match="kappa=-1"):
        average_kappa([-1, 3])
