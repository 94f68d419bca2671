"""The state of an evaluation of crack maps: each image's counts, from which every figure follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from train.metrics.bootstrap import Draw, Estimate, estimate, mean_of
from train.metrics.pixels import (
    LEVELS,
    STRICT,
    Counts,
    Matching,
    at_level,
    average_precision,
    best_level,
    level_of,
    precision_recall_f1,
    tolerance,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.contract.arrays import Bool, Float64, UInt8

DEFINITIONS = {
    "f1": "F1 at the given threshold, counts pooled over the set",
    "precision": "precision at the given threshold, counts pooled over the set",
    "recall": "recall at the given threshold, counts pooled over the set",
    "per_image_f1": "F1 of each image with a crack at the given threshold, then the mean",
    "per_image_ap": "average precision of each image with a crack, then the mean",
    "ods": "best pooled F1 over one threshold for the whole set",
    "ods_threshold": "the threshold of ods",
    "ods_precision": "pooled precision at the threshold of ods",
    "ods_recall": "pooled recall at the threshold of ods",
    "ap": "area under the pooled precision-recall curve, step rule",
    "ois_mean": "mean over images with a crack of each one's best F1",
    "ois_std": "standard deviation (population) of the F1 of ois_mean",
    "ois_pooled": "counts pooled at each image's best threshold, then F1",
}
"""What follows the matching's name in `PixelTally.compute`, as in `tolerance(2).ods`."""


@dataclass
class PixelTally:
    """Counts per image and matching, from one pass over the data.

    Holds 4 KiB per image and matching, whatever the image's size. Parts counted apart are added with `+`, in any order:
    the figures are those of the whole.
    """

    matchings: Sequence[Matching] = (STRICT, tolerance(2))
    _rows: list[Counts] = field(default_factory=list)  # one (matchings, 4, 256) int32 per image

    def update(self, probability: UInt8, truth: Bool, ignore: Bool | None = None) -> None:
        """Count one image, (H, W): probability x 255, truth, and where not to look (see `Matching.count`)."""
        rows = [matching.count(probability, truth, ignore) for matching in self.matchings]
        self._rows.append(np.stack(rows).astype(np.int32))

    def __add__(self, other: PixelTally) -> PixelTally:
        if list(self.matchings) != list(other.matchings):
            raise ValueError(f"cannot add counts of {_names(other)} to counts of {_names(self)}")
        return PixelTally(self.matchings, self._rows + other._rows)

    def __len__(self) -> int:
        """Images counted."""
        return len(self._rows)

    def counts(self, matching: Matching) -> Counts:
        """Return each image's counts by one of the tally's matchings, int32 (images, 4, 256)."""
        index = list(self.matchings).index(matching)
        return np.array([row[index] for row in self._rows], np.int32).reshape(-1, 4, LEVELS)

    def compute(self, *, threshold: float = 0.5, resamples: int = 0, seed: int = 0) -> dict[str, Estimate]:
        """Return every figure by every matching, named `<matching>.<figure>`; `DEFINITIONS` says what each is.

        Images without a crack add their false pixels to pooled figures and are left out of means over images, where
        their F1 is 0/0 or 0 for the same reason.

        Args:
            threshold: probability from which a pixel is called crack, [0, 1].
            resamples: for 95 % intervals over images; 0 for none.
            seed: of the resampling.
        """
        figures: dict[str, Estimate] = {}
        for matching in self.matchings:
            scores = score(self.counts(matching), level_of(threshold), resamples=resamples, seed=seed)
            figures |= {f"{matching}.{name}": figure for name, figure in scores.items()}
        return figures


def score(counts: Counts, level: int, *, resamples: int = 0, seed: int = 0) -> dict[str, Estimate]:
    """Return the figures of `DEFINITIONS` of (images, 4, 256) counts, with the fixed threshold at `level`."""
    options = Draw(resamples=resamples, seed=seed)
    fixed = at_level(counts, level)
    own_best = at_level(counts, best_level(counts))
    cracked = counts[:, 3, 0] > 0  # something is sought at level 0: by every matching, exactly where truth is not empty
    chosen = best_level(counts.sum(axis=0, dtype=np.int64))
    best_f1 = np.nan_to_num(_f1(own_best))
    return {
        "f1": estimate(fixed, _f1, **options),
        "precision": estimate(fixed, _precision, **options),
        "recall": estimate(fixed, _recall, **options),
        "per_image_f1": mean_of(np.nan_to_num(_f1(fixed)), cracked, **options),
        "per_image_ap": mean_of(np.nan_to_num(average_precision(counts)), cracked, **options),
        "ods": estimate(counts, lambda sums: _f1(at_level(sums, best_level(sums))), **options),
        "ods_threshold": Estimate(value=float(chosen) / (LEVELS - 1) if cracked.any() else None),
        "ods_precision": estimate(counts, lambda sums: _precision(at_level(sums, best_level(sums))), **options),
        "ods_recall": estimate(counts, lambda sums: _recall(at_level(sums, best_level(sums))), **options),
        "ap": estimate(counts, average_precision, **options),
        "ois_mean": mean_of(best_f1, cracked, **options),
        "ois_std": Estimate(value=float(best_f1[cracked].std()) if cracked.any() else None),
        "ois_pooled": estimate(own_best, _f1, **options),
    }


def _precision(counts: Counts) -> Float64:
    return precision_recall_f1(counts)[0][..., 0]


def _recall(counts: Counts) -> Float64:
    return precision_recall_f1(counts)[1][..., 0]


def _f1(counts: Counts) -> Float64:
    return precision_recall_f1(counts)[2][..., 0]


def _names(tally: PixelTally) -> str:
    return ", ".join(map(str, tally.matchings))
