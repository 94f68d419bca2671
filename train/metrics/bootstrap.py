"""Bootstrap intervals over images: images are drawn with replacement, pixels of one image stay together.

Every figure of an evaluation is a function of sums over images (counts pooled at a level, or values and their number),
so a resample is one row of multinomial weights times the table of images: nothing is computed from pixels again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypedDict

import numpy as np

from agent.contract.strict import Strict
from train.metrics.pixels import ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.contract.arrays import Bool, Float64

Statistic: TypeAlias = "Callable[[Float64], Float64]"
"""From sums over images (B, ...) to the figure (B,); NaN where it is undefined."""

_CHUNK = 100  # resamples computed at once: bounds memory to 100 x the size of one image's row


class Draw(TypedDict):
    """How images are drawn: the keyword arguments that every interval takes."""

    resamples: int  # how many sets of images; 0 gives no interval
    seed: int  # the same for all figures of an evaluation, so that they are paired


class Estimate(Strict):
    """A figure with its 95 % interval over images."""

    value: float | None  # None: undefined on these images (0/0)
    low: float | None = None  # None: no interval was asked for, or fewer than two images
    high: float | None = None


def estimate(
    rows: NDArray[np.number],
    statistic: Statistic,
    *,
    times: NDArray[np.integer] | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Estimate:
    """Return the figure of all images and its percentile interval (2.5 to 97.5 %).

    Resamples on which the figure is undefined are left out.

    Args:
        rows: (rows, ...), what each image adds to the sums.
        statistic: from (B, ...) sums to (B,) figures.
        times: (rows,), how many images share each row, where many are alike; one each if not given.
        resamples: see `Draw`.
        seed: see `Draw`.
    """
    times = np.ones(len(rows), np.int64) if times is None else times
    images = int(times.sum())
    table = rows.reshape(len(rows), math.prod(rows.shape[1:])).astype(np.float64)

    def figures(weights: NDArray[np.integer]) -> Float64:
        return statistic((weights.astype(np.float64) @ table).reshape(-1, *rows.shape[1:]))

    value = _number(figures(times[None])[0])
    if value is None or resamples == 0 or images < 2:
        return Estimate(value=value)
    rng = np.random.default_rng(seed)
    share = times / images
    drawn = np.concatenate(
        [
            figures(rng.multinomial(images, share, size=min(_CHUNK, resamples - start)))
            for start in range(0, resamples, _CHUNK)
        ]
    )
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) == 0:
        return Estimate(value=value)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high))


def mean_of(values: Float64, counted: Bool, *, resamples: int = 0, seed: int = 0) -> Estimate:
    """Return the mean of (images,) values over the images that are `counted`; see `estimate`."""
    rows = np.stack([np.where(counted, values, 0.0), counted], axis=1)
    return estimate(rows, _mean, resamples=resamples, seed=seed)


def _mean(sums: Float64) -> Float64:
    return ratio(sums[:, 0], sums[:, 1])


def _number(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
