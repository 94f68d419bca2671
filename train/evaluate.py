"""The computing core of `crack-train evaluate`: a predictor, samples with their truth, and what comes out, as a value.

A predictor is any callable, so a bundle and a checkpoint are judged by the same code. Samples are loaded one at a time
and forgotten; one that cannot be read or inferred is counted by name and the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.contract.strict import Strict
from agent.errors import CrackscoutError, InputError
from train.metrics.alarms import MIN_CRACK_PX, area_m2, count_cracks
from train.metrics.bootstrap import Draw, Estimate, Statistic, estimate, mean_of
from train.metrics.curves import Curve, curve, pooled_curve
from train.metrics.pixels import (
    LEVELS,
    STRICT,
    Matching,
    average_precision,
    level_of,
    precision_recall_f1,
    quantised,
    ratio,
    tolerance,
)
from train.metrics.tally import DEFINITIONS, PixelTally
from train.metrics.topology import cldice_counts

if TYPE_CHECKING:
    from agent.contract.arrays import Bool, Float64, UInt8

RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A photo to be judged against its mask."""

    name: str
    load: Callable[[], tuple[UInt8, Bool | None]]  # RGB (H, W, 3), and True = crack (H, W) or None: truth not known
    mm_per_px: float | None = None  # for FA/m2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """A patch whose class is known from its folder."""

    name: str
    crack: bool
    load: Callable[[], UInt8]  # RGB (H, W, 3)


class Metric(Strict):
    """One figure with its 95 % interval over images."""

    name: str  # `<matching>.<figure>` for pixel metrics
    definition: str
    value: float | None  # None: undefined on these images (0/0)
    low: float | None = None
    high: float | None = None


class Failure(Strict):
    """A sample that is not in the figures."""

    name: str
    reason: str


class Evaluation(Strict):
    """What `crack-train evaluate` prints and writes as JSON."""

    kind: Literal["segmentation", "gate"]
    threshold: float
    resamples: int
    seed: int
    images: int  # evaluated
    images_with_crack: int
    images_clean: int  # the truth is known to be empty
    images_without_truth: int = 0
    failures: tuple[Failure, ...] = ()
    matchings: dict[str, str] = Field(default_factory=dict, description="What each pixel metric's first part means.")
    metrics: tuple[Metric, ...]
    curves: tuple[Curve, ...] = ()

    def __getitem__(self, name: str) -> Metric:
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(f"{name}; there are {', '.join(metric.name for metric in self.metrics)}")


def evaluate_segmentation(
    predict: Callable[[UInt8], UInt8],
    samples: Iterable[Sample],
    *,
    threshold: float = 0.5,
    matchings: Sequence[Matching] = (STRICT, tolerance(2)),
    min_crack_px: int = MIN_CRACK_PX,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Judge crack maps against masks.

    Args:
        predict: from RGB (H, W, 3) to probability x 255, uint8 (H, W).
        samples: consumed once.
        threshold: probability from which a pixel is called crack, [0, 1].
        matchings: what counts as a match; pixel metrics are given for each.
        min_crack_px: the smallest component that counts as a false crack, px.
        resamples: of images, for the intervals; 0 for none.
        seed: of the resampling.

    Raises:
        ValueError: the threshold is outside [0, 1], or `predict` gives something else than a map of the image's size.
    """
    level = level_of(threshold)
    tally = PixelTally(matchings)
    lines, clean, failures = [], [], []
    without_truth = 0
    for sample in samples:
        try:
            image, truth = _loaded(sample)
            probability = predict(image)
        except (CrackscoutError, OSError) as exc:
            failures.append(Failure(name=sample.name, reason=_reason(exc)))
            continue
        if probability.dtype != np.uint8 or probability.shape != image.shape[:2]:
            raise ValueError(
                f"{sample.name}: the predictor gave {probability.dtype} {probability.shape}; "
                f"it must give uint8 {image.shape[:2]}, probability x 255"
            )
        if truth is None:
            without_truth += 1
            continue
        tally.update(probability, truth)
        called = probability >= level
        if truth.any():
            lines.append(cldice_counts(called, truth))
        else:
            area = 0.0 if sample.mm_per_px is None else area_m2(truth, sample.mm_per_px)
            clean.append((count_cracks(called, min_px=min_crack_px), area))
    draw = Draw(resamples=resamples, seed=seed)
    figures = tally.compute(threshold=threshold, **draw)
    return Evaluation(
        kind="segmentation",
        threshold=threshold,
        **draw,
        images=len(tally) + without_truth,
        images_with_crack=len(lines),
        images_clean=len(clean),
        images_without_truth=without_truth,
        failures=tuple(failures),
        matchings={str(matching): matching.definition for matching in matchings},
        metrics=(
            *(_metric(name, DEFINITIONS[name.rsplit(".", 1)[1]], figure) for name, figure in figures.items()),
            _cldice(np.array(lines, np.float64).reshape(-1, 4, 1), draw),
            *_alarms(np.array(clean, np.float64).reshape(-1, 2), min_crack_px, draw),
        ),
        curves=tuple(c for c in (pooled_curve(tally.counts(m), m) for m in matchings) if c is not None),
    )


def evaluate_gate(
    predict: Callable[[UInt8], float],
    patches: Iterable[Patch],
    *,
    threshold: float = 0.5,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Judge a patch classifier against class folders.

    The figures at the threshold are exact; the average precision and the curve round probabilities to 256 levels.

    Args:
        predict: from RGB (H, W, 3) to the probability of crack, [0, 1].
        patches: consumed once.
        threshold: probability from which a patch is called crack, [0, 1].
        resamples: of patches, for the intervals; 0 for none.
        seed: of the resampling.

    Raises:
        ValueError: the threshold or a probability lies outside [0, 1].
    """
    level_of(threshold)  # refuses what is no probability
    outcomes = np.zeros((2, 2), np.int64)  # [truth, called]
    by_level = np.zeros((2, LEVELS), np.int64)  # [truth, level of the probability]
    failures = []
    for patch in patches:
        try:
            probability = predict(patch.load())
        except (CrackscoutError, OSError) as exc:
            failures.append(Failure(name=patch.name, reason=_reason(exc)))
            continue
        if not 0 <= probability <= 1:
            raise ValueError(f"{patch.name}: the gate's probability is {probability}, outside [0, 1]")
        outcomes[int(patch.crack), int(probability >= threshold)] += 1
        by_level[int(patch.crack), quantised(np.array([probability]))[0]] += 1
    # A patch is an image of one pixel: its counts depend on its class and level alone, so 512 rows stand for all.
    level, crack = np.meshgrid(np.arange(LEVELS, dtype=np.uint8), np.array([False, True]))
    cells = zip(level.reshape(-1, 1, 1), crack.reshape(-1, 1, 1), strict=True)
    rows = np.array([STRICT.count(probability, truth) for probability, truth in cells])
    draw = Draw(resamples=resamples, seed=seed)
    whole = curve(np.einsum("r,rkl->kl", by_level.ravel(), rows), "gate")
    return Evaluation(
        kind="gate",
        threshold=threshold,
        **draw,
        images=int(outcomes.sum()),
        images_with_crack=int(outcomes[1].sum()),
        images_clean=int(outcomes[0].sum()),
        failures=tuple(failures),
        metrics=(
            *(
                _metric(name, definition, estimate(np.eye(4), statistic, times=outcomes.ravel(), **draw))
                for name, (definition, statistic) in _GATE.items()
            ),
            _metric(
                "gate.ap",
                "area under the precision-recall curve of patches, step rule, 256 levels",
                estimate(rows, average_precision, times=by_level.ravel(), **draw),
            ),
        ),
        curves=() if whole is None else (whole,),
    )


# Of sums (B, 4): clean passed, clean called crack, crack missed, crack called crack.
_GATE: dict[str, tuple[str, Statistic]] = {
    "gate.error_rate": ("ER: share of patches in the wrong class", lambda s: ratio(s[:, 1] + s[:, 2], s.sum(1))),
    "gate.missed": ("share of crack patches not called crack", lambda s: ratio(s[:, 2], s[:, 2] + s[:, 3])),
    "gate.false_alarms": ("share of clean patches called crack", lambda s: ratio(s[:, 1], s[:, 0] + s[:, 1])),
    "gate.precision": ("share of patches called crack that are", lambda s: ratio(s[:, 3], s[:, 1] + s[:, 3])),
    "gate.recall": ("share of crack patches called crack", lambda s: ratio(s[:, 3], s[:, 2] + s[:, 3])),
    "gate.f1": ("F1 of the class crack", lambda s: ratio(2 * s[:, 3], s[:, 1] + s[:, 2] + 2 * s[:, 3])),
}


def render(evaluation: Evaluation) -> RenderableType:
    """Return the evaluation for a terminal: what was judged, a table of figures, and who failed."""
    table = Table("metric", "value", "95 % over images", "definition", box=None, pad_edge=False)
    for metric in evaluation.metrics:
        interval = "" if metric.low is None or metric.high is None else f"{metric.low:.4f} to {metric.high:.4f}"
        value = "-" if metric.value is None else f"{metric.value:.4f}"
        table.add_row(metric.name, value, interval, metric.definition)
    judged = f"{evaluation.images} images: {evaluation.images_with_crack} with cracks, {evaluation.images_clean} clean"
    if evaluation.images_without_truth:
        judged += f", {evaluation.images_without_truth} without truth (in no figure)"
    lines: list[RenderableType] = [Text(f"{judged}; threshold {evaluation.threshold:g}"), table]
    lines += [Text(f"{name}: {definition}") for name, definition in evaluation.matchings.items()]
    if evaluation.failures:
        lines.append(Text(f"{len(evaluation.failures)} failed and are in no figure:"))
        lines += [Text(f"  {failure.name}: {failure.reason}") for failure in evaluation.failures]
    return Group(*lines)


def _loaded(sample: Sample) -> tuple[UInt8, Bool | None]:
    image, truth = sample.load()
    if truth is not None and truth.shape != image.shape[:2]:
        raise InputError(f"the mask has {truth.shape[::-1]} px, the photo {image.shape[1::-1]}; they must be equal")
    return image, truth


def _cldice(counts: Float64, draw: Draw) -> Metric:
    value = np.nan_to_num(precision_recall_f1(counts)[2][:, 0])
    definition = "clDice of skeletons at the given threshold, mean over images with a crack"
    return _metric("cldice", definition, mean_of(value, np.ones(len(value), np.bool_), **draw))


def _alarms(clean: Float64, min_px: int, draw: Draw) -> tuple[Metric, ...]:
    """Figures of false cracks from (images, 2): their number, and the image's area in m2, 0 where unknown."""
    cracks, area = clean.T
    every = np.ones(len(clean), np.bool_)
    what = f"components (8 neighbours) of at least {min_px} px called crack on images whose truth is empty"
    scaled = clean[area > 0]
    return (
        _metric("false_cracks_per_clean_image", f"{what}, mean", mean_of(cracks, every, **draw)),
        _metric(
            "clean_images_with_false_cracks",
            f"share of clean images with at least one such component of {min_px} px",
            mean_of((cracks > 0).astype(np.float64), every, **draw),
        ),
        _metric(
            "fa_per_m2",
            f"{what}, per m2, on those of known scale",
            estimate(scaled, lambda sums: ratio(sums[:, 0], sums[:, 1]), **draw),
        ),
    )


def _metric(name: str, definition: str, figure: Estimate) -> Metric:
    return Metric(name=name, definition=definition, value=figure.value, low=figure.low, high=figure.high)


def _reason(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
