"""Two U-Nets that the papers compare with, and of which they say little. Reconstructions.

`VGGUNet`: the CIRL paper's VGG-UNet, by which it means the network of Mosinska et al., "Beyond the Pixel-Wise Loss for
Topology-Aware Delineation", CVPR 2018, arXiv:1712.02190. What that paper is known for, a loss on the features of a
VGG19 that was trained on photos, needs weights that nothing here downloads; here it is the U-Net whose contracting path
is VGG16's five stages with batch normalisation. 25,866,945 parameters.

`ModifiedUNet`: the balanced focal paper's own earlier network (Siriborvornratanakul, "A Deep Learning Based Road
Distress Visual Inspection System Using Modified U-Net", LNCS 13097, 2021), of which it says: a symmetric U with skips
between equal levels, and one loss at its end. Here: padded convolutions with batch normalisation, bilinear resizing,
dropout at the bottom, half of U-Net's channels. 8,633,921 parameters.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import layers, reach, vgg

_LEVELS: Final = len(vgg.DEPTHS)


class VGGUNet(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        width: factor on VGG16's channels, for trials.

    Raises:
        ValueError: it leaves no channel.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = vgg.channels(width)
        self.stride_px = 2 ** (_LEVELS - 1)
        twice = [reach.conv(3)] * 2
        self.receptive_field_px: int | None = reach.receptive_field(
            [*([*twice, reach.transposed(2, stride=2)] * (_LEVELS - 1)), *vgg.steps_back(pools=4)], self.stride_px
        )
        self.feature_width = channels[0]
        self.down = vgg.stages(width, batch_norm=True)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(channels))
        self.up = nn.ModuleList(vgg.Stage([2 * a, a, a], batch_norm=True) for a in channels[:-1])
        self.head = nn.Conv2d(channels[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.classify(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """Return what the head is given, (N, feature_width, H, W)."""
        return layers.down_and_up(vgg.standardised(image), self.down, self.enlarge, self.up)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of features."""
        return cast("Tensor", self.head(features))


class ModifiedUNet(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        channels: at full resolution; each of the four levels below has twice as many.
        dropout: share of the deepest features that are left out in training.

    Raises:
        ValueError: no channel, or a share outside [0, 1).
    """

    def __init__(self, channels: int = 32, dropout: float = 0.5) -> None:
        super().__init__()
        if channels < 1 or not 0 <= dropout < 1:
            raise ValueError(f"channels={channels} must be 1 or more, dropout={dropout} in [0, 1)")
        widths = [channels * 2**level for level in range(_LEVELS)]
        self.stride_px = 2 ** (_LEVELS - 1)
        twice = [reach.conv(3)] * 2
        merges = [*twice, reach.conv(3), reach.bilinear(2)] * (_LEVELS - 1)
        downs = [*twice, reach.conv(2, stride=2, padding=0)] * (_LEVELS - 1)
        self.receptive_field_px: int | None = reach.receptive_field([*merges, *downs, *twice], self.stride_px)
        self.feature_width = channels
        self.down = nn.ModuleList(_double(a, b) for a, b in pairwise((3, *widths)))
        self.dropout = nn.Dropout2d(dropout)
        self.narrow = nn.ModuleList(layers.conv(b, a) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_double(2 * a, a) for a in widths[:-1])
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.classify(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """Return what the head is given, (N, feature_width, H, W)."""
        x, skips = vgg.standardised(image), []
        for level, down in enumerate(self.down):
            x = down(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        x = self.dropout(skips.pop())
        for narrow, up, skip in zip(reversed(self.narrow), reversed(self.up), reversed(skips), strict=True):
            x = narrow(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
            x = up(torch.cat([skip, x], dim=1))
        return cast("Tensor", x)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of features."""
        return cast("Tensor", self.head(features))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(layers.conv(inputs, outputs), layers.conv(outputs, outputs))
