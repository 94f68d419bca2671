"""Richer convolutional features (RCF), a rival in the adaptive WCE paper's tables.

Paper: Liu et al., "Richer Convolutional Features for Edge Detection", CVPR 2017, arXiv:1612.02103, section 3.1: as HED,
but every convolution of a stage is reduced to 21 channels, which are summed and reduced to one; the fifth stage is
dilated by 2 behind a pool of stride 1, so that there are three reductions. 14,803,781 parameters (the paper: 14.8M).
Departures: that pool is 3 x 3, which keeps the extent; bilinear resizing in place of transposed convolutions.
"""

from __future__ import annotations

from typing import Final, cast

from torch import Tensor, nn
from torch.nn import functional as F

from train.models import layers, reach, vgg

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
        stages = vgg.stages(width, dilation_of_last=2)
        self.levels = nn.ModuleList(
            _Level(cast("vgg.Stage", stage), n, depth)
            for stage, n, depth in zip(stages, vgg.channels(width), vgg.DEPTHS, strict=True)
        )
        self.fuse = layers.Fusion(len(self.levels))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.outputs(image)[0]

    def outputs(self, image: Tensor) -> list[Tensor]:
        """Return the fused logits and those of each side, all (N, 1, H, W)."""
        x, sides = vgg.standardised(image), []
        for number, level in enumerate(self.levels):
            x, logits = level(_pooled(x, number))
            sides.append(
                F.interpolate(logits, scale_factor=2.0 ** min(number, 3), mode="bilinear", align_corners=False)
            )
        return self.fuse.with_sides(sides)


class _Level(nn.Module):
    """A stage of VGG16 and the map that all its convolutions make together."""

    def __init__(self, stage: vgg.Stage, channels: int, depth: int) -> None:
        super().__init__()
        self.stage = stage
        self.reductions = nn.ModuleList(nn.Conv2d(channels, REDUCED, 1) for _ in range(depth))
        self.side = nn.Conv2d(REDUCED, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.stage.each(x)
        total = self.reductions[0](found[0])
        for reduction, y in zip(self.reductions[1:], found[1:], strict=True):
            total = total + reduction(y)
        return found[-1], cast("Tensor", self.side(total))


def _pooled(x: Tensor, before: int) -> Tensor:
    if before == 0:
        return x
    return F.max_pool2d(x, 2) if before < 4 else F.max_pool2d(x, 3, stride=1, padding=1)
