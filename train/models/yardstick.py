"""The plain U-Net at half resolution that every design here is laid beside: 514,801 parameters, 6.7 GFLOP at 512 px.

After Ronneberger et al., "U-Net", MICCAI 2015, arXiv:1505.04597. Departures: a stem of 4 x 4, stride 2; batch
normalisation; padded convolutions; bilinear resizing upwards; a transposed convolution as its head. It is kept as it
is: ratios of today can be laid beside those of last year.
"""

from __future__ import annotations

from itertools import chain, pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import layers, reach

_WIDTHS = (24, 32, 48, 64, 96)


class Yardstick(nn.Module):
    """RGB in [0, 1] to crack logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stride_px = 2 ** len(_WIDTHS)
        self.feature_width = _WIDTHS[0]
        self.receptive_field_px: int | None = _receptive_field()
        self.stem = nn.Sequential(
            nn.Conv2d(3, _WIDTHS[0], 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(_WIDTHS[0]), nn.ReLU()
        )
        self.down = nn.ModuleList(_double(a, b) for a, b in pairwise((_WIDTHS[0], *_WIDTHS)))
        self.up = nn.ModuleList(_double(a + b, a) for a, b in reversed(list(pairwise(_WIDTHS))))
        self.head = nn.ConvTranspose2d(_WIDTHS[0], 1, 4, stride=2, padding=1)
        with torch.no_grad():
            cast("Tensor", self.head.bias).fill_(-3.0)  # cracks are rare: start at 5 %, not at 50 %

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.classify(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """Return what the head is given, (N, feature_width, H / 2, W / 2)."""
        x = self.stem(image * 2 - 1)
        skips = []
        for level, down in enumerate(self.down):
            x = down(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for up, skip in zip(self.up, skips[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = up(torch.cat([x, skip], dim=1))
        return cast("Tensor", x)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of features."""
        return cast("Tensor", self.head(features))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(layers.conv(inputs, outputs), layers.conv(outputs, outputs))


def _receptive_field() -> int:
    levels = len(_WIDTHS)
    double = [reach.conv(3)] * 2
    ups = [[*double, reach.bilinear(2)] for _ in range(levels - 1)]
    downs = [*double, reach.conv(2, stride=2, padding=0)] * (levels - 1)
    steps = [reach.transposed(4, 2, 1), *chain.from_iterable(ups), *downs, *double, reach.conv(4, stride=2, padding=1)]
    return reach.receptive_field(steps, 2**levels)
