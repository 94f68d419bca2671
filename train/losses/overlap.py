"""Overlap losses that the papers compare with: Dice, robust Dice and centre-line Dice.

Papers: Milletari, Navab and Ahmadi, "V-Net", 3DV 2016, arXiv:1606.04797, section 3 (Dice).
Wang et al., "A Noise-Robust Framework for Automatic Segmentation of COVID-19 Pneumonia Lesions From CT Images",
IEEE TMI 39(8), 2020 (robust Dice).
Shit et al., "clDice - a Novel Topology-Preserving Loss Function for Tubular Structure Segmentation", CVPR 2021,
arXiv:2003.07311, equations (1) to (3) and algorithms 1 and 2.

Departure: sums run over the batch on all ranks and not over each image, since many crops hold few crack pixels or none;
smoothing is in pixels and keeps an empty prediction of an empty truth at 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

from train.losses.reduce import PixelLoss, over_ranks, pixels, require

if TYPE_CHECKING:
    from torch import Tensor


def dice(
    logits: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    smoothing: float = 1.0,
    squared: bool = True,
) -> Tensor:
    """Return 1 - (2 sum p y + smoothing) / (sum p^2 + sum y^2 + smoothing), V-Net's loss, scalar, in [0, 1].

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        smoothing: pixels, > 0.
        squared: False: sum p + sum y below, so that with little smoothing the loss is 1 - F1 of Spiral-Net's (6).

    Raises:
        ValueError: shapes differ, or smoothing is not above 0.
    """
    require(smoothing > 0, f"smoothing={smoothing} must be above 0 pixels")
    batch = pixels(logits, target, ignore)
    wrong = batch.against().sigmoid()
    # sum p^2 + sum y^2 - 2 sum p y = sum |p - y|^2, and with linear sums, sum |p - y|: exact where p is near y
    missed, false_alarm = batch.by_class(wrong)
    missed_2, false_alarm_2 = batch.by_class(wrong * wrong) if squared else (missed, false_alarm)
    missed, missed_2, false_alarm_2, n_crack = over_ranks(missed, missed_2, false_alarm_2, batch.target.sum())
    difference = missed_2 + false_alarm_2
    return difference / (difference + 2 * (n_crack - missed) + smoothing)


def robust_dice(
    logits: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    gamma: float = 1.5,
    smoothing: float = 1.0,
) -> Tensor:
    """Return sum |p - y|^gamma / (sum p^2 + sum y^2 + smoothing), the noise-robust Dice loss, scalar, >= 0.

    With gamma below 2 rare cracks are noise to it: at one crack pixel in 400 a network trained from scratch says "no
    crack" everywhere. Start it from one trained with another loss.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        gamma: [1, 2]; 2 is the Dice loss, 1 tolerates wrong labels like a mean absolute error.
        smoothing: pixels, > 0.

    Raises:
        ValueError: shapes differ, or a parameter is out of its range.
    """
    require(1 <= gamma <= 2, f"gamma={gamma} must lie in [1, 2]")
    require(smoothing > 0, f"smoothing={smoothing} must be above 0 pixels")
    batch = pixels(logits, target, ignore)
    wrong = (gamma * F.logsigmoid(batch.against())).exp()
    probability = batch.keep(batch.logits.sigmoid())
    difference, sum_p2, n_crack = over_ranks(
        batch.keep(wrong).sum(), (probability * probability).sum(), batch.target.sum()
    )
    return difference / (sum_p2 + n_crack + smoothing)


def cldice(
    logits: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    alpha: float = 0.5,
    iterations: int = 3,
    smoothing: float = 1.0,
) -> Tensor:
    """Return (1 - alpha) (1 - softDice) + alpha (1 - softclDice), algorithm 2 and equation (3), scalar, in [0, 1].

    softclDice is the harmonic mean of the share of the predicted centre line inside the truth and of the true centre
    line inside the prediction. An ignored pixel is background to the skeletons of its neighbours.
    A map that says "crack" everywhere has no skeleton at all and no softclDice to lose, in which a network that is
    trained from scratch can be caught: start it from one trained with another loss, or take a smaller alpha.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        alpha: weight of softclDice, [0, 0.5] in the paper; up to 1 is accepted, which draws no body, only centre lines.
        iterations: k >= 0, erosions; at least half the widest crack, in pixels.
        smoothing: pixels, > 0; of Dice, and of both shares.

    Raises:
        ValueError: shapes differ, or a parameter is out of its range.
    """
    require(0 <= alpha <= 1, f"alpha={alpha} must lie in [0, 1]")
    require(iterations >= 0, f"iterations={iterations} must be 0 or more")
    require(smoothing > 0, f"smoothing={smoothing} must be above 0 pixels")
    batch = pixels(logits, target, ignore)
    probability = batch.keep(batch.logits.sigmoid())
    line, true_line = soft_skeleton(probability, iterations), soft_skeleton(batch.target, iterations)
    inside, length, found, true_length = over_ranks(
        (line * batch.target).sum(), line.sum(), (true_line * probability).sum(), true_line.sum()
    )
    precision = (inside + smoothing) / (length + smoothing)
    sensitivity = (found + smoothing) / (true_length + smoothing)
    centre_line = 2 * precision * sensitivity / (precision + sensitivity)
    return (1 - alpha) * dice(logits, target, ignore, smoothing=smoothing) + alpha * (1 - centre_line)


def soft_skeleton(image: Tensor, iterations: int) -> Tensor:
    """Return the soft skeleton of (N, 1, H, W) maps in [0, 1], algorithm 1 with 3x3 windows, same shape, in [0, 1]."""
    opened = _dilate(_erode(image))
    skeleton = F.relu(image - opened)
    for _ in range(iterations):
        image = _erode(image)
        opened = _dilate(_erode(image))
        skeleton = skeleton + (1 - skeleton) * F.relu(image - opened)
    return skeleton


def _erode(image: Tensor) -> Tensor:
    return -F.max_pool2d(-image, 3, stride=1, padding=1)


def _dilate(image: Tensor) -> Tensor:
    return F.max_pool2d(image, 3, stride=1, padding=1)


class Dice(PixelLoss):
    """`dice` with its parameters."""

    function = staticmethod(dice)


class RobustDice(PixelLoss):
    """`robust_dice` with its parameters."""

    function = staticmethod(robust_dice)


class ClDice(PixelLoss):
    """`cldice` with its parameters."""

    function = staticmethod(cldice)
