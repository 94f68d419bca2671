"""GAGL: Chen et al., "Geometry-Aware Guided Loss for Deep Crack Recognition", CVPR 2022."""

from __future__ import annotations

from math import ceil, exp, inf, log, tanh
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from tests.support.largest_tensor import LargestTensor
from tests.support.processes import run_in_processes
from tests.support.tensors import labels_of, random
from train.losses.gagl import (
    GAGL,
    anchor_gradient,
    fga_pgd,
    gagl_loss,
    is_safe,
    moved_anchors,
    reweighting,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N, C, D = 12, 3, 5


def linear(weight: Tensor, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    return lambda features: F.linear(features, weight, bias)


def loop_attack(
    feature: list[float], label: int, weight: Any, *, gamma: float, epsilon: float, steps: int, projection: str
) -> tuple[int, Any]:
    """Algorithm 1 for one feature and a linear head, in numpy, from cross-entropy's own gradient."""
    start = np.array(feature)
    current = start.copy()
    kappa = steps
    for t in range(steps):
        logits = weight @ current
        if logits.argmax() != label and kappa == steps:
            kappa = t
        p = np.exp(logits - logits.max())
        p /= p.sum()
        p[label] -= 1
        step = gamma * np.sign(weight.T @ p)
        if projection == "step":
            current = current + np.clip(step, -epsilon, epsilon)
        else:
            current = np.clip(current + step, start - epsilon, start + epsilon)
    return kappa, current


# --- algorithm 1 ------------------------------------------------------------------------------------------------------


def test_kappa_on_a_linear_head_is_the_margin_over_the_step_times_the_weights_l1_distance() -> None:
    """GAGL, algorithm 1: kappa = ceil(margin / (gamma ||w_y - w_o||_1)) on 2000 linear two-class heads."""
    generator = torch.Generator().manual_seed(0)
    gamma, steps = 0.07, 25
    for _ in range(50):
        weight = torch.randn(2, D, generator=generator, dtype=torch.float64)
        features = 1.5 * torch.randn(40, D, generator=generator, dtype=torch.float64)
        labels = torch.randint(2, (40,), generator=generator)
        kappa = fga_pgd(features, labels, linear(weight), step_size=gamma, radius=inf, steps=steps).kappa
        for feature, label, found in zip(features.numpy(), labels.tolist(), kappa.tolist(), strict=True):
            difference = (weight[label] - weight[1 - label]).numpy()
            margin = difference @ feature
            expected = 0 if margin < 0 else min(steps, ceil(margin / (gamma * np.abs(difference).sum())))
            assert found == expected


@pytest.mark.parametrize("projection", ["origin", "step"])
@pytest.mark.parametrize("epsilon", [0.05, 0.3, 10.0])
def test_the_batched_attack_equals_a_loop_over_the_features(projection: Any, epsilon: float) -> None:
    """GAGL, algorithm 1 and equation (3), three classes, both projections, binding and not."""
    weight, features, labels = random(C, D, seed=1), random(40, D, seed=2), labels_of(40)
    found = fga_pgd(features, labels, linear(weight), step_size=0.1, radius=epsilon, steps=9, projection=projection)
    for i in range(40):
        kappa, adversarial = loop_attack(
            features[i].tolist(), int(labels[i]), weight.numpy(), gamma=0.1, epsilon=epsilon, steps=9,
            projection=projection,
        )  # fmt: skip
        assert int(found.kappa[i]) == kappa
        np.testing.assert_allclose(found.features[i].numpy(), adversarial, atol=1e-12)


def test_projection_onto_the_origins_ball_bounds_the_whole_way_and_onto_the_steps_ball_each_step() -> None:
    """GAGL, equation (3): the two readings."""
    weight, features, labels = random(C, D, seed=1), random(40, D, seed=2), labels_of(40)
    head = linear(weight)
    by_origin = fga_pgd(features, labels, head, step_size=0.1, radius=0.25, steps=8, projection="origin").features
    by_step = fga_pgd(features, labels, head, step_size=0.1, radius=0.25, steps=8, projection="step").features
    assert float((by_origin - features).abs().max()) == pytest.approx(0.25)
    assert float((by_step - features).abs().max()) == pytest.approx(0.8)


def test_kappa_is_zero_where_already_misclassified_and_all_steps_where_never_fooled() -> None:
    """GAGL, algorithm 1: 0 <= kappa <= K."""
    head = linear(torch.eye(2, dtype=torch.float64))
    features = torch.tensor([[0.0, 1.0], [100.0, 0.0], [0.31, 0.0]], dtype=torch.float64)
    kappa = fga_pgd(features, torch.zeros(3, dtype=torch.int64), head, step_size=0.1, radius=1.0, steps=10).kappa
    assert kappa.tolist() == [0, 10, 2]


def test_a_feature_once_fooled_keeps_its_kappa_even_if_later_steps_undo_it() -> None:
    """GAGL, algorithm 1 stops at the first misclassification."""

    def ring(features: Tensor) -> Tensor:  # class 0 where |x| is even-numbered, class 1 elsewhere
        wave = torch.cos(features[:, 0] * torch.pi)
        return torch.stack([wave, torch.zeros_like(wave)], dim=1)

    features = torch.tensor([[0.1]], dtype=torch.float64)
    attack = fga_pgd(features, torch.tensor([0]), ring, step_size=0.9, radius=inf, steps=6)
    assert int(attack.kappa) == 1


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kappa_does_not_depend_on_the_scale_of_two_classes_logits(scale: float, dtype: torch.dtype) -> None:
    """GAGL, equation (3) takes only the gradient's sign; margins of hundreds do not drown it, even in float32."""
    weight, features, labels = random(2, D, seed=1, dtype=dtype), random(200, D, seed=2, dtype=dtype), labels_of(200, 2)
    kappa = fga_pgd(features, labels, linear(weight), step_size=0.1, radius=1.0).kappa
    scaled = fga_pgd(features, labels, linear(scale * weight), step_size=0.1, radius=1.0).kappa
    assert set(kappa.tolist()) > {0, 1, 2, 3, 10}
    assert torch.equal(kappa, scaled)


@pytest.mark.parametrize("scale", [0.01, 3.0, 250.0])
def test_scaling_features_step_and_radius_together_leaves_kappa(scale: float) -> None:
    """GAGL, algorithm 1 with step and radius relative to the features."""
    weight, features, labels = random(C, D, seed=1), random(200, D, seed=2), labels_of(200)
    kappa = fga_pgd(features, labels, linear(weight), step_size=0.1, radius=1.0).kappa
    larger = fga_pgd(scale * features, labels, linear(weight / scale), step_size=0.1 * scale, radius=scale).kappa
    assert torch.equal(kappa, larger)


def test_an_attack_leaves_no_gradient_behind_and_works_in_inference_mode() -> None:
    """GAGL, algorithm 1: features and classifier are constants to it."""
    head = nn.Linear(D, C).double()
    features = random(N, D).requires_grad_()
    kappa = fga_pgd(features, labels_of(), head, step_size=0.1, radius=1.0).kappa
    assert features.grad is None
    assert all(parameter.grad is None for parameter in head.parameters())
    with torch.inference_mode():
        within = random(N, D)
        assert torch.equal(fga_pgd(within, labels_of(), head, step_size=0.1, radius=1.0).kappa, kappa)


# --- equations (4) to (8) ---------------------------------------------------------------------------------------------


def test_a_feature_is_safe_only_if_it_outlasts_its_own_classs_anchor() -> None:
    """GAGL, equation (4): equal means swinging."""
    safe = is_safe(torch.tensor([3, 4, 4, 5]), torch.tensor([3, 4]), torch.tensor([0, 0, 1, 1]))
    assert safe.tolist() == [False, True, False, True]


def test_the_tanh_weights_are_those_of_the_table() -> None:
    """GAGL, equation (5) at beta 4, K 10."""
    weights = reweighting(torch.arange(11))
    expected = [0.1192, 0.5, 0.8808, 0.9820, 0.9975, 0.9997, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(weights.safe, expected, atol=1e-4)
    np.testing.assert_allclose(weights.swing, [1 - omega for omega in expected], atol=1e-4)


@pytest.mark.parametrize("beta", [-3.0, 0.0, 4.0])
@pytest.mark.parametrize("steps", [10, 20])
def test_each_reweighting_function_is_as_printed_and_never_falls(beta: float, steps: int) -> None:
    """GAGL, equation (5) and section 4.2: linear kappa / K, sigmoid, constant."""
    kappa = torch.arange(steps + 1)
    x = [beta + 5 * (2 * k / steps - 1) for k in range(steps + 1)]
    printed: dict[Any, list[float]] = {
        "tanh": [(1 + tanh(v)) / 2 for v in x],
        "sigmoid": [1 / (1 + exp(-v)) for v in x],
        "linear": [k / steps for k in range(steps + 1)],
        "constant": [1.0] * (steps + 1),
    }
    for kind, expected in printed.items():
        weights = reweighting(kappa, steps=steps, kind=kind, beta=beta, dtype=torch.float64)
        np.testing.assert_allclose(weights.safe, expected, atol=1e-12)
        swing = [1.0] * (steps + 1) if kind == "constant" else [1 - omega for omega in expected]
        np.testing.assert_allclose(weights.swing, swing, atol=1e-12)
        assert bool((weights.safe.diff() >= 0).all())


def test_at_an_infinite_beta_the_loss_vanishes() -> None:
    """GAGL, equation (9) with equation (5): 1 - omega is 0, which the paper does not say."""
    assert float(reweighting(torch.arange(11), beta=inf).swing.abs().max()) == 0


def test_the_anchors_gradient_is_that_of_the_anchor_loss() -> None:
    """GAGL, equation (7) against autograd of equation (6)."""
    anchors, features, labels = random(C, D, seed=3).requires_grad_(), random(N, D), labels_of()
    weights = random(N, seed=4).sigmoid() * (random(N, seed=5) > 0)
    loss = torch.zeros((), dtype=torch.float64)
    for i in range(N):
        loss = loss + 0.5 * weights[i] * ((features[i] - anchors[labels[i]]) ** 2).sum()
    (expected,) = torch.autograd.grad(loss, anchors)
    gradient, mass = anchor_gradient(anchors.detach(), features, labels, weights)
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0)
    for j in range(C):
        assert float(mass[j]) == pytest.approx(float(weights[labels == j].sum()), abs=1e-12)


@pytest.mark.parametrize(("rule", "n"), [("paper", 15), ("paper", 19), ("normalised", 21), ("normalised", 500)])
def test_an_anchor_approaches_its_features_by_the_factor_of_its_update_rule(rule: Any, n: int) -> None:
    """GAGL, equation (8): 1 - alpha sum(omega), or 1 - alpha sum(omega) / (1 + sum(omega)), for equal features."""
    anchors, feature = random(1, D, seed=3), random(1, D)
    gradient, mass = anchor_gradient(anchors, feature.expand(n, D), torch.zeros(n).long(), torch.ones(n).double())
    moved = moved_anchors(anchors, gradient, mass, rate=0.1, rule=rule)
    factor = 1 - 0.1 * n / (1 if rule == "paper" else 1 + n)
    torch.testing.assert_close(moved - feature, factor * (anchors - feature))
    assert abs(factor) < 1


def test_past_its_bound_the_papers_rule_diverges_and_is_refused() -> None:
    """GAGL, equation (8): |1 - alpha sum(omega)| > 1 from sum(omega) = 20 on; 1.1^50 = 117 after 50 steps at 21."""
    distance = 1.0
    for _ in range(50):
        distance *= 1 - 0.1 * 21
    assert abs(distance) == pytest.approx(117, abs=1)
    anchors, feature, twenty = random(1, D, seed=3), random(1, D), torch.zeros(20).long()
    gradient, mass = anchor_gradient(anchors, feature.expand(20, D), twenty, torch.ones(20).double())
    moved_anchors(anchors, gradient, mass, rule="paper")
    with pytest.raises(ValueError, match=r"diverges: class 0 has a sum of omega of 21, above the bound 2 / alpha = 20"):
        moved_anchors(anchors, gradient, mass + 1, rule="paper")


def test_an_anchor_without_safe_features_stays_bit_identical() -> None:
    """GAGL, section 3.3: not updated if no feature outlasts it."""
    anchors = random(C, D, seed=3)
    gradient, mass = anchor_gradient(anchors, random(N, D), labels_of(), torch.zeros(N).double())
    assert torch.equal(moved_anchors(anchors, gradient, mass), anchors)


# --- equation (9) -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_and_its_gradient_equal_a_loop(reduction: Any) -> None:
    """GAGL, equation (9): the weights are detached; the gradient is weight (F - A) over the batch size."""
    features, anchors, labels = random(N, D).requires_grad_(), random(C, D, seed=3).requires_grad_(), labels_of()
    weights = random(N, seed=4).sigmoid().requires_grad_()
    loss = gagl_loss(features, labels, anchors, weights, reduction=reduction)
    f, a, w = features.detach().numpy(), anchors.detach().numpy(), weights.detach().numpy()
    value, gradient = 0.0, np.zeros((N, D))
    divisor = N if reduction == "mean" else 1
    for i in range(N):
        away = f[i] - a[labels[i]]
        value += 0.5 * w[i] * (away @ away) / divisor
        gradient[i] = w[i] * away / divisor
    assert loss.item() == pytest.approx(value, abs=1e-10)
    torch.autograd.backward(loss)
    assert features.grad is not None
    np.testing.assert_allclose(features.grad, gradient, atol=1e-10)
    assert weights.grad is None
    assert anchors.grad is None


def test_gradcheck_passes_with_weights_and_anchors_held_constant() -> None:
    """GAGL, equation (9), float64."""
    labels, anchors, weights = labels_of(), random(C, D, seed=3), random(N, seed=4).sigmoid()
    features = random(N, D).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: gagl_loss(f, labels, anchors, weights), (features,))


# --- algorithm 2 and equation (10) ------------------------------------------------------------------------------------


def joint(head: nn.Linear, loss: GAGL, features: Tensor, labels: Tensor, epoch: int = 0, **more: Any) -> Tensor:
    result: Tensor = loss(features, head(features), labels, head, epoch=epoch, **more)
    return result


def head_of(seed: int = 0, classes: int = C, dimensions: int = D, *, spread: float = 1.0) -> nn.Linear:
    head = nn.Linear(dimensions, classes).double()
    with torch.no_grad():
        head.weight.copy_(spread * random(classes, dimensions, seed=seed))
        head.bias.copy_(0.1 * random(classes, seed=seed + 1))
    return head


def gagl(**more: Any) -> GAGL:
    return GAGL(**{"classes": C, "dimensions": D, "burn_in_epochs": 0} | more).double()


@pytest.mark.parametrize("kind", ["tanh", "constant", "linear", "sigmoid"])
def test_a_step_of_the_joint_loss_equals_algorithm_2_written_as_loops(kind: Any) -> None:
    """GAGL, algorithm 2 and equations (4) to (10): scale, kappa, states, anchors, then the loss at the new anchors."""
    head, features, labels = head_of(seed=7), random(40, D, seed=2).requires_grad_(), labels_of(40)
    loss = gagl(kind=kind, weight=0.5)
    start = loss.anchors.numpy().copy()
    value = joint(head, loss, features, labels)
    torch.autograd.backward(value)

    f, w, b = features.detach().numpy(), head.weight.detach().numpy(), head.bias.detach().numpy()
    rms = np.sqrt(np.mean(f**2))
    homogeneous = np.concatenate([w, b[:, None]], axis=1)  # the bias as the weight of a 1 that no step may move

    def kappa_of(feature: Any, label: int) -> int:
        current = feature.copy()
        for t in range(10):
            logits = homogeneous @ np.append(current, 1)
            if logits.argmax() != label:
                return t
            p = np.exp(logits - logits.max())
            p /= p.sum()
            p[label] -= 1
            current = np.clip(current + 0.1 * rms * np.sign(w.T @ p), feature - rms, feature + rms)
        return 10

    def omega(k: int) -> float:
        x = 4 + 5 * (2 * k / 10 - 1)
        return {"tanh": (1 + tanh(x)) / 2, "sigmoid": 1 / (1 + exp(-x)), "linear": k / 10, "constant": 1.0}[kind]

    anchors = start * rms
    anchor_kappa = [kappa_of(anchors[j], j) for j in range(C)]
    kappa = [kappa_of(f[i], int(labels[i])) for i in range(40)]
    safe = [kappa[i] > anchor_kappa[labels[i]] for i in range(40)]
    assert 5 < sum(safe) < 35
    moved = anchors.copy()
    for j in range(C):
        of_class = [i for i in range(40) if labels[i] == j and safe[i]]
        mass = sum(omega(kappa[i]) for i in of_class)
        pull = sum((omega(kappa[i]) * (anchors[j] - f[i]) for i in of_class), np.zeros(D))
        moved[j] = anchors[j] - 0.1 * pull / (1 + mass)
    np.testing.assert_allclose(loss.anchors, moved, atol=1e-10)

    expected, gradient = 0.0, np.zeros_like(f)
    for i in range(40):
        logits = w @ f[i] + b
        p = np.exp(logits) / np.exp(logits).sum()
        expected -= log(p[labels[i]]) / 40
        p[labels[i]] -= 1
        gradient[i] += w.T @ p / 40
        if not safe[i]:
            weight = 1.0 if kind == "constant" else 1 - omega(kappa[i])
            away = f[i] - moved[labels[i]]
            expected += 0.5 * 0.5 * weight * (away @ away) / 40
            gradient[i] += 0.5 * weight * away / 40
    assert value.item() == pytest.approx(expected, abs=1e-10)
    assert features.grad is not None
    np.testing.assert_allclose(features.grad, gradient, atol=1e-10)


def test_safe_features_receive_no_gradient_from_gagl() -> None:
    """GAGL, equation (9): only swinging features are pulled."""
    head, features, labels = head_of(seed=7), random(40, D, seed=2).requires_grad_(), labels_of(40)
    loss = gagl(kind="constant", weight=1.0).eval()
    loss.mean_square.fill_(1.0)
    (with_gagl,) = torch.autograd.grad(joint(head, loss, features, labels), features)
    (alone,) = torch.autograd.grad(F.cross_entropy(head(features), labels), features)
    kappa = loss.attack(features, labels, head).kappa
    safe = is_safe(kappa, loss.attack(loss.anchors, torch.arange(C), head).kappa, labels)
    pulled = (with_gagl - alone).abs().amax(1) > 1e-12
    assert bool(safe.any())
    assert bool(pulled.any())
    assert torch.equal(pulled, ~safe)


def test_during_burn_in_only_cross_entropy_counts_and_the_anchors_stay_bit_identical() -> None:
    """GAGL, section 4.1: the first 30 epochs."""
    head, labels = head_of(), labels_of()
    loss = gagl(burn_in_epochs=30)
    before = loss.anchors.clone()
    for epoch in range(30):
        features = random(N, D, seed=epoch)
        torch.testing.assert_close(joint(head, loss, features, labels, epoch), F.cross_entropy(head(features), labels))
    assert torch.equal(loss.anchors, before)
    assert not bool(loss.anchors_placed)
    joint(head, loss, random(N, D), labels, 30)
    assert not torch.equal(loss.anchors, before)


@pytest.mark.parametrize("start", ["rms", "standard"])
def test_when_burn_in_ends_the_anchors_take_the_features_scale_unless_told_otherwise(start: Any) -> None:
    """GAGL, algorithm 2: the random A^0."""
    head = nn.Linear(D, C).double()
    torch.nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([0.0, -1.0, -1.0]))
    loss = gagl(burn_in_epochs=1, anchor_start=start)
    drawn = loss.anchors.clone()
    features = 100 * random(N, D)
    labels = torch.ones(N).long()  # all misclassified: kappa 0, so that no anchor moves
    joint(head, loss, features, labels, 0)
    joint(head, loss, features, labels, 1)
    rms = features.square().mean().sqrt()
    torch.testing.assert_close(loss.anchors, drawn * rms if start == "rms" else drawn)


def test_the_running_scale_follows_the_features_and_is_in_the_checkpoint() -> None:
    """GAGL, equation (3): gamma and epsilon are relative to it."""
    head, labels, loss = head_of(), labels_of(), gagl(burn_in_epochs=99)
    batches = [random(N, D, seed=1), 3 * random(N, D, seed=2), 5 * random(N, D, seed=3)]
    expected = float(batches[0].square().mean())
    joint(head, loss, batches[0], labels)
    for batch in batches[1:]:
        joint(head, loss, batch, labels)
        expected = 0.9 * expected + 0.1 * float(batch.square().mean())
    assert float(loss.mean_square) == pytest.approx(expected, abs=1e-12)
    assert set(loss.state_dict()) == {"anchors", "mean_square", "anchors_placed"}


def test_a_run_resumed_from_a_checkpoint_equals_one_never_stopped() -> None:
    """GAGL, algorithm 2: its whole state is in the buffers."""
    head, labels = head_of(seed=7), labels_of()

    def steps(loss: GAGL, epochs: range) -> None:
        for epoch in epochs:
            joint(head, loss, random(N, D, seed=epoch), labels, epoch)

    whole, first, second = gagl(burn_in_epochs=2), gagl(burn_in_epochs=2), gagl(burn_in_epochs=2, seed=9)
    steps(whole, range(8))
    steps(first, range(4))
    second.load_state_dict(first.state_dict())
    steps(second, range(4, 8))
    assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), second.buffers(), strict=True))


def test_validation_changes_nothing() -> None:
    """GAGL, algorithm 2 is for training."""
    head, labels, loss = head_of(), labels_of(), gagl()
    joint(head, loss, random(N, D), labels)
    state = {name: value.clone() for name, value in loss.state_dict().items()}
    joint(head, loss.eval(), random(N, D, seed=5), labels)
    with torch.inference_mode():
        joint(head, loss.train(), random(N, D, seed=6), labels)
    assert all(torch.equal(state[name], value) for name, value in loss.state_dict().items())


def test_absolute_step_and_radius_ignore_the_features_scale() -> None:
    """GAGL, equation (3): the literal option."""
    head, features, labels = head_of(seed=7), 10 * random(40, D, seed=2), labels_of(40)
    loss = gagl(scale="absolute", step_size=0.2, radius=3.0)
    joint(head, loss, features, labels)
    expected = fga_pgd(features, labels, head, step_size=0.2, radius=3.0).kappa
    assert torch.equal(loss.attack(features, labels, head).kappa, expected)
    assert not torch.equal(gagl(scale="rms").attack(features, labels, head).kappa, expected)


def test_the_papers_anchor_rule_stops_a_run_that_would_diverge() -> None:
    """GAGL, equation (8): alpha 1 diverges beyond a sum of omega of 2."""
    loss = gagl(anchor_rule="paper", rate=1.0, anchor_start="standard")
    loss.anchors.zero_()
    head = nn.Linear(D, C).double()
    with torch.no_grad():
        head.weight.copy_(torch.eye(C, D))
        head.bias.copy_(torch.tensor([-0.1, 0.0, 0.0]))  # at its anchor, 0, class 0 is misclassified
    features = torch.zeros(20, D).double()
    features[:, 0] = 5.0
    with pytest.raises(ValueError, match="diverges"):
        joint(head, loss, features, torch.zeros(20).long())


# --- what every loss must stand ---------------------------------------------------------------------------------------


def test_permuting_the_batch_changes_neither_loss_nor_anchors() -> None:
    """GAGL, equations (8) and (10)."""
    head, features, labels, order = head_of(seed=7), random(N, D), labels_of(), torch.randperm(N)
    one, other = gagl(), gagl()
    torch.testing.assert_close(joint(head, one, features, labels), joint(head, other, features[order], labels[order]))
    torch.testing.assert_close(one.anchors, other.anchors)


@pytest.mark.parametrize("epoch", [0, 1])
def test_ignored_patches_count_for_nothing_even_if_they_are_nan(epoch: int) -> None:
    """GAGL, equations (8) to (10)."""
    head, features, labels = head_of(seed=7), random(N, D), labels_of()
    ignore = torch.zeros(N).bool()
    ignore[[1, 4]] = True
    one, other = gagl(burn_in_epochs=1), gagl(burn_in_epochs=1)
    expected = joint(head, one, features[~ignore], labels[~ignore], epoch)
    spoilt = features.clone()
    spoilt[ignore] = torch.nan
    spoilt.requires_grad_()
    loss = joint(head, other, spoilt, labels, epoch, ignore=ignore)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(one.anchors, other.anchors)
    torch.testing.assert_close(one.mean_square, other.mean_square)
    (gradient,) = torch.autograd.grad(loss, spoilt)
    assert bool((gradient[ignore] == 0).all())
    assert bool((gradient[~ignore] != 0).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_computed_in_float32(dtype: torch.dtype) -> None:
    """GAGL, equation (9): within 1e-3 of float64 on the same rounded features, weights given."""
    rounded = random(N, D).to(dtype)
    labels, anchors, weights = labels_of(), random(C, D, seed=3), random(N, seed=4).sigmoid()
    half = gagl_loss(rounded, labels, anchors, weights)
    assert half.dtype == torch.float32
    exact = gagl_loss(rounded.double(), labels, anchors, weights)
    assert half.item() == pytest.approx(exact.item(), rel=1e-3)


def test_under_autocast_kappa_and_anchors_are_those_of_full_precision() -> None:
    """GAGL, algorithm 1 and equation (7)."""
    head, features, labels = head_of(seed=7).float(), random(200, D, dtype=torch.float32), labels_of(200)
    one, other = gagl().float(), gagl().float()
    logits = head(features)
    one(features, logits, labels, head, epoch=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        other(features, logits, labels, head, epoch=0)
    assert torch.equal(one.anchors, other.anchors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("saturated", [-50.0, 0.0, 50.0])
@pytest.mark.parametrize("rule", ["paper", "normalised"])
def test_batches_of_one_class_and_saturated_logits_are_finite(
    dtype: torch.dtype, label: int, saturated: float, rule: Any
) -> None:
    """GAGL, equation (10): no crack, all cracks, logits of +-50."""
    head = nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
        head.bias.zero_()
    loss = GAGL(classes=2, dimensions=2, burn_in_epochs=0, anchor_rule=rule)
    features = torch.full((6, 2), saturated, dtype=dtype)
    features[:, 0] = -saturated
    features.requires_grad_()
    value = loss(features, head(features.float()), torch.full((6,), label), head, epoch=0)
    torch.autograd.backward(value)
    assert features.grad is not None
    assert bool(value.isfinite())
    assert bool(features.grad.isfinite().all())
    assert bool(loss.anchors.isfinite().all())


def test_the_largest_intermediate_is_the_batch_of_features_and_anchors() -> None:
    """GAGL, algorithm 1: memory does not grow with the number of steps."""
    n, d = 256, 512
    head = nn.Linear(d, 2)
    features, labels = torch.randn(n, d).requires_grad_(), labels_of(n, 2)
    loss = GAGL(classes=2, dimensions=d, burn_in_epochs=0, steps=20)
    with LargestTensor() as largest:
        loss(features, head(features), labels, head, epoch=0).backward()
    assert largest.elements == (n + 2) * d


# --- data parallelism -------------------------------------------------------------------------------------------------

PARTS = (7, 5)


class Net(nn.Module):
    """Without BatchNorm, which sees only its own rank."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.body, self.head = nn.Linear(6, D), nn.Linear(D, C)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images).relu()
        return features, self.head(features)


def train(net: nn.Module, head: nn.Module, rows: slice) -> dict[str, Tensor]:
    loss = GAGL(classes=C, dimensions=D, burn_in_epochs=1, weight=0.5)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    for epoch in range(6):
        images = random(sum(PARTS), 6, seed=epoch, dtype=torch.float32)
        features, logits = net(images[rows])
        optimiser.zero_grad()
        loss(features, logits, labels_of(sum(PARTS))[rows], head, epoch=epoch).backward()
        optimiser.step()
    learnt = {str(i): parameter.detach() for i, parameter in enumerate(net.parameters())}
    return learnt | dict(loss.named_buffers())


def train_one_rank(rank: int, _processes: int, folder: Path) -> None:
    net = Net()
    rows = slice(0, PARTS[0]) if rank == 0 else slice(PARTS[0], sum(PARTS))
    torch.save(train(DistributedDataParallel(net), net.head, rows), folder / f"{rank}.pt")


def test_two_processes_with_half_a_batch_each_equal_one_with_the_whole(tmp_path: Path) -> None:
    """GAGL, equations (7) to (10): anchors, scale and weights after six steps, to 1e-6, with unequal parts."""
    run_in_processes(train_one_rank, tmp_path)
    net = Net()
    expected = train(net, net.head, slice(None))
    assert {"anchors", "mean_square"} < set(expected)
    assert float((expected["anchors"] - GAGL(classes=C, dimensions=D).anchors).abs().max()) > 0.01
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": 1}, {"weight": -1.0}, {"rate": 0.0}, {"steps": 0}, {"step_size": 0.0}, {"radius": -1.0},
        {"scale": "relative"}, {"projection": "none"}, {"kind": "cubic"}, {"anchor_rule": "free"},
        {"anchor_start": "zero"}, {"burn_in_epochs": -1}, {"rms_momentum": 0.0}, {"reduction": "max"},
    ],
    ids=str,
)  # fmt: skip
def test_a_parameter_out_of_its_range_is_refused_when_the_loss_is_made(wrong: dict[str, Any]) -> None:
    """GAGL: not at the first step."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        gagl(**wrong)


@pytest.mark.parametrize(
    ("features", "logits", "labels"),
    [((N, D + 1), (N, C), N), ((N, D), (N, C + 1), N), ((N, D), (N, C), N - 1), ((N, D, 1), (N, C), N)],
)
def test_shapes_that_do_not_fit_are_refused(features: tuple[int, ...], logits: tuple[int, ...], labels: int) -> None:
    """GAGL: broadcasting would hide it."""
    with pytest.raises(ValueError, match=r"features|logits"):
        gagl()(torch.zeros(features), torch.zeros(logits), torch.zeros(labels).long(), head_of(), epoch=0)
