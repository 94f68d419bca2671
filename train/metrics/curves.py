"""Precision-recall curves: as numbers for a report, and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from agent.contract.strict import Strict
from train.metrics.pixels import LEVELS, STRICT, Counts, Matching, best_level, precision_recall_f1

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Curve(Strict):
    """Pooled precision and recall at the thresholds 0/255, 1/255 ... 255/255."""

    name: str  # the matching, or the net
    precision: tuple[float | None, ...]  # None where nothing is predicted
    recall: tuple[float, ...]
    best_threshold: float  # that of the best F1


def curve(counts: Counts, name: str) -> Curve | None:
    """Return the curve of pooled counts (4, 256); None where the truth is empty, so that there is no recall."""
    precision, recall, _ = precision_recall_f1(counts)
    if not np.isfinite(recall).all():
        return None
    return Curve(
        name=name,
        precision=tuple(float(value) if np.isfinite(value) else None for value in precision),
        recall=tuple(map(float, recall)),
        best_threshold=float(best_level(counts)) / (LEVELS - 1),
    )


def pooled_curve(counts: Counts, matching: Matching = STRICT) -> Curve | None:
    """Return the curve of each image's counts (images, 4, 256), pooled."""
    return curve(counts.sum(axis=0, dtype=np.int64), str(matching))


def save_curves(curves: Iterable[Curve], path: Path, *, title: str = "") -> None:
    """Draw curves into one picture, each curve's best F1 marked, over lines of equal F1; the suffix says the format."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01), aspect="equal")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    for f1 in np.arange(0.1, 1, 0.1):
        recall = np.geomspace(f1 / (2 - f1), 1, 200)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color="0.9", linewidth=0.8, zorder=0)
        axes.text(1.0, f1 / (2 - f1), f"F1 = {f1:.1f}", color="0.6", fontsize=7, ha="right", va="bottom")
    for each in curves:
        precision = np.array(each.precision, np.float64)
        best = round(each.best_threshold * (LEVELS - 1))
        p, r = precision[best], each.recall[best]
        f1 = 2 * p * r / (p + r) if p + r > 0 else 0.0
        label = f"{each.name}: F1 {f1:.3f} at {each.best_threshold:.2f}"
        (line,) = axes.plot(each.recall, precision, linewidth=1.6, label=label)
        axes.plot(r, p, "o", color=line.get_color(), markersize=6)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
