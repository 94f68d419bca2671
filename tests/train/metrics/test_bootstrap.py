from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from train.metrics.bootstrap import Estimate, estimate, mean_of
from train.metrics.pixels import STRICT
from train.metrics.tally import PixelTally


def test_the_interval_of_a_mean_is_the_known_normal_one() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    got = mean_of(values, np.ones(400, bool), resamples=4000)
    half = 1.96 * values.std() / 20
    assert got.value == pytest.approx(values.mean())
    assert (got.low, got.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_the_interval_agrees_with_scipys_bootstrap_of_pooled_f1() -> None:
    rng = np.random.default_rng(3)
    cases = [(rng.integers(0, 256, (8, 8), np.uint8), rng.random((8, 8)) < rng.uniform(0.1, 0.7)) for _ in range(40)]
    tally = PixelTally((STRICT,))
    for probability, truth in cases:
        tally.update(probability, truth)
    got = tally.compute(resamples=4000)["strict.f1"]
    both = np.array([((p >= 128) & t).sum() for p, t in cases])
    either = np.array([(p >= 128).sum() + t.sum() for p, t in cases])
    oracle = stats.bootstrap(
        (both, either),
        lambda b, e, axis: 2 * b.sum(axis) / e.sum(axis),
        paired=True, n_resamples=4000, method="percentile", rng=np.random.default_rng(4),
    ).confidence_interval  # fmt: skip
    assert (got.low, got.high) == pytest.approx((oracle.low, oracle.high), abs=0.005)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        got = mean_of(rng.normal(1, 1, 50), np.ones(50, bool), resamples=300, seed=seed)
        assert got.low is not None
        assert got.high is not None
        covered += got.low <= 1 <= got.high
    assert 0.89 <= covered / 200 <= 0.99


def test_a_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).normal(size=30)
    first, again, other = (mean_of(values, np.ones(30, bool), resamples=200, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_images_that_are_alike_may_be_given_once_with_their_number() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])
    times = np.array([30, 70])
    got = estimate(rows, lambda s: s[:, 0] / s.sum(1), times=times, resamples=4000)
    low, high = stats.binom.ppf([0.025, 0.975], 100, 0.3) / 100
    assert got.value == pytest.approx(0.3)
    assert (got.low, got.high) == pytest.approx((low, high), abs=0.011)


def test_one_image_or_no_resamples_give_no_interval() -> None:
    assert mean_of(np.array([0.5]), np.array([True]), resamples=100) == Estimate(value=0.5)
    assert mean_of(np.array([0.5, 0.7]), np.array([True, True])) == Estimate(value=0.6)


def test_resamples_without_a_single_counted_image_are_left_out() -> None:
    got = mean_of(np.array([0.5, 9.0, 9.0]), np.array([True, False, False]), resamples=200)
    assert got == Estimate(value=0.5, low=0.5, high=0.5)
    assert mean_of(np.array([9.0]), np.array([False]), resamples=200) == Estimate(value=None)
