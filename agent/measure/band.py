"""A blurred dark band, fitted to profiles across cracks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contract.arrays import Float64

ITERATIONS: Final = 25
SETTLED: Final = 1e-4  # share of the misfit that a step gains
MAX_DAMPING: Final = 1e6
MIN_BLUR_PX: Final = 0.2
MIN_WIDTH_PX: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bands:
    """The best fit to each of M profiles."""

    depth: Float64  # (M,) darkness of the unblurred band against the surface
    depth_error: Float64  # (M,) its standard error, as the profile's misfit tells
    width_px: Float64  # (M,)
    blur_px: Float64  # (M,) standard deviation of the blur


def fit_bands(profiles: Float64, step_px: Float64) -> Bands:
    """Fit depth, width, centre, blur and a constant to each profile (Levenberg-Marquardt, all profiles at once).

    Args:
        profiles: (M, S) darkness across the crack, 0 on the surface.
        step_px: (M,) from one sample to the next.
    """
    count, samples = profiles.shape
    t = (np.arange(samples) - (samples - 1) / 2) * step_px[:, None]
    peak = np.maximum(profiles.max(axis=1), 1e-6)
    width = np.clip(profiles.sum(axis=1) * step_px / peak, 0.5, None)
    theta = np.stack([peak, width, np.zeros(count), np.minimum(1.0, width / 2), np.zeros(count)], axis=1)
    damping = np.full(count, 1e-2)
    model, jacobian = _band(t, theta)
    cost = np.square(profiles - model).sum(axis=1)
    for _ in range(ITERATIONS):
        normal = np.einsum("msi,msj->mij", jacobian, jacobian)
        slope = np.einsum("msi,ms->mi", jacobian, profiles - model)
        diagonal = np.einsum("mii->mi", normal)
        damped = normal + np.eye(5) * (damping[:, None] * diagonal + 1e-12)[:, None, :]
        trial = theta + np.linalg.solve(damped, slope[..., None])[..., 0]
        trial[:, 1] = np.clip(trial[:, 1], MIN_WIDTH_PX, None)
        trial[:, 3] = np.clip(trial[:, 3], MIN_BLUR_PX, None)
        trial_model, trial_jacobian = _band(t, trial)
        trial_cost = np.square(profiles - trial_model).sum(axis=1)
        better = trial_cost < cost
        settled = cost - trial_cost < SETTLED * cost  # also where the step went wrong
        damping = np.where(better, damping / 5, damping * 5)
        cost = np.where(better, trial_cost, cost)
        theta[better], model[better], jacobian[better] = trial[better], trial_model[better], trial_jacobian[better]
        if (settled & better | (damping > MAX_DAMPING)).all():
            break
    normal = np.einsum("msi,msj->mij", jacobian, jacobian) + np.eye(5) * 1e-12
    # Samples closer than a px repeat each other, so their count says too much.
    variance = cost / (samples - 5) / np.minimum(step_px, 1)
    error = np.sqrt(variance * np.linalg.inv(normal)[:, 0, 0])
    return Bands(depth=theta[:, 0], depth_error=error, width_px=theta[:, 1], blur_px=theta[:, 3])


def _band(t: Float64, theta: Float64) -> tuple[Float64, Float64]:
    """Return the model (M, S) and its derivatives (M, S, 5) by depth, width, centre, blur and constant."""
    depth, width, centre, blur, constant = (theta[:, k, None] for k in range(5))
    scale = math.sqrt(2) * blur
    left, right = (t - centre + width / 2) / scale, (t - centre - width / 2) / scale
    bell_left, bell_right = np.exp(-np.square(left)), np.exp(-np.square(right))
    shape = (_erf(left, bell_left) - _erf(right, bell_right)) / 2
    root_pi = math.sqrt(math.pi)
    jacobian = np.stack(
        [
            shape,
            depth / (2 * scale * root_pi) * (bell_left + bell_right),
            -depth / (scale * root_pi) * (bell_left - bell_right),
            -depth / (blur * root_pi) * (left * bell_left - right * bell_right),
            np.ones_like(shape),
        ],
        axis=2,
    )
    return depth * shape + constant, jacobian


def _erf(x: Float64, bell: Float64) -> Float64:
    """Error function to 1.5e-7, given exp(-x^2); Abramowitz and Stegun, 7.1.26."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    value: Float64 = np.sign(x) * (1 - series * bell)
    return value
