"""How good a network is on what it was not trained on, and the threshold that follows.

Real photos decide: thresholds, and the score by which a segmenter's best checkpoint is kept, come from rendered patches
alone only where a run has nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import nn

from agent.contract.arrays import Bool, Float32, Float64, UInt8
from agent.contract.strict import Strict
from train.data.crops import Part, gate_label, gate_view, readable, to_tensor
from train.metrics.pixels import LEVELS, STRICT, Counts, precision_recall_f1, quantised, tolerance
from train.settings import GateLabel, Mix

TOLERANCE_PX = 2
THRESHOLD_SLACK = 0.01  # of F1


class Figure(Strict):
    """A measured value."""

    name: str
    definition: str
    data: str
    value: float


class Validation(Strict):
    """What a validation found."""

    score: float  # higher is better
    score_name: str
    threshold: float  # on the probability, [0, 1]
    chosen: str  # how the threshold was chosen
    figures: tuple[Figure, ...]
    skipped: tuple[str, ...]  # what could not be read


@torch.no_grad()
def validate_segmenter(
    net: nn.Module, parts: Sequence[Part], *, stride_px: int, device: torch.device, mix: Mix = "pooled"
) -> Validation:
    """Judge a segmenter on whole pictures.

    The threshold is the lowest at which F1 (tolerance 2 px, pooled) is within 1 % of its maximum, averaged over the
    photos as one pool, those without any crack included, and the rendered patches as another: the curve is flat at its
    top, its maximum is chance, and a missed crack costs more than a false one. The score is the best F1 of the photos
    as one pool or, with `mix="sets"`, the mean over their sets of the mean of best strict F1 and best F1 (2 px).
    """
    matching = tolerance(TOLERANCE_PX)
    skipped: list[str] = []
    counts: dict[str, Counts] = {}
    strict: dict[str, Counts] = {}
    for part in parts:
        for picture in readable(part, skipped):
            if picture.mask is None:
                continue
            probability = segment(net, picture.image_rgb, stride_px=stride_px, device=device)
            name = part.source.name
            counts[name] = counts.get(name, 0) + matching.count(probability, picture.mask)
            if mix == "sets" and part.source.real:
                strict[name] = strict.get(name, 0) + STRICT.count(probability, picture.mask)
    pools = {
        kind: sum(counts[part.source.name] for part in parts if part.source.real is real and part.source.name in counts)
        for kind, real in (("photos", True), ("rendered", False))
    }
    curves = {
        kind: np.nan_to_num(precision_recall_f1(pool)[2])
        for kind, pool in pools.items()
        if isinstance(pool, np.ndarray) and pool[3, 0]  # something is sought
    }
    if not curves:
        curves = {"nothing": np.zeros(LEVELS)}
    mean = np.mean([curve[1:] for curve in curves.values()], axis=0)
    level = 1 + int(np.argmax(mean >= mean.max() * (1 - THRESHOLD_SLACK)))  # the first of these
    judged = next(iter(curves))
    score, score_name = (
        float(curves[judged][1:].max()),
        f"best F1 at {TOLERANCE_PX} px tolerance on the validation {judged}",
    )
    sought = [name for name in strict if counts[name][3, 0]]
    if sought:
        score = float(np.mean([_best_f1(pool[name]) for name in sought for pool in (strict, counts)]))
        score_name = f"mean over {', '.join(sought)} of best strict F1 and best F1 at {TOLERANCE_PX} px tolerance"
    return Validation(
        score=score,
        score_name=score_name,
        threshold=level / (LEVELS - 1),
        chosen=f"the lowest with an F1 (tolerance {TOLERANCE_PX} px, counts pooled) within {THRESHOLD_SLACK:.0%} of "
        f"the maximum, averaged over the pools {' and '.join(curves)} of the validation split ({', '.join(counts)})",
        figures=tuple(figure for name, pool in counts.items() for figure in _figures(name, pool, level)),
        skipped=tuple(skipped),
    )


@torch.no_grad()
def validate_gate(net: nn.Module, parts: Sequence[Part], *, gate: GateLabel, device: torch.device) -> Validation:
    """Judge a gate on pictures as it will meet them: continued to a tile by reflection, then reduced.

    The threshold is the highest that keeps the wanted recall in each source of photos by itself. The score is the area
    under the ROC curve, averaged over all sources that have both classes: easy sets of photos soon stand at 1.
    """
    skipped: list[str] = []
    answers: dict[str, tuple[Float64, Bool]] = {}
    for part in parts:
        found = []
        for picture in readable(part, skipped):
            view = gate_view(picture.image_rgb, gate)
            crack = picture.cracked if picture.mask is None else crack_pixels(picture.mask, gate)
            label = gate_label(crack, gate)
            if label is None:
                continue
            logits = net(to_tensor(view[None]).to(device)).double()
            found.append((float((logits[0, 1] - logits[0, 0]).sigmoid()), bool(label)))
        if found:
            probabilities, labels = zip(*found, strict=True)
            answers[part.source.name] = np.array(probabilities), np.array(labels)
    real = {part.source.name for part in parts if part.source.real}
    judged = {name: answer for name, answer in answers.items() if name in real and answer[1].any()} or {
        name: answer for name, answer in answers.items() if answer[1].any()
    }
    thresholds = [_recall_threshold(p[y], gate.recall) for p, y in judged.values()]
    areas = {name: area for name, (p, y) in answers.items() if (area := _roc_area(p, y)) is not None}
    threshold = float(min(thresholds, default=0.0))
    return Validation(
        score=float(np.mean(list(areas.values()))) if areas else 0.0,
        score_name="mean area under the ROC curve of the validation sets " + ", ".join(areas),
        threshold=threshold,
        chosen=f"the highest with a tile recall of at least {gate.recall} in each of the validation sets "
        + ", ".join(f"{name} ({int(y.sum())} tiles with a crack)" for name, (_, y) in judged.items()),
        figures=tuple(figure for name, (p, y) in answers.items() for figure in _gate_figures(name, p, y, threshold)),
        skipped=tuple(skipped),
    )


@torch.no_grad()
def segment(net: nn.Module, image_rgb: UInt8, *, stride_px: int, device: torch.device) -> UInt8:
    """Return probability x 255, (H, W), of a picture of any size, in one piece."""
    logits = torch.from_numpy(logit_map(net, image_rgb, stride_px=stride_px, device=device))
    return quantised(logits.sigmoid().numpy())


@torch.no_grad()
def logit_map(net: nn.Module, image_rgb: UInt8, *, stride_px: int, device: torch.device) -> Float32:
    """Return logits, (H, W), of a picture of any size, in one piece."""
    height, width = image_rgb.shape[:2]
    below, right = -height % stride_px, -width % stride_px
    padded = cv2.copyMakeBorder(image_rgb, 0, below, 0, right, cv2.BORDER_REFLECT_101)
    logits = net(to_tensor(np.asarray(padded, np.uint8)[None]).to(device))
    return np.asarray(logits[0, 0, :height, :width].float().cpu().numpy(), np.float32)


def _best_f1(counts: Counts) -> float:
    return float(np.nan_to_num(precision_recall_f1(counts)[2])[1:].max())


def _figures(name: str, counts: Counts, level: int) -> list[Figure]:
    at = f"at the bundle's threshold, {TOLERANCE_PX} px tolerance, counts pooled"
    precision, recall, f1 = (np.nan_to_num(curve) for curve in precision_recall_f1(counts))
    if not counts[3, 0]:
        share = float(counts[1, level] / counts[1, 0])
        return [Figure(name="false_pixels", definition="share of pixels called crack", data=name, value=share)]
    best = 1 + int(np.argmax(f1[1:]))
    return [
        Figure(name="f1", definition=f"F1 {at}", data=name, value=float(f1[level])),
        Figure(name="precision", definition=f"precision {at}", data=name, value=float(precision[level])),
        Figure(name="recall", definition=f"recall {at}", data=name, value=float(recall[level])),
        Figure(
            name="ods",
            definition=f"best F1 over one threshold for the set, {TOLERANCE_PX} px tolerance, counts pooled",
            data=name,
            value=float(f1[best]),
        ),
    ]


def crack_pixels(mask: Bool, gate: GateLabel) -> int:
    """Return the mask's crack pixels as counted in the reduced view, where a line of n px is n / downscale long."""
    return round(int(mask.sum()) / gate.downscale**2)


def _recall_threshold(probabilities: Float64, recall: float) -> float:
    """Return the highest threshold at or above which at least this share of the crack tiles lies."""
    missed = int(np.floor(len(probabilities) * (1 - recall) + 1e-9))
    return float(np.sort(probabilities)[missed])


def _roc_area(probabilities: Float64, labels: Bool) -> float | None:
    """Return the probability that a crack tile scores above a clean one, ties counted half; None without both."""
    crack, clean = probabilities[labels], probabilities[~labels]
    if not len(crack) or not len(clean):
        return None
    below = np.searchsorted(np.sort(clean), crack, side="left")
    not_above = np.searchsorted(np.sort(clean), crack, side="right")
    return float((below + not_above).mean() / 2 / len(clean))


def _gate_figures(name: str, probabilities: Float64, labels: Bool, threshold: float) -> list[Figure]:
    passed = probabilities >= threshold
    figures = []
    if labels.any():
        value = float(passed[labels].mean())
        figures.append(Figure(name="tile_recall", definition="crack tiles passed", data=name, value=value))
    if not labels.all():
        value = float(passed[~labels].mean())
        figures.append(Figure(name="clean_passed", definition="clean tiles passed", data=name, value=value))
    area = _roc_area(probabilities, labels)
    if area is not None:
        figures.append(Figure(name="roc_area", definition="area under the ROC curve", data=name, value=area))
    return figures
