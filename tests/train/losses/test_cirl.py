"""CIRL: Chen et al., "Mind Marginal Non-crack Regions", CVPR 2024."""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from tests.support.largest_tensor import LargestTensor
from tests.support.processes import run_in_processes
from tests.support.tensors import random
from train.losses.cirl import (
    CIRL,
    Phase,
    TwoPhaseSchedule,
    VarianceCalibration,
    ambiguous_region,
    aseg_loss,
    ci_loss,
    ci_term,
    frozen_copy,
    marginal_region,
    nearest_neighbours,
    squash_log_variance,
)

if TYPE_CHECKING:
    from pathlib import Path

LAM = 0.3


def truth(*shape: int, seed: int = 9) -> Tensor:
    return (random(*shape, seed=seed) > 0).double()


# --- equation (1) -----------------------------------------------------------------------------------------------------


def test_the_ring_of_a_straight_one_pixel_line_has_four_pixels_per_unit_length() -> None:
    """CIRL, equation (1), 5 x 5."""
    target = torch.zeros(1, 1, 64, 64)
    target[0, 0, 30, :] = 1
    assert int(marginal_region(target).sum()) == 4 * 64
    assert int(marginal_region(target.mT).sum()) == 4 * 64


@pytest.mark.parametrize("size", [3, 5, 7])
def test_the_marginal_region_is_opencvs_dilation_less_the_crack(size: int) -> None:
    """CIRL, equation (1), up to the image's border."""
    target = (random(3, 1, 40, 50) > 1.8).double()
    found = marginal_region(target, size=size)
    for image, ring in zip(target, found, strict=True):
        crack = image[0].numpy().astype(np.uint8)
        expected = cv2.dilate(crack, np.ones((size, size), np.uint8)) - crack
        np.testing.assert_array_equal(ring[0].numpy(), expected.astype(bool))


def test_ignored_pixels_are_neither_dilated_nor_marginal() -> None:
    """CIRL, equation (1)."""
    target = torch.zeros(1, 1, 20, 20)
    target[0, 0, 5, 5] = target[0, 0, 15, 15] = 1
    ignore = torch.zeros_like(target).bool()
    ignore[0, 0, :10, :10] = True
    ignore[0, 0, 14, 14] = True
    ring = marginal_region(target, ignore)
    assert int(ring.sum()) == 23
    assert not bool((ring & ignore).any())


def test_an_empty_and_a_full_truth_have_no_marginal_region() -> None:
    """CIRL, equation (1)."""
    assert not bool(marginal_region(torch.zeros(1, 1, 8, 8)).any())
    assert not bool(marginal_region(torch.ones(1, 1, 8, 8)).any())


# --- equations (3) to (7) ---------------------------------------------------------------------------------------------


def test_the_squared_wasserstein_distance_to_a_point_is_squared_error_plus_variance() -> None:
    """CIRL, equations (5) and (6), against the quantile coupling of a Gaussian with a point, sampled."""
    quantiles = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    for mean, deviation, label in [(0.2, 0.5, 1.0), (0.9, 0.05, 1.0), (0.4, 2.0, 0.0)]:
        sampled = np.mean((mean + deviation * quantiles - label) ** 2)
        assert sampled == pytest.approx((mean - label) ** 2 + deviation**2, rel=1e-4)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_aseg_equals_a_loop_over_its_equation(reduction: Any) -> None:
    """CIRL, equation (7): (e^2 + exp s) / (lambda + exp s)."""
    logits, s, target = random(2, 1, 4, 5), 2 * random(2, 1, 4, 5, seed=1), truth(2, 1, 4, 5)
    total = 0.0
    for z, log_variance, y in zip(logits.flatten().tolist(), s.flatten().tolist(), target.flatten(), strict=True):
        error = 1 / (1 + exp(-z)) - float(y)
        total += (error**2 + exp(log_variance)) / (LAM + exp(log_variance))
    found = aseg_loss(logits, s, target, reduction=reduction)
    assert found.item() == pytest.approx(total / (40 if reduction == "mean" else 1), abs=1e-10)


def test_asegs_gradient_by_the_variance_is_lambda_minus_squared_error_over_the_square() -> None:
    """CIRL, equation (3): df/dv = (lambda - e^2) / (lambda + v)^2, so df/ds = v df/dv."""
    logits, target = 3 * random(1, 1, 8, 8), truth(1, 1, 8, 8)
    s = random(1, 1, 8, 8, seed=1).requires_grad_()
    (found,) = torch.autograd.grad(aseg_loss(logits, s, target, lam=LAM, reduction="sum"), s)
    v, error = s.detach().exp(), logits.sigmoid() - target
    assert bool((error.square() > LAM).any())
    torch.testing.assert_close(found, v * (LAM - error.square()) / (LAM + v).square())


@pytest.mark.parametrize("error", [0.1, 0.5, 0.547, 0.549, 0.8, 0.99])
def test_asegs_infimum_over_the_variance_is_a_truncated_quadratic(error: float) -> None:
    """CIRL, equation (3): inf over v = min(e^2 / lambda, 1), approached towards v = 0 or infinity and nowhere else."""
    logit = torch.full((1, 1, 1, 1), log(error / (1 - error)), dtype=torch.float64)
    values = [
        aseg_loss(logit, torch.full_like(logit, s), torch.zeros_like(logit), lam=LAM).item() for s in range(-24, 25)
    ]
    assert values[0 if error**2 < LAM else -1] == pytest.approx(min(error**2 / LAM, 1), abs=1e-9)
    assert values == sorted(values, reverse=error**2 > LAM)


def test_asegs_gradient_passes_gradcheck_for_mean_and_variance() -> None:
    """CIRL, equation (7), float64, with an ignore mask and the squashed variance."""
    target, ignore = truth(2, 1, 4, 4), truth(2, 1, 4, 4, seed=3).bool()
    inputs = (random(2, 1, 4, 4).requires_grad_(), (3 * random(2, 1, 4, 4, seed=1)).requires_grad_())
    assert torch.autograd.gradcheck(lambda z, u: aseg_loss(z, squash_log_variance(u), target, ignore), inputs)


def test_the_log_variance_is_squashed_between_minus_seven_and_two_and_keeps_a_gradient() -> None:
    """CIRL, equation (7): s = -2.5 + 4.5 tanh(u / 4.5)."""
    raw = torch.tensor([-1000.0, -9, 0, 9, 1000], dtype=torch.float64, requires_grad=True)
    s = squash_log_variance(raw)
    expected = [-7, -2.5 + 4.5 * np.tanh(-2), -2.5, -2.5 + 4.5 * np.tanh(2), 2]
    np.testing.assert_allclose(s.detach(), expected, atol=1e-12)
    (slope,) = torch.autograd.grad(s.sum(), raw)
    np.testing.assert_allclose(slope[1:4], [1 / np.cosh(2) ** 2, 1, 1 / np.cosh(2) ** 2], atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("crack", [0, 1])
@pytest.mark.parametrize("saturated", [-50.0, 50.0])
@pytest.mark.parametrize("raw", [-1000.0, 0.0, 1000.0])
def test_aseg_is_finite_where_mean_and_unbounded_variance_are_saturated(
    dtype: torch.dtype, crack: int, saturated: float, raw: float
) -> None:
    """CIRL, equation (7): exp(1000) is infinite."""
    logits = torch.full((1, 1, 4, 4), saturated, dtype=dtype).requires_grad_()
    s = torch.full((1, 1, 4, 4), raw, dtype=dtype).requires_grad_()
    loss = aseg_loss(logits, s, torch.full((1, 1, 4, 4), float(crack)))
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert s.grad is not None
    assert bool(torch.stack([loss.isfinite(), logits.grad.isfinite().all(), s.grad.isfinite().all()]).all())


# --- equation (8) -----------------------------------------------------------------------------------------------------


def test_ambiguous_are_marginal_pixels_whose_variance_exceeds_gamma() -> None:
    """CIRL, equation (8): strictly above."""
    target = torch.zeros(1, 1, 9, 9).double()
    target[0, 0, 4] = 1
    variance = random(1, 1, 9, 9).exp()
    variance[0, 0, 3, 0] = 0.4
    found = ambiguous_region(variance.log(), target, threshold=0.4)
    for i in range(9):
        for j in range(9):
            marginal = i in (2, 3, 5, 6)
            near_tie = (i, j) == (3, 0)
            assert near_tie or bool(found[0, 0, i, j]) == (marginal and float(variance[0, 0, i, j]) > 0.4)
    assert not bool(ambiguous_region(torch.zeros(1, 1, 9, 9), target, threshold=1.0).any())
    assert int(ambiguous_region(torch.zeros(1, 1, 9, 9), target, threshold=0.999).sum()) == 36


# --- equations (9) to (15) --------------------------------------------------------------------------------------------


def loop_ci(p: Any, directions: Any, k: int, *, constant: bool) -> float:
    """Equations (13) and (15), pixel by pixel, with the sums written out."""
    n = len(p)
    vectors = [np.array([value, 1 - value]) for value in p]
    total = 0.0
    for m in range(n):
        others = [q for q in range(n) if q != m]
        similarity = {
            q: directions[m] @ directions[q] / np.linalg.norm(directions[m]) / np.linalg.norm(directions[q])
            for q in others
        }
        near = sorted(others, key=lambda q: -similarity[q])[:k]
        far = [q for q in others if q not in near]
        psi = -sum(vectors[m] @ vectors[q] for q in near)
        psi += len(near) / len(far) * sum(vectors[m] @ vectors[q] for q in far)
        if constant:
            psi += (len(near) - len(far)) * log(n)
        total += psi
    return total / n


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("n", "k", "chunk"), [(5, 3, 1024), (30, 4, 7), (40, 20, 40)])
def test_ci_equals_a_loop_over_equation_13(n: int, k: int, chunk: int, constant: bool) -> None:  # noqa: FBT001
    """CIRL, equations (9), (13) and (15), also in chunks and with a single farther pixel."""
    features, logits = random(1, 6, 8, 8), random(1, 1, 8, 8, seed=1)
    ambiguous = torch.zeros(64).bool()
    at = torch.randperm(64, generator=torch.Generator().manual_seed(2))[:n]
    ambiguous[at] = True
    ambiguous = ambiguous.reshape(1, 1, 8, 8)
    found = ci_loss(features, logits, ambiguous, neighbours=k, constant=constant, chunk=chunk)
    mask = ambiguous[0, 0].numpy()
    expected = loop_ci(logits[0, 0].sigmoid().numpy()[mask], features[0].numpy()[:, mask].T, k, constant=constant)
    assert found.item() == pytest.approx(expected, abs=1e-10)


def test_several_images_are_averaged_and_those_with_too_few_ambiguous_pixels_skipped() -> None:
    """CIRL, equation (15): each image has its own set S; with |S| <= K + 1 no farther set O is left."""
    features, logits = random(3, 6, 8, 8), random(3, 1, 8, 8, seed=1)
    ambiguous = truth(3, 1, 8, 8).bool()
    ambiguous[1] = False
    ambiguous[1, 0, 0, :5] = True
    one, three = (ci_loss(features[i : i + 1], logits[i : i + 1], ambiguous[i : i + 1], neighbours=4) for i in (0, 2))
    assert float(ci_loss(features[1:2], logits[1:2], ambiguous[1:2], neighbours=4)) == 0
    for reduction, expected in (("mean", (one + three) / 2), ("sum", one + three)):
        found = ci_loss(features, logits, ambiguous, neighbours=4, reduction=reduction)  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected)


def test_the_jensen_step_holds_for_random_probabilities() -> None:
    """CIRL, equation (14), first inequality, |O| > |C|. Its last line, mean over S for mean over O, is no bound."""
    generator = np.random.default_rng(0)
    beyond = 0
    for _ in range(200):
        n, k = int(generator.integers(12, 60)), int(generator.integers(1, 5))
        p = generator.random(n)
        vectors = np.stack([p, 1 - p], axis=1)
        products = vectors @ vectors[0]
        near, far = np.arange(1, k + 1), np.arange(k + 1, n)
        exact = -products[near].sum() + products[far].sum() + (k - len(far)) * np.log(np.exp(products).sum())
        jensen = -products[near].sum() + products[far].sum() + (k - len(far)) * (products.mean() + np.log(n))
        last = -products[near].sum() + k / len(far) * products[far].sum() + (k - len(far)) * np.log(n)
        assert exact <= jensen + 1e-12
        beyond += exact > last
    assert beyond > 0


def test_ci_lies_between_minus_k_and_k_and_is_zero_where_all_predictions_agree() -> None:
    """CIRL, equation (13) without its constant: |C| (mean over O - mean over C) of p.p'."""
    neighbours = nearest_neighbours(random(40, 6), 5)
    for seed in range(20):
        assert abs(ci_term((5 * random(40, seed=seed)).sigmoid(), neighbours).item()) <= 5
    for p in (0.0, 0.3, 1.0):
        assert ci_term(torch.full((40,), p).double(), neighbours).item() == pytest.approx(0, abs=1e-12)


def test_ci_rewards_clusters_that_agree_within_and_differ_between() -> None:
    """CIRL, section 3.3: close neighbours consistent, farther features inconsistent."""
    features = torch.cat([random(10, 6) + 20, random(10, 6) - 20])
    neighbours = nearest_neighbours(features, 5)
    split = torch.cat([torch.ones(10), torch.zeros(10)]).double()
    mixed = torch.tensor([0.0, 1.0] * 10).double()
    assert ci_term(split, neighbours).item() == pytest.approx(-5 * (1 - 4 / 14))
    assert ci_term(split, neighbours) < ci_term(mixed, neighbours)


def test_cis_gradient_passes_gradcheck_and_both_pixels_of_a_pair_receive_it() -> None:
    """CIRL, equation (15), float64, neighbours given."""
    features, ambiguous = random(2, 6, 4, 4), truth(2, 1, 4, 4).bool()
    assert int(ambiguous[0].sum()) >= 5
    logits = random(2, 1, 4, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: ci_loss(features, z, ambiguous, neighbours=3), (logits,))


def test_ci_has_no_gradient_outside_the_ambiguous_region_nor_for_the_features() -> None:
    """CIRL, equation (15): S is all there is, and neighbours are found on constants."""
    features, ambiguous = random(2, 6, 8, 8).requires_grad_(), truth(2, 1, 8, 8).bool()
    logits = random(2, 1, 8, 8, seed=1).requires_grad_()
    torch.autograd.backward(ci_loss(features, logits, ambiguous, neighbours=4))
    assert features.grad is None
    assert logits.grad is not None
    assert torch.equal(logits.grad != 0, ambiguous)


def test_without_ambiguous_pixels_ci_is_zero_with_a_gradient_of_zeros() -> None:
    """CIRL, equation (15): a batch of clean surfaces."""
    logits = random(1, 1, 8, 8).requires_grad_()
    loss = ci_loss(random(1, 6, 8, 8), logits, torch.zeros(1, 1, 8, 8).bool())
    torch.autograd.backward(loss)
    assert loss.item() == 0
    assert logits.grad is not None
    assert not bool(logits.grad.any())


def test_neighbours_are_the_nearest_by_cosine_and_never_the_pixel_itself() -> None:
    """CIRL, the set C_m of equation (10): length does not count."""
    features = torch.tensor([[1.0, 0], [100, 1], [1, 0.1], [0, 5], [0.1, 1]])
    assert nearest_neighbours(features, 1)[:, 0].tolist() == [1, 0, 1, 4, 3]
    same = torch.ones(6, 3)
    assert all(m not in found for m, found in enumerate(nearest_neighbours(same, 3, chunk=2).tolist()))


@pytest.mark.parametrize("chunk", [1, 7, 50, 99])
def test_neighbours_do_not_depend_on_the_chunk(chunk: int) -> None:
    """CIRL, equation (10)."""
    features = random(99, 6)
    torch.testing.assert_close(
        nearest_neighbours(features, 5, chunk=chunk).sort(1).values, nearest_neighbours(features, 5).sort(1).values
    )


def test_more_pixels_than_the_limit_are_sampled_by_the_given_generator() -> None:
    """CIRL, equation (15), at most max_pixels per image: deterministic, spread over the region, close to the whole."""
    features, logits = random(1, 6, 64, 64), random(1, 1, 64, 64, seed=1).requires_grad_()
    ambiguous = torch.ones(1, 1, 64, 64).bool()

    def sampled(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        (gradient,) = torch.autograd.grad(
            ci_loss(features, logits, ambiguous, max_pixels=500, generator=generator), logits
        )
        return gradient

    assert int((sampled(1) != 0).sum()) == 500
    assert torch.equal(sampled(1), sampled(1))
    assert not torch.equal(sampled(1), sampled(2))
    rows = (sampled(1) != 0)[0, 0].any(1)
    assert int(rows.sum()) > 60


def test_ci_needs_no_matrix_of_all_pairs_and_no_copy_of_the_feature_map() -> None:
    """CIRL, equation (15): the largest tensor is max(chunk n, n D, 2 n K, N H W), in either memory format."""
    height, width, dimensions, k, limit, chunk = 96, 96, 16, 20, 4096, 256
    features = random(1, dimensions, height, width, dtype=torch.float32)
    logits = random(1, 1, height, width, dtype=torch.float32).requires_grad_()
    ambiguous = torch.ones(1, 1, height, width).bool()
    for given in (features, features.contiguous(memory_format=torch.channels_last)):
        with LargestTensor() as largest:
            loss = ci_loss(given, logits, ambiguous, neighbours=k, max_pixels=limit, chunk=chunk)
            torch.autograd.backward(loss)
        bound = max(chunk * limit, limit * dimensions, 2 * limit * k, height * width)
        assert largest.elements == bound
        assert bound < limit * limit // 15


# --- equation (16), the two phases ------------------------------------------------------------------------------------


def test_the_schedule_warms_up_learns_the_variance_and_then_clusters() -> None:
    """CIRL, section 4.1: 1000 + 1000 epochs; cross-entropy for the first tenth of phase 1."""
    schedule = TwoPhaseSchedule()
    assert schedule.total == 2000
    phases = [schedule.phase(epoch) for epoch in range(2001)]
    assert phases == [Phase.WARM_UP] * 100 + [Phase.ASEG] * 900 + [Phase.CI] * 1001
    assert [epoch for epoch in range(2000) if schedule.freezes_at(epoch)] == [1000]
    assert TwoPhaseSchedule(first=3, second=1, warm_up_share=0).phase(0) is Phase.ASEG
    assert [TwoPhaseSchedule(first=3, second=1).phase(at) for at in range(4)] == [
        Phase.WARM_UP, Phase.ASEG, Phase.ASEG, Phase.CI,
    ]  # fmt: skip


def test_the_total_is_cross_entropy_outside_the_ambiguous_region_plus_beta_ci() -> None:
    """CIRL, equation (16), by numpy."""
    loss = CIRL(neighbours=4, weight=0.2)
    features, logits, target = random(2, 6, 8, 8), random(2, 1, 8, 8, seed=1), truth(2, 1, 8, 8)
    ambiguous = truth(2, 1, 8, 8, seed=4).bool()
    found = loss(logits, target, phase=Phase.CI, features=features, ambiguous=ambiguous)
    p, y, a = logits.sigmoid().numpy(), target.numpy(), ambiguous.numpy()
    cross_entropy = np.mean(-np.log(np.where(y == 1, p, 1 - p))[~a])
    ci = np.mean([loop_ci(p[i, 0][a[i, 0]], features[i].numpy()[:, a[i, 0]].T, 4, constant=False) for i in range(2)])
    assert found.item() == pytest.approx(cross_entropy + 0.2 * ci, abs=1e-10)


def test_labels_of_ambiguous_pixels_do_not_matter_in_phase_2() -> None:
    """CIRL, equation (16): they are clustered without labels."""
    loss, ambiguous = CIRL(neighbours=4), truth(1, 1, 8, 8, seed=4).bool()
    features, logits, target = random(1, 6, 8, 8), random(1, 1, 8, 8, seed=1), truth(1, 1, 8, 8)
    flipped = torch.where(ambiguous, 1 - target, target)
    given: dict[str, Any] = {"phase": Phase.CI, "features": features, "ambiguous": ambiguous}
    assert torch.equal(loss(logits, target, **given), loss(logits, flipped, **given))


def test_warming_up_teaches_the_mean_and_leaves_the_variance() -> None:
    """CIRL, equation (7) comes after cross-entropy alone."""
    logits, target = random(1, 1, 8, 8).requires_grad_(), truth(1, 1, 8, 8)
    raw = random(1, 1, 8, 8, seed=1).requires_grad_()
    loss = CIRL()(logits, target, phase=Phase.WARM_UP, raw_log_variance=raw)
    torch.testing.assert_close(loss, nn.functional.binary_cross_entropy_with_logits(logits, target))
    torch.autograd.backward(loss)
    assert raw.grad is None


@pytest.mark.parametrize("bounded", [True, False])
def test_phase_1_and_the_ambiguous_region_read_the_same_variance(bounded: bool) -> None:  # noqa: FBT001
    """CIRL, equations (7) and (8), squashed or not."""
    loss = CIRL(bounded=bounded, lam=0.2, threshold=0.1)
    logits, raw, target = random(1, 1, 8, 8), 3 * random(1, 1, 8, 8, seed=1), (random(1, 1, 8, 8, seed=2) > 1).double()
    s = squash_log_variance(raw) if bounded else raw
    found = loss(logits, target, phase=Phase.ASEG, raw_log_variance=raw)
    torch.testing.assert_close(found, aseg_loss(logits, s, target, lam=0.2))
    expected = marginal_region(target) & (s > log(0.1))
    assert torch.equal(loss.ambiguous(raw, target), expected)


def test_a_phase_without_what_it_needs_is_refused() -> None:
    """CIRL, section 3."""
    zeros = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match="raw_log_variance"):
        CIRL()(zeros, zeros, phase=Phase.ASEG)
    with pytest.raises(ValueError, match="frozen phase-1 network"):
        CIRL()(zeros, zeros, phase=Phase.CI, features=torch.zeros(1, 4, 8, 8))


def test_a_frozen_copy_neither_learns_nor_follows_the_original() -> None:
    """CIRL, equation (8): A comes from the network as phase 1 left it."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    frozen = frozen_copy(network)
    image = random(2, 1, 8, 8, dtype=torch.float32)
    before = frozen(image)
    network(image).sum().backward()
    with torch.no_grad():
        network[0].weight.add_(1)  # type: ignore[operator]
    assert torch.equal(frozen(image), before)
    assert not frozen.training
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.training


# --- what every loss must stand ---------------------------------------------------------------------------------------


def of_phase(phase: Phase, logits: Tensor, target: Tensor, ignore: Tensor | None = None, seed: int = 0) -> Tensor:
    n, _, height, width = logits.shape
    result: Tensor = CIRL(neighbours=4)(
        logits,
        target,
        ignore,
        phase=phase,
        raw_log_variance=random(n, 1, height, width, seed=seed + 5),
        features=random(n, 6, height, width, seed=seed + 6),
        ambiguous=truth(n, 1, height, width, seed=seed + 7).bool(),
    )
    return result


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("how", ["batch", "left-right", "up-down"])
def test_permuting_the_batch_and_flipping_leave_the_loss(phase: Phase, how: str) -> None:
    """CIRL, equations (7) and (16)."""
    dimension = {"batch": 0, "up-down": 2, "left-right": 3}[how]

    def turned(values: Tensor) -> Tensor:
        return values.flip(dimension)

    maps = [random(3, c, 8, 8, seed=c) for c in (1, 1, 6)]
    target, ambiguous = truth(3, 1, 8, 8), truth(3, 1, 8, 8, seed=7).bool()
    values = []
    for turn in (torch.clone, turned):
        logits, raw, features = (turn(t) for t in maps)
        values.append(
            CIRL(neighbours=4)(
                logits, turn(target), phase=phase, raw_log_variance=raw, features=features, ambiguous=turn(ambiguous)
            )
        )
    torch.testing.assert_close(values[0], values[1])


@pytest.mark.parametrize("phase", list(Phase))
def test_ignored_pixels_have_no_gradient_and_no_say(phase: Phase) -> None:
    """CIRL, equations (7) and (16)."""
    ignore, target = truth(2, 1, 8, 8, seed=3).bool(), truth(2, 1, 8, 8)
    logits = random(2, 1, 8, 8).requires_grad_()
    loss = of_phase(phase, logits, target, ignore)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.equal(gradient == 0, ignore)
    spoilt = logits.detach().masked_fill(ignore, torch.nan)
    torch.testing.assert_close(of_phase(phase, spoilt, torch.where(ignore, 1 - target, target), ignore), loss)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(phase: Phase, dtype: torch.dtype) -> None:
    """CIRL, within 1e-3 of float64 on the same rounded logits, with mask and neighbours given."""
    rounded, target = random(2, 1, 8, 8).to(dtype), truth(2, 1, 8, 8)
    half = of_phase(phase, rounded, target)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(of_phase(phase, rounded.double(), target).item(), rel=1e-3)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("crack", [0.0, 1.0])
@pytest.mark.parametrize("saturated", [-50.0, 50.0])
def test_batches_of_one_class_and_saturated_logits_are_finite(
    phase: Phase, dtype: torch.dtype, crack: float, saturated: float
) -> None:
    """CIRL, equations (7) and (16): no crack, all crack, logits of +-50."""
    logits = torch.full((2, 1, 8, 8), saturated, dtype=dtype).requires_grad_()
    loss = of_phase(phase, logits, torch.full((2, 1, 8, 8), crack))
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert bool(loss.isfinite())
    assert bool(logits.grad.isfinite().all())


def both_phases(rows: slice) -> list[Tensor]:
    """The gradient of each phase's loss by its maps, for some images of a batch of three."""
    found = []
    for phase in Phase:
        logits, raw = random(3, 1, 8, 8)[rows].requires_grad_(), random(3, 1, 8, 8, seed=5)[rows].requires_grad_()
        ambiguous = truth(3, 1, 8, 8, seed=7).bool()
        ambiguous[0] = False  # an image without ambiguity, alone on its rank
        loss = CIRL(neighbours=4)(
            logits,
            truth(3, 1, 8, 8)[rows],
            phase=phase,
            raw_log_variance=raw,
            features=random(3, 6, 8, 8, seed=6)[rows],
            ambiguous=ambiguous[rows],
        )
        torch.autograd.backward(loss)
        found.append(loss.detach())
        found += [map_.grad for map_ in (logits, raw) if map_.grad is not None]
    return found


def one_rank(rank: int, processes: int, folder: Path) -> None:
    found = both_phases(slice(0, 1) if rank == 0 else slice(1, 3))
    torch.save([value / processes if value.ndim else value for value in found], folder / f"{rank}.pt")


def test_two_processes_with_parts_of_a_batch_equal_one_with_the_whole(tmp_path: Path) -> None:
    """CIRL, equations (7) and (16): means over all ranks' pixels and images; gradients averaged as DDP does."""
    run_in_processes(one_rank, tmp_path)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for expected, *found in zip(both_phases(slice(None)), *parts, strict=True):
        if expected.ndim == 0:
            for value in found:
                torch.testing.assert_close(value, expected, atol=1e-6, rtol=0)
        else:
            torch.testing.assert_close(torch.cat(found), expected, atol=1e-6, rtol=0)


# --- recalibration ----------------------------------------------------------------------------------------------------


def test_a_recalibrated_variance_is_the_mean_squared_error_it_stands_for() -> None:
    """CIRL's variance is not calibrated; isotonic regression makes it so: 30 000 pixels, held-out error within 0.01."""
    generator = np.random.default_rng(0)

    def pixels(n: int) -> tuple[Any, Any]:
        expected = generator.random(n) * 0.3
        return np.exp(20 * expected - 4), expected * generator.exponential(size=n)  # a bent, but rising, reading

    calibration = VarianceCalibration.fit(*pixels(30_000))
    variance, squared_error = pixels(30_000)
    calibrated = calibration(variance)
    for low in np.arange(0.02, 0.28, 0.05):
        of_bin = (calibrated >= low) & (calibrated < low + 0.05)
        assert np.mean(calibrated[of_bin]) == pytest.approx(np.mean(squared_error[of_bin]), abs=0.01)


def test_a_calibration_is_monotone_keeps_the_mean_and_survives_storage() -> None:
    """Isotonic regression: its fit has the data's mean; the breakpoints are all of it."""
    generator = np.random.default_rng(1)
    variance, squared_error = generator.random(500), generator.random(500) ** 2
    calibration = VarianceCalibration.fit(variance, squared_error)
    assert np.mean(calibration(variance)) == pytest.approx(np.mean(squared_error))
    grid = np.linspace(-1, 2, 1001).reshape(7, 143)
    assert np.all(np.diff(calibration(grid).ravel()) >= 0)
    again = VarianceCalibration.model_validate_json(calibration.model_dump_json())
    np.testing.assert_array_equal(again(grid), calibration(grid))


@pytest.mark.parametrize(
    ("variance", "calibrated"),
    [((), ()), ((1.0,), (1.0, 2.0)), ((1.0, 1.0), (0.0, 1.0)), ((1.0, 2.0), (0.5, 0.4))],
)
def test_a_calibration_that_falls_or_is_empty_is_refused(variance: Any, calibrated: Any) -> None:
    with pytest.raises(ValueError, match=r"as many|must rise"):
        VarianceCalibration(variance=variance, calibrated=calibrated)


@pytest.mark.parametrize("value", [0.05, 2.0])
def test_one_pixel_is_enough_to_calibrate_to_a_constant(value: float) -> None:
    calibration = VarianceCalibration.fit(np.array([0.5]), np.array([0.2]))
    assert calibration(np.array(value)) == pytest.approx(0.2)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"lam": 0.0}, {"threshold": 0.0}, {"neighbours": 0}, {"weight": -1.0}, {"size": 4}, {"max_pixels": 21},
        {"first": 0}, {"second": -1}, {"warm_up_share": 1.5}, {"reduction": "max"},
    ],
    ids=str,
)  # fmt: skip
def test_a_parameter_out_of_its_range_is_refused_when_the_loss_is_made(wrong: dict[str, Any]) -> None:
    """CIRL: not at the first step."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CIRL(**wrong)


def test_maps_that_do_not_fit_are_refused() -> None:
    """CIRL: features must be at the logits' size; broadcasting would hide the rest."""
    zeros = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match=r"need \(N, D, H, W\)"):
        ci_loss(torch.zeros(1, 4, 4, 4), zeros, zeros.bool())
    with pytest.raises(ValueError, match="must be equal"):
        aseg_loss(zeros, torch.zeros(1, 1, 1, 1), zeros)
    with pytest.raises(ValueError, match="not as target"):
        ambiguous_region(torch.zeros(1, 1, 1, 1), zeros)


# --- learning ---------------------------------------------------------------------------------------------------------


class TwoHeads(nn.Module):
    """Features, logits and the raw log-variance from a linear layer each, figure 3."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.segmenter, self.variance = nn.Conv2d(8, 1, 1), nn.Conv2d(8, 1, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.body(images)
        return features, self.segmenter(features), self.variance(features)


def rendered(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images with one dark line of 3 px, labels that mark 1 px of it in every third image, and the true line."""
    generator = np.random.default_rng(seed)
    images = generator.normal(0.6, 0.15, (n, 32, 32)).astype(np.float32)
    labels, cracks = np.zeros_like(images), np.zeros_like(images)
    for i in range(n):
        start = generator.integers(4, 14, 2)
        end = start + generator.integers(8, 16, 2)
        for mask, width in ((cracks[i], 3), (labels[i], 1 if i % 3 == 0 else 3)):
            cv2.line(mask, start.tolist(), end.tolist(), 1.0, width)
        images[i] -= 0.6 * cracks[i]
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels)[:, None], torch.from_numpy(cracks)[:, None]


def f1(net: nn.Module, images: Tensor, truth_of_images: Tensor) -> float:
    with torch.no_grad():
        found = net(images)[1] > 0
    return 2 * int((found & (truth_of_images > 0)).sum()) / int(found.sum() + truth_of_images.sum())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_tiny_net_finds_the_cracks_and_where_their_labels_are_too_thin(seed: int) -> None:
    """CIRL, both phases, 160 + 60 steps, F1 on unseen images against the true cracks.

    Phase 1 reaches 0.9, and the ambiguous region is the crack that labels leave out. Phase 2 stays above 0.6 only: the
    CI loss splits the region in two and cannot know which side is crack. Lambda is 0.1, since a calibrated mean has an
    expected squared error p (1 - p) of at most 1/4: with the paper's 0.3 only overfitted pixels become ambiguous.
    """
    torch.manual_seed(seed)
    images, labels, cracks = rendered(12, seed)
    unseen, _, truth_of_unseen = rendered(12, seed + 50)
    net, loss = TwoHeads(), CIRL(lam=0.1, first=160, second=60, warm_up_share=0.5)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    ambiguous = torch.zeros_like(labels).bool()
    for step in range(loss.schedule.total):
        if loss.schedule.freezes_at(step):
            assert f1(net, unseen, truth_of_unseen) >= 0.9
            ambiguous = loss.ambiguous(frozen_copy(net)(images)[2], labels)
        features, logits, raw = net(images)
        phase = loss.schedule.phase(step)
        value = loss(logits, labels, phase=phase, raw_log_variance=raw, features=features, ambiguous=ambiguous)
        optimiser.zero_grad()
        torch.autograd.backward(value)
        optimiser.step()
    unlabelled = (cracks > 0) & (labels == 0)
    assert int((ambiguous & unlabelled).sum()) >= 0.9 * int((ambiguous | unlabelled).sum())
    assert f1(net, unseen, truth_of_unseen) >= 0.6


@pytest.mark.parametrize("p", [0.01, 0.2, 0.5, 0.8])
def test_where_the_mean_is_calibrated_the_papers_lambda_calls_nothing_ambiguous(p: float) -> None:
    """CIRL, equation (3): the expected squared error, p (1 - p) <= 1/4, is below lambda = 0.3, so v = 0 is best."""
    logit = torch.full((1, 1, 1, 1), log(p / (1 - p)), dtype=torch.float64)

    def expected(s: float, lam: float) -> float:
        of_label = [
            aseg_loss(logit, torch.full_like(logit, s), torch.full_like(logit, y), lam=lam).item() for y in (0, 1)
        ]
        return (1 - p) * of_label[0] + p * of_label[1]

    values = [expected(s, 0.3) for s in range(-10, 11)]
    assert values == sorted(values)
    assert (expected(10, 0.1) < expected(-10, 0.1)) == (p * (1 - p) > 0.1)
