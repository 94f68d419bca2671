"""What several networks are made of: a convolution, the way down and up a U, the fusion of side outputs."""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["batch", "group"]
_NORMS = ("batch", "group")
_GROUPS = 8  # at most


def conv(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1, norm: Norm = "batch"
) -> nn.Sequential:
    """Return a padded convolution with normalisation and ReLU.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: edge, px, odd.
        stride: px.
        dilation: px.
        norm: "batch" (Ioffe and Szegedy, arXiv:1502.03167), or "group" (Wu and He, arXiv:1803.08494). The latter looks
            at one image at a time: neither a batch of two nor its division over processes changes what it computes.
            But it looks at all of the image, so the receptive field has no bound.

    Raises:
        ValueError: no such normalisation.
    """
    if norm not in _NORMS:
        raise ValueError(f"norm={norm!r} is not one of {', '.join(_NORMS)}")
    return nn.Sequential(
        nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=dilation * (kernel // 2), dilation=dilation, bias=False
        ),
        nn.BatchNorm2d(outputs) if norm == "batch" else nn.GroupNorm(gcd(outputs, _GROUPS), outputs),
        nn.ReLU(inplace=True),
    )


def down_and_up(x: Tensor, down: Iterable[nn.Module], enlarge: nn.ModuleList, up: nn.ModuleList) -> Tensor:
    """Return what a U-Net's last level gives: Ronneberger et al., MICCAI 2015, arXiv:1505.04597, figure 1.

    Args:
        x: (N, C, H, W), the extents multiples of 2 to the power of the poolings.
        down: levels from full resolution on, with a 2 x 2 pooling before each but the first.
        enlarge: from each level but the first to the extent of the one above, the uppermost first.
        up: what is joined with the level of its extent goes through these, the uppermost first.
    """
    skips = []
    for level, contract in enumerate(down):
        x = contract(F.max_pool2d(x, 2) if level else x)
        skips.append(x)
    skips.pop()
    for widen, expand, skip in zip(reversed(enlarge), reversed(up), reversed(skips), strict=True):
        x = expand(torch.cat([skip, widen(x)], dim=1))
    return x


class Fusion(nn.Conv2d):
    """A weighted sum of maps, their mean to begin with: Xie and Tu, ICCV 2015, arXiv:1504.06375, equation (3).

    Args:
        maps: how many.
    """

    def __init__(self, maps: int) -> None:
        super().__init__(maps, 1, 1)
        nn.init.constant_(self.weight, 1 / maps)

    def with_sides(self, sides: list[Tensor]) -> list[Tensor]:
        """Return the fused map, then those it is made of, all (N, 1, H, W)."""
        return [self(torch.cat(sides, dim=1)), *sides]
