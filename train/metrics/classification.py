"""Figures of patch classifiers, as the GAGL paper prints them (CVPR 2022, section 4.1 and figure 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from numpy.typing import NDArray

Attack: TypeAlias = Callable[[Any, Any], Any]
"""From features (N, D) and labels (N,) to the features after the attack (N, D)."""


def error_rate(predicted: ArrayLike, labels: ArrayLike) -> float | None:
    """Return ER, the share of patches put into the wrong class, [0, 1]; None of no patches.

    Args:
        predicted: (N,), classes.
        labels: (N,), true classes.

    Raises:
        ValueError: shapes differ (broadcasting would hide it).
    """
    got, want = np.asarray(predicted), np.asarray(labels)
    if got.shape != want.shape or got.ndim != 1:
        raise ValueError(f"predicted is {got.shape}, labels {want.shape}; give (N,) both")
    return float(np.mean(got != want)) if len(want) else None


def pgd_error_rate(
    features: ArrayLike, labels: ArrayLike, *, attack: Attack, classify: Callable[[Any], ArrayLike]
) -> float | None:
    """Return PGD-ER, the error rate on the features after an attack, [0, 1]; None of no patches.

    The class after the attack's last step decides. It does not follow from kappa, which is K both for a feature fooled
    by the last step and for one that never is. The paper attacks with 20 steps (PGD-20).

    Args:
        features: (N, D), handed to `attack` as they are.
        labels: (N,), true classes.
        attack: FGA-PGD with 20 steps and an epsilon above 20 gamma, else 20 steps reach no farther than 10.
        classify: from attacked features (N, D) to classes (N,).
    """
    return error_rate(classify(attack(features, labels)), labels)


def average_kappa(kappas: ArrayLike) -> float | None:
    """Return avg-kappa, the mean geometric distance of the classes' anchors (or centres), steps; None of no class.

    Args:
        kappas: (C,), steps that each class's anchor withstands, 0 to K.

    Raises:
        ValueError: a step count is negative.
    """
    values: NDArray[np.number] = np.asarray(kappas)
    if (values < 0).any():
        raise ValueError(f"kappa={values.min()} is negative; it counts steps, 0 to K")
    return float(values.mean()) if values.size else None
