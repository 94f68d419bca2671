"""Pixel metrics of crack maps at every threshold at once, from histograms in one pass over the data.

Probabilities are uint8 (probability x 255), so the threshold grid is the 256 levels k = 0..255, and level k calls a
pixel crack where its value is >= k. Counting a value histogram per image and summing it from the top gives the counts
at all levels; no map is kept. What counts as a match is the `Matching`:

- `strict`: pixel on pixel.
- `flex(d)`: TP and FP on the truth dilated by a (2d + 1) square, FN on the original truth (the DeepLab paper's, d = 2).
  A thick prediction inflates its recall: never quote it alone.
- `tolerance(t)`: precision counts predicted pixels within t px (Euclidean, between pixel centres) of a truth pixel,
  recall counts truth pixels within t px of a predicted one. A level set of the grey dilation with a disk is the
  dilation of the level set, so one dilation of the probabilities serves all levels.

What is 0/0 is NaN in arrays and None in reports: precision where nothing is predicted, recall where nothing is sought.
F1 is 0 where just one of them is defined and NaN where neither is. Level 0 calls everything crack: it closes the
precision-recall curve and is never chosen as a best threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from agent.contract.arrays import Bool, Float64, UInt8

Counts: TypeAlias = NDArray[np.number]
"""Pixel counts, (..., 4, 256): rows hit and predicted (precision = hit / predicted), found and sought (recall = found /
sought); columns are levels. Counts of several images add up to the counts of their pool."""

LEVELS = 256
_SCALE = LEVELS - 1


@dataclass(frozen=True, slots=True)
class Matching:
    """Which predicted pixel matches which truth pixel; see the module."""

    rule: Literal["strict", "flex", "tolerance"] = "strict"
    px: int = 0  # d of flex, t of tolerance; 0 with strict

    def __post_init__(self) -> None:
        if self.px < 0 or (self.rule == "strict" and self.px):
            raise ValueError(f"px={self.px} does not go with {self.rule}; give 0 for strict, at least 0 for the others")

    def __str__(self) -> str:
        return self.rule if self.rule == "strict" else f"{self.rule}({self.px})"

    @property
    def definition(self) -> str:
        """The rule in words, for tables and reports."""
        reach, square = f"within {self.px} px of", f"a {2 * self.px + 1} px square"
        return {
            "strict": "pixel on pixel",
            "flex": f"TP and FP on the truth dilated by {square}, FN on the truth itself; thickness raises its recall",
            "tolerance": f"predicted pixels {reach} truth, truth pixels {reach} a predicted one",
        }[self.rule]

    def count(self, probability: UInt8, truth: Bool, ignore: Bool | None = None) -> Counts:
        """Return the counts of one image, int64 (4, 256).

        Args:
            probability: (H, W), probability x 255.
            truth: (H, W), True is crack.
            ignore: (H, W), True where a pixel counts nowhere: neither as predicted nor as truth, nor as a neighbour
                that something else may match.

        Raises:
            ValueError: shapes or types differ from the above.
        """
        _check(probability, truth, ignore)
        if ignore is not None:
            truth = truth & ~ignore
            probability = np.where(ignore, np.uint8(0), probability)
        predicted = _at_least(probability if ignore is None else probability[~ignore])
        on_truth = _at_least(probability[truth])
        truth_px = np.full(LEVELS, on_truth[0])
        if self.px == 0:
            return np.stack([on_truth, predicted, on_truth, truth_px])
        kernel = disk(self.px) if self.rule == "tolerance" else np.ones((2 * self.px + 1,) * 2, np.uint8)
        near_truth = _dilated(truth.view(np.uint8), kernel).view(np.bool_)
        if ignore is not None:
            near_truth &= ~ignore
        hit = _at_least(probability[near_truth])
        if self.rule == "flex":
            return np.stack([hit, predicted, hit, hit + truth_px - on_truth])
        found = _at_least(_dilated(probability, kernel)[truth])
        return np.stack([hit, predicted, found, truth_px])


STRICT = Matching()


def flex(d: int = 2) -> Matching:
    """Return the DeepLab paper's matching: tolerant of a (2d + 1) square for TP and FP, not for FN."""
    return Matching("flex", d)


def tolerance(t: int = 2) -> Matching:
    """Return the matching within a Euclidean distance of `t` px, both ways."""
    return Matching("tolerance", t)


def disk(radius: int) -> UInt8:
    """Return the footprint of what lies within `radius` px (Euclidean) of its middle: (2 radius + 1) square, 0 or 1."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(y * y + x * x <= radius * radius, np.uint8)


def level_of(threshold: float) -> int:
    """Return the lowest level k with k / 255 >= `threshold`, so that level k is "probability >= threshold" on the grid.

    Raises:
        ValueError: the threshold lies outside [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold} must lie in [0, 1]")
    return math.ceil(threshold * _SCALE - 1e-9)


def quantised(probability: NDArray[np.floating]) -> UInt8:
    """Return probabilities in [0, 1] on the grid: the nearest of the 256 levels, uint8."""
    return np.asarray(np.rint(np.clip(probability, 0, 1) * _SCALE), np.uint8)


def min_max_stretched(probability: UInt8) -> UInt8:
    """Return the map stretched to 0..255, as the DeepLab paper does before its threshold; a flat map stays as it is.

    Only for that paper's table: after it no image can be without cracks, and a threshold means nothing on the next.
    """
    low, high = int(probability.min()), int(probability.max())
    return probability if low == high else quantised((probability - low) / (high - low))


def precision_recall_f1(counts: Counts) -> tuple[Float64, Float64, Float64]:
    """Return precision, recall and F1 at each level, each (..., 256), in [0, 1]; NaN where undefined (see above)."""
    hit, predicted, found, sought = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    precision, recall = ratio(hit, predicted), ratio(found, sought)
    p, r = np.nan_to_num(precision), np.nan_to_num(recall)
    f1 = np.nan_to_num(ratio(2 * p * r, p + r))
    return precision, recall, np.where((predicted == 0) & (sought == 0), np.nan, f1)


def best_level(counts: Counts) -> NDArray[np.intp]:
    """Return the level 1..255 with the highest F1, (...).

    Ties go to the level nearest probability 0.5, as a map of 0 and 255 ties everywhere; where no level finds anything,
    to the highest level, which has the fewest false pixels.
    """
    f1 = np.nan_to_num(precision_recall_f1(counts)[2][..., 1:])
    top = f1.max(axis=-1, keepdims=True)
    from_half = np.abs(np.arange(1, LEVELS) - level_of(0.5))
    nearest = np.where(f1 == top, from_half, np.inf).argmin(axis=-1)
    return np.asarray(np.where(top[..., 0] > 0, nearest + 1, _SCALE), np.intp)


def at_level(counts: Counts, level: NDArray[np.intp] | int) -> Counts:
    """Return the counts at one level (of each image), (..., 4, 1)."""
    index = np.broadcast_to(np.asarray(level), counts.shape[:-2])
    return np.take_along_axis(counts, index[..., None, None], axis=-1)


def average_precision(counts: Counts) -> Float64:
    """Return the area under the precision-recall curve, (...): sum over levels of (rise of recall) x precision.

    The step rule, without interpolation between points, as scikit-learn's. NaN where nothing is sought.
    """
    precision, recall, _ = precision_recall_f1(counts)
    rise = -np.diff(recall, append=0.0, axis=-1)
    area: Float64 = np.sum(rise * np.nan_to_num(precision), axis=-1)
    return area


def ratio(numerator: Float64, denominator: Float64) -> Float64:
    """Divide; NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def _dilated(image: UInt8, kernel: UInt8) -> UInt8:
    return np.asarray(cv2.dilate(image, kernel), np.uint8)


def _at_least(values: UInt8) -> NDArray[np.int64]:
    """Count, for each level, the values that reach it."""
    return np.cumsum(np.bincount(values.ravel(), minlength=LEVELS)[::-1])[::-1]


def _check(probability: UInt8, truth: Bool, ignore: Bool | None) -> None:
    if probability.dtype != np.uint8 or probability.ndim != 2:
        raise ValueError(
            f"probability is {probability.dtype} {probability.shape}; give uint8 (H, W), probability x 255"
        )
    for name, mask in (("truth", truth), ("ignore", ignore)):
        if mask is not None and (mask.dtype != np.bool_ or mask.shape != probability.shape):
            raise ValueError(f"{name} is {mask.dtype} {mask.shape}; give bool {probability.shape} as the probability's")
