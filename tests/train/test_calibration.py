"""Calibration finds the map that made probabilities wrong, and the exported graph holds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests.support.training import tiny_settings
from train.calibration import Calibration, fit_calibration, logit_levels, reliability, save_diagram
from train.checkpoint import load_checkpoint, save_slim
from train.fit import BEST, fit
from train.models.calibrated import Calibrated

LEVELS = logit_levels()


def pixels(
    true: Calibration, total: float = 1e5, mean: float = -2.0
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the histogram of a net whose logits mean what `true` says."""
    density = np.exp(-0.5 * ((LEVELS - mean) / 3) ** 2)
    crack = 1 / (1 + np.exp(-true.apply(LEVELS)))
    density *= total / density.sum()
    return np.stack([density * (1 - crack), density * crack], axis=1)


def test_a_line_is_what_logistic_regression_finds() -> None:
    counts = pixels(Calibration(scale=0.6, bias=-1.7))
    found = fit_calibration({"a": counts}, bends=False)
    twice, label = np.concatenate([LEVELS, LEVELS])[:, None], np.repeat([0, 1], len(LEVELS))
    other = LogisticRegression(C=1e9, tol=1e-8, max_iter=1000).fit(twice, label, sample_weight=counts.T.ravel())
    assert found.scale == pytest.approx(float(other.coef_[0, 0]), rel=1e-2)
    assert found.bias == pytest.approx(float(other.intercept_[0]), rel=1e-2)
    assert found.scale == pytest.approx(0.6, rel=1e-2)


def test_bends_follow_what_a_line_cannot() -> None:
    true = Calibration(scale=1.2, bias=-2.5, knots=(-4.0, -1.5, 0.5, 2.5), bends=(-0.7, 0.2, 0.4, -0.6))
    counts = {"a": pixels(true)}
    line, bent = (reliability(counts, fit_calibration(counts, bends=bends)) for bends in (False, True))
    assert bent.error < 0.001 < reliability(counts, None).error
    assert bent.crack_error < 0.3 * line.crack_error


def test_every_set_counts_alike() -> None:
    a, b = pixels(Calibration(scale=1, bias=-2)), pixels(Calibration(scale=1, bias=1))
    one, other = (fit_calibration(sets, bends=False) for sets in ({"a": a, "b": 1000 * b}, {"a": 5 * a, "b": b}))
    np.testing.assert_allclose(one.apply(LEVELS), other.apply(LEVELS), atol=1e-3)
    assert abs(one.bias - fit_calibration({"b": b}, bends=False).bias) > 0.5


def test_a_network_that_says_what_is_so_is_left_alone() -> None:
    found = fit_calibration({"a": pixels(Calibration(scale=1, bias=0))})
    assert np.abs(found.apply(LEVELS[60:200]) - LEVELS[60:200]).max() < 0.1


def test_no_crack_at_all_and_a_falling_line_are_refused() -> None:
    empty = pixels(Calibration(scale=1, bias=0)) * [1, 0]
    with pytest.raises(ValueError, match="of crack"):
        fit_calibration({"a": empty})
    with pytest.raises(ValueError, match="rises everywhere"):
        Calibration(scale=1, bias=0, knots=(0.0,), bends=(-1.5,))


def test_the_diagram_is_drawn(tmp_path: Path) -> None:
    save_diagram(tmp_path / "r.png", [("before", reliability({"a": pixels(Calibration(scale=1, bias=-1))}, None))], "t")
    assert (tmp_path / "r.png").stat().st_size > 5000


def test_the_module_is_the_map(photos: Path, tmp_path: Path) -> None:
    chosen = Calibration(scale=0.8, bias=-1.0, knots=(-1.0, 1.0), bends=(0.5, -0.4))
    fit(tiny_settings(photos, tmp_path / "run", optimiser={"epochs": 1, "steps_per_epoch": 2, "batch": 2}))
    before, passport = load_checkpoint(tmp_path / "run" / BEST)
    save_slim(tmp_path / "slim.ckpt", tmp_path / "run" / BEST, passport.model_copy(update={"calibration": chosen}))
    assert (tmp_path / "slim.ckpt").stat().st_size < 0.5 * (tmp_path / "run" / BEST).stat().st_size
    after, again = load_checkpoint(tmp_path / "slim.ckpt")
    assert isinstance(after, Calibrated)
    assert again.calibration == chosen
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted = chosen.apply(before(image).double().numpy())
        np.testing.assert_allclose(after(image).numpy(), wanted, atol=1e-5)
