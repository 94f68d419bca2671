"""Other pixel losses that the papers compare with: Poly-1 and the robust t-loss.

Papers: Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions", ICLR 2022,
arXiv:2204.12511, Poly-1.
Gonzalez-Jimenez et al., "Robust T-Loss for Medical Image Segmentation", MICCAI 2023, arXiv:2306.00753.

Departure: the t-loss, a negative log-likelihood of each image's whole error map, is divided by the image's number of
pixels (`reduction`), so that its size does not depend on the image's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from train.losses.reduce import PixelLoss, Reduction, over_ranks, pixels, reduced, require, scaled

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST_NU = 1e-8  # the paper's epsilon, which keeps the degrees of freedom above 0


def poly(
    logits: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    epsilon: float = 2.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean of -log p_t + epsilon (1 - p_t), Poly-1 cross-entropy, scalar, nats.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        epsilon: change of the first polynomial coefficient, >= -1; 2 is the paper's for ImageNet, 0 cross-entropy.
        reduction: over valid pixels, "mean" or "sum".

    Raises:
        ValueError: shapes differ, or a parameter is out of its range.
    """
    require(epsilon >= -1, f"epsilon={epsilon} must be -1 or more")
    batch = pixels(logits, target, ignore)
    return reduced(batch.cross_entropy() + epsilon * batch.against().sigmoid(), batch, reduction)


def robust_t(
    logits: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    nu: Tensor | float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the negative log-likelihood of the errors p - y under a Student t with unit scale matrix, scalar, nats.

    Per image with D valid pixels:
    -lnGamma((nu + D) / 2) + lnGamma(nu / 2) + D / 2 ln(pi nu) + (nu + D) / 2 ln(1 + |p - y|^2 / nu).

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        nu: degrees of freedom, > 0, scalar; fewer tolerate more errors.
        reduction: "mean" divides the images' sum by the number of valid pixels, "sum" by that of images (the paper's).

    Raises:
        ValueError: shapes differ, or a number for nu that is not above 0.
    """
    require(isinstance(nu, torch.Tensor) or nu > 0, f"nu={nu} must be above 0")
    batch = pixels(logits, target, ignore)
    error_2 = batch.keep(batch.against().sigmoid() ** 2).sum((1, 2, 3)).double()
    per_image = batch.logits[0].numel()
    dimensions = torch.full_like(error_2, per_image) if batch.valid is None else batch.valid.sum((1, 2, 3)).double()
    nu = torch.as_tensor(nu, dtype=torch.float64, device=error_2.device)
    # double: the terms are of the size of D and cancel
    likelihood = (
        torch.lgamma((nu + dimensions) / 2)
        - torch.lgamma(nu / 2)
        - dimensions / 2 * (math.pi * nu).log()
        - (nu + dimensions) / 2 * (error_2 / nu).log1p()
    )
    images = dimensions.new_tensor(len(dimensions))
    total, n_pixels, n_images = over_ranks(-likelihood.sum(), dimensions.sum(), images)
    value = scaled(total, n_pixels, reduction) if reduction != "sum" else total / n_images.clamp(min=1)
    return value.to(batch.logits.dtype)


class Poly(PixelLoss):
    """`poly` with its parameters."""

    function = staticmethod(poly)


class RobustT(PixelLoss):
    """`robust_t` with degrees of freedom that are learnt: the optimiser and data parallelism must know `parameters()`.

    nu = exp(log_nu) + 1e-8, as in the paper, which starts it at 1.
    """

    function = staticmethod(robust_t)

    def __init__(self, *, nu: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__(nu=nu, reduction=reduction)
        self.log_nu = nn.Parameter(torch.tensor(math.log(nu)))

    def forward(self, logits: Tensor, target: Tensor, ignore: Tensor | None = None) -> Tensor:
        """Return the loss of (N, 1, H, W) logits against a (N, 1, H, W) target in {0, 1}, scalar."""
        nu = self.log_nu.double().exp() + _SMALLEST_NU
        return robust_t(logits, target, ignore, nu=nu, reduction=self.keywords["reduction"])
