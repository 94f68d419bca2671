"""Balanced binary focal loss: each class's focal terms are normalised by the sum of that class's own weights.

Paper: Siriborvornratanakul, "Downstream Semantic Segmentation Model for Low-Level Surface Crack Detection", Advances in
Multimedia 2022, equation (2), after Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, arXiv:1708.02002.
The paper does not say whether the denominators carry a gradient. They do not by default: with one, a confident hit is
pulled down as soon as a pixel beside it is missed (its larger weight would count more of a small loss). Nor does it say
over what the sums run: here over the batch, on all ranks. A class without pixels adds 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch

from train.losses.reduce import PixelLoss, cross_entropy_against, max_over_ranks, over_ranks, pixels, require

if TYPE_CHECKING:
    from torch import Tensor

Detach = Literal["denominator", "weight", "nothing"]
_DETACH = ("denominator", "weight", "nothing")


def balanced_focal(
    logits: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    gamma: float = 2.0,
    alpha: float = 3.0,
    detach: Detach = "denominator",
) -> Tensor:
    """Return L+ + L-, equation (2), scalar, >= 0, nats.

    L+ = -sum (1 - p)^gamma log p / sum (1 - p)^gamma over crack pixels,
    L- = -alpha sum p^gamma log(1 - p) / sum p^gamma over background pixels.
    Each class's weights are scaled by their largest before they are summed, so that they never all underflow.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        gamma: focusing power, >= 0; the paper tries 1, 2 and 4; 0 is the sum of the classes' mean cross-entropies.
        alpha: weight of the background term, >= 0.
        detach: what is constant to autograd: each class's "denominator", the whole "weight", or "nothing".

    Raises:
        ValueError: shapes differ, or a parameter is out of its range.
    """
    require(gamma >= 0, f"gamma={gamma} must be 0 or more")
    require(alpha >= 0, f"alpha={alpha} must be 0 or more")
    require(detach in _DETACH, f"detach={detach!r} is not one of {', '.join(_DETACH)}")
    batch = pixels(logits, target, ignore)
    against = batch.against()
    ce = cross_entropy_against(against)
    log_weight = gamma * (against - ce)  # gamma log(1 - p_t)
    if batch.valid is not None:
        log_weight = log_weight.masked_fill(batch.valid == 0, -math.inf)
    if detach == "weight":
        log_weight = log_weight.detach()
    is_crack = batch.target > 0
    with torch.no_grad():
        crack, background = torch.where(is_crack, log_weight, -math.inf), torch.where(is_crack, -math.inf, log_weight)
        peaks = max_over_ranks(torch.stack([crack.amax(), background.amax()]))
        peak_crack, peak_background = peaks.nan_to_num(neginf=0.0)  # -inf where a class has no pixel
        peak = torch.where(is_crack, peak_crack, peak_background)
    weight = (log_weight - peak).exp()
    on_crack, on_background, sum_crack, sum_background = over_ranks(
        *batch.by_class(weight * ce), *batch.by_class(weight if detach == "nothing" else weight.detach())
    )
    # a class with pixels has a largest weight of 1, so its sum is at least 1
    return on_crack / sum_crack.clamp(min=1) + alpha * on_background / sum_background.clamp(min=1)


class BalancedFocal(PixelLoss):
    """`balanced_focal` with its parameters."""

    function = staticmethod(balanced_focal)
