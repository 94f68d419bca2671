"""F1-guided losses, and the cross-entropies that their paper compares them with.

Paper: Kobayashi, "Spiral-Net with F1-Based Optimization for Image-Based Crack Detection", ACCV 2018, section 3 and 4.4.
Focal loss: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, arXiv:1708.02002, equation (5).

Departures: the pseudo-F1 weights have mean 1 over the valid pixels instead of the scale of 1 / N1, so that a learning
rate for cross-entropy suits them with SGD too (`scale`); batches without crack pixels, where the paper divides by zero,
are defined; the mean over valid pixels replaces the sum in cross-entropy and focal loss (`reduction`).
The F1 of equation (6) is the soft Dice score with linear denominators.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F

from train.losses.reduce import (
    PixelLoss,
    Reduction,
    cross_entropy_against,
    max_over_ranks,
    over_ranks,
    pixels,
    reduced,
    require,
)

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST_TRUE_POSITIVES = 1e-24  # keeps 1 / TP times a cross-entropy inside float32, for scale="paper"


def cross_entropy(
    logits: Tensor, target: Tensor, ignore: Tensor | None = None, *, reduction: Reduction = "mean"
) -> Tensor:
    """Return the cross-entropy of equation (10), divided by N as its footnote 1 says, scalar, nats.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        reduction: over valid pixels, "mean" or "sum".

    Raises:
        ValueError: shapes differ, or no such reduction.
    """
    batch = pixels(logits, target, ignore)
    return reduced(batch.cross_entropy(), batch, reduction)


def inverse_frequency(logits: Tensor, target: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of crack pixels plus that of background pixels (section 4.4), scalar, nats.

    A class without pixels adds 0.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.

    Raises:
        ValueError: shapes differ.
    """
    batch = pixels(logits, target, ignore)
    on_crack, on_background, n_crack, count = over_ranks(
        *batch.by_class(batch.cross_entropy()), batch.target.sum(), batch.count()
    )
    return on_crack / n_crack.clamp(min=1) + on_background / (count - n_crack).clamp(min=1)


def focal(
    logits: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean of -alpha_t (1 - p_t)^gamma log p_t (Lin et al., equation 5), scalar, nats.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        alpha: weight of crack pixels, [0, 1]; background pixels weigh 1 - alpha. Spiral-Net's tables use 0.25 and 0.5.
        gamma: focusing power, >= 0; 0 is weighted cross-entropy.
        reduction: over valid pixels, "mean" or "sum"; the original divides by the number of object anchors.

    Raises:
        ValueError: shapes differ, or a parameter is out of its range.
    """
    require(0 <= alpha <= 1, f"alpha={alpha} must lie in [0, 1]")
    require(gamma >= 0, f"gamma={gamma} must be 0 or more")
    batch = pixels(logits, target, ignore)
    against = batch.against()
    ce = cross_entropy_against(against)
    # in place where autograd does not need the value: fresh memory costs more than the arithmetic
    modulation = (against - ce).mul_(gamma).exp_()  # (1 - p_t)^gamma; its gradient is finite at p_t = 1 too
    weight = (batch.target * (2 * alpha - 1)).add_(1 - alpha)
    return reduced((modulation * ce).mul_(weight), batch, reduction)


def f1(logits: Tensor, target: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Return -log F1 with the soft F1 = 2 TP / (N1 + sum sigma) of equation (6), scalar, >= 0, nats.

    Its gradient is equation (8). Without crack pixels the loss is log(1 + sum sigma), which falls with every false
    alarm that goes. Formed as log(1 + (FN + FP) / (2 TP)) in log space, so no probability is too small for it.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.

    Raises:
        ValueError: shapes differ.
    """
    batch = pixels(logits, target, ignore)
    wrong = batch.against().sigmoid()
    log_hit = F.logsigmoid(batch.crack_logits())
    log_hit = torch.cat([log_hit, log_hit.new_full((1,), -math.inf)])  # so that a batch without cracks has one too
    peak = max_over_ranks(log_hit.amax()).nan_to_num(neginf=0.0)
    hits, errors = over_ranks((log_hit - peak).exp().sum(), batch.keep(wrong).sum())
    # hits are at least 1 with a crack pixel and 0 without, where 0.5 in their place makes it log(1 + FP)
    log_2tp = math.log(2) + peak + hits.clamp(min=0.5).log()
    log_errors = errors.clamp(min=torch.finfo(errors.dtype).tiny).log()
    return torch.logaddexp(log_errors - log_2tp, torch.zeros_like(errors))


def pseudo_f1(
    logits: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    scale: Literal["mean_one", "paper"] = "mean_one",
) -> Tensor:
    """Return a cross-entropy whose gradient is the pseudo-F1 gradient of equation (11), scalar, nats.

    No function has that gradient (its Jacobian is asymmetric), so the weights |dL/dsigma| of equation (7) are constants
    to autograd. Their ratio, crack to background, is r = (N1 + FP) / TP >= 1, equation (13). A batch without crack
    pixels gets plain cross-entropy.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        scale: "mean_one" scales the weights to mean 1 over the valid pixels and takes the mean; "paper" takes the sum
            of weight times cross-entropy, weights of the order 1 / N1.

    Raises:
        ValueError: shapes differ, or no such scale.
    """
    require(scale in ("mean_one", "paper"), f"scale={scale!r} is not one of mean_one, paper")
    batch = pixels(logits, target, ignore)
    hits, false_alarms = batch.by_class(batch.logits.detach().sigmoid())
    on_crack, on_background, hits, false_alarms, n_crack, count = over_ranks(
        *batch.by_class(batch.cross_entropy()), hits, false_alarms, batch.target.sum(), batch.count()
    )
    # 1/r lies in [0, 1] and so neither over- nor underflows harmfully, unlike r
    inverse_r = torch.where(n_crack > 0, hits / (n_crack + false_alarms).clamp(min=1), 1)
    mean_one = (on_crack + inverse_r * on_background) / (n_crack + inverse_r * (count - n_crack)).clamp(min=1)
    if scale == "mean_one":
        return mean_one
    weight_crack = 1 / hits.clamp(min=_SMALLEST_TRUE_POSITIVES) - 1 / (n_crack + hits + false_alarms).clamp(min=1)
    weight_background = 1 / (n_crack + hits + false_alarms).clamp(min=1)
    return torch.where(n_crack > 0, weight_crack * on_crack + weight_background * on_background, mean_one)


class CrossEntropy(PixelLoss):
    """`cross_entropy` with its parameters."""

    function = staticmethod(cross_entropy)


class InverseFrequency(PixelLoss):
    """`inverse_frequency`."""

    function = staticmethod(inverse_frequency)


class Focal(PixelLoss):
    """`focal` with its parameters."""

    function = staticmethod(focal)


class F1(PixelLoss):
    """`f1`."""

    function = staticmethod(f1)


class PseudoF1(PixelLoss):
    """`pseudo_f1` with its parameters."""

    function = staticmethod(pseudo_f1)
