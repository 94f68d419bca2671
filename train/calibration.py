"""Probabilities that mean what they say: of the pixels at 0.8, 80 % are crack.

Losses that weigh crack pixels up, and sets that hold unlike shares of them, leave a network's sigmoid far from that.
One monotone map of its logits mends it and changes no order: a straight line (Platt, 1999; with `bias` 0 the
temperature of Guo et al., ICML 2017, arXiv:1706.04599), or a line with bends, which is isotonic regression with few
steps. It is fitted on pixels that the networks were not trained on and goes into the exported graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import Field, model_validator
from scipy.optimize import minimize
from typing_extensions import Self

from agent.contract.arrays import Float64
from agent.contract.strict import Strict

LOGIT_STEP: Final = 0.1  # of the kept logits: 127 steps to each side, +- 12.7
LOGIT_LEVELS: Final = 127
_BENDS: Final = (-4.0, -1.5, 0.5, 2.5)  # logits
_BINS: Final = 15  # of the reliability diagram


class Calibration(Strict):
    """`scale * logit + bias + sum of bends[i] * max(logit - knots[i], 0)`, which rises everywhere."""

    scale: float = Field(gt=0)
    bias: float
    knots: tuple[float, ...] = ()  # logits at which the slope changes, rising
    bends: tuple[float, ...] = ()  # by how much

    @model_validator(mode="after")
    def _rises(self) -> Self:
        slopes = self.scale + np.cumsum(self.bends)
        if len(self.knots) != len(self.bends) or any(a >= b for a, b in pairwise(self.knots)) or (slopes <= 0).any():
            raise ValueError(f"knots={self.knots} and bends={self.bends} must make a line that rises everywhere")
        return self

    def apply(self, logits: Float64) -> Float64:
        """Return calibrated logits of the same shape."""
        found = self.scale * logits + self.bias
        for knot, bend in zip(self.knots, self.bends, strict=True):
            found = found + bend * np.maximum(logits - knot, 0)
        return np.asarray(found, np.float64)


class Bin(Strict):
    """A range of probabilities in the reliability diagram."""

    probability: float  # mean of the pixels in it
    crack: float  # share of them that is crack
    share: float  # of all pixels


class Reliability(Strict):
    """How far probabilities are from the shares of crack that they promise."""

    bins: tuple[Bin, ...]
    error: float  # expected calibration error: mean of |probability - crack| over pixels
    crack_error: float  # the same over the bins above 5 %, each bin weighed alike: most pixels are plainly background


def logit_levels() -> Float64:
    """Return the logits that kept maps can hold, rising, (255,)."""
    return np.asarray(np.arange(-LOGIT_LEVELS, LOGIT_LEVELS + 1) * LOGIT_STEP, np.float64)


def fit_calibration(histograms: Mapping[str, Float64], *, bends: bool = True) -> Calibration:
    """Fit by maximum likelihood.

    Args:
        histograms: per set (255, 2): pixels of background and of crack at each level of `logit_levels`. Every set
            counts alike, however many pixels it has.
        bends: False: a straight line.

    Raises:
        ValueError: no set has both.
    """
    counts = _mixed(histograms)
    levels = logit_levels()
    knots = np.array(_BENDS if bends else ())

    def unpacked(parameters: Float64) -> tuple[Float64, float]:
        return np.exp(parameters[:-1]), float(parameters[-1])

    def loss(parameters: Float64) -> float:
        slopes, bias = unpacked(parameters)
        changes = np.diff(slopes)
        logits = slopes[0] * levels + bias + (np.maximum(levels[:, None] - knots, 0) * changes).sum(axis=1)
        return float((counts[:, 0] * np.logaddexp(0, logits) + counts[:, 1] * np.logaddexp(0, -logits)).sum())

    found = minimize(
        loss, np.zeros(len(knots) + 2), method="L-BFGS-B", bounds=[(-4, 2)] * (len(knots) + 1) + [(-12, 12)]
    )
    slopes, bias = unpacked(np.asarray(found.x))
    return Calibration(
        scale=round(float(slopes[0]), 6),
        bias=round(bias, 6),
        knots=tuple(map(float, knots)),
        bends=tuple(round(float(change), 6) for change in np.diff(slopes)),
    )


def reliability(histograms: Mapping[str, Float64], calibration: Calibration | None) -> Reliability:
    """Return how reliable probabilities are, before or after calibration; every set counts alike."""
    counts = _mixed(histograms)
    logits = logit_levels() if calibration is None else calibration.apply(logit_levels())
    probability = 1 / (1 + np.exp(-logits))
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    bins = []
    for index in range(_BINS):
        inside = counts[place == index]
        total = inside.sum()
        if total > 0:
            mean = float((inside.sum(axis=1) * probability[place == index]).sum() / total)
            bins.append(Bin(probability=mean, crack=float(inside[:, 1].sum() / total), share=float(total)))
    gaps = np.array([abs(one.probability - one.crack) for one in bins])
    above = np.array([one.probability > 0.05 for one in bins])
    return Reliability(
        bins=tuple(bins),
        error=float((gaps * [one.share for one in bins]).sum()),
        crack_error=float(gaps[above].mean()) if above.any() else 0.0,
    )


def save_diagram(path: Path, curves: Sequence[tuple[str, Reliability]], title: str) -> None:
    """Draw reliability diagrams over each other."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import, and only this needs it

    figure = Figure(figsize=(5, 5))
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", label="what it says")
    for name, one in curves:
        axes.plot(
            [b.probability for b in one.bins],
            [b.crack for b in one.bins],
            marker="o",
            label=f"{name} ({one.error:.4f})",
        )
    axes.set(xlabel="probability", ylabel="share of pixels that are crack", title=title, xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    figure.savefig(path, dpi=110)


def _mixed(histograms: Mapping[str, Float64]) -> Float64:
    """Return one histogram of total 1, to which each set adds alike."""
    known = [counts / counts.sum() for counts in histograms.values() if counts.sum() > 0]
    if not known or not np.sum(known, axis=0).sum(axis=0).all():
        raise ValueError("calibration needs pixels of background and of crack")
    return np.asarray(np.mean(known, axis=0), np.float64)
