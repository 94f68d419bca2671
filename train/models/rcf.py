"""Richer convolutional features (RCF), a rival in the adaptive WCE paper's tables.

Paper: Liu et al., "Richer Convolutional Features for Edge Detection", CVPR 2017, arXiv:1612.02103, section 3.1: as HED,
but every convolution of a stage is reduced to 21 channels, which are summed and reduced to one; the fifth stage is
dilated by 2 behind a pool of stride 1, so that there are three reductions. 14,803,781 parameters (the paper: 14.8M).
Departures: that pool is 3 x 3, which keeps the extent; bilinear resizing in place of transposed convolutions.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import reach, vgg

REDUCED: Final = 21  # channels of each reduction


class RCF(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        width: factor on VGG16's channels, for trials.

    Raises:
        ValueError: it leaves no channel.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.stride_px = 8
        self.receptive_field_px: int | None = reach.receptive_field(
            [reach.bilinear(8), *vgg.steps_back(pools=3, dilation_of_last=2)], self.stride_px
        )
        self.stages = vgg.stages(width, dilation_of_last=2)
        self.reductions = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(n, REDUCED, 1) for _ in range(depth))
            for n, depth in zip(vgg.channels(width), vgg.DEPTHS, strict=True)
        )
        self.sides = nn.ModuleList(nn.Conv2d(REDUCED, 1, 1) for _ in self.stages)
        self.fuse = nn.Conv2d(len(self.sides), 1, 1)
        nn.init.constant_(self.fuse.weight, 1 / len(self.sides))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.outputs(image)[0]

    def outputs(self, image: Tensor) -> list[Tensor]:
        """Return the fused logits and those of each side, all (N, 1, H, W)."""
        x, sides = vgg.standardised(image), []
        for number, (stage, reductions, side) in enumerate(zip(self.stages, self.reductions, self.sides, strict=True)):
            found = cast("vgg.Stage", stage).each(_pooled(x, number))
            x = found[-1]
            reduced = [reduce(y) for reduce, y in zip(cast("nn.ModuleList", reductions), found, strict=True)]
            logits = side(torch.stack(reduced).sum(0))
            sides.append(
                F.interpolate(logits, scale_factor=2.0 ** min(number, 3), mode="bilinear", align_corners=False)
            )
        return [cast("Tensor", self.fuse(torch.cat(sides, dim=1))), *sides]


def _pooled(x: Tensor, before: int) -> Tensor:
    if before == 0:
        return x
    return F.max_pool2d(x, 2) if before < 4 else F.max_pool2d(x, 3, stride=1, padding=1)
