"""The revised U-Net of the adaptive WCE paper.

Paper: Li et al., "Automatic Pixel-level Crack Detection Using an Adaptive Weighted Cross-Entropy Loss with Jaccard
Distance" (see `train.losses.adaptive_wce`), section III-A and figure 2, after Ronneberger et al., "U-Net", MICCAI 2015,
arXiv:1505.04597. Its revisions: padded convolutions, and transposed convolutions to enlarge. 31.03M parameters with 64
to 1024 channels, 7.76M with the 32 to 512 used for AigleRN. No batch normalisation, which neither paper has.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from train.models import layers, reach
from train.models.vgg import Stage, standardised


class RevisedUNet(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        channels: at full resolution; each of the levels below has twice as many.
        levels: 2 or more.

    Raises:
        ValueError: no channel, or one level.
    """

    def __init__(self, channels: int = 64, levels: int = 5) -> None:
        super().__init__()
        if channels < 1 or levels < 2:
            raise ValueError(f"channels={channels} must be 1 or more, levels={levels} 2 or more")
        widths = [channels * 2**level for level in range(levels)]
        self.stride_px = 2 ** (levels - 1)
        self.receptive_field_px: int | None = _receptive_field(levels)
        self.feature_width = channels
        self.down = nn.ModuleList(Stage([a, b, b]) for a, b in pairwise((3, *widths)))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Stage([b, a, a]) for a, b in pairwise(widths))
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.classify(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """Return what the head is given, (N, feature_width, H, W)."""
        return layers.down_and_up(standardised(image), self.down, self.enlarge, self.up)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of features."""
        return cast("Tensor", self.head(features))


def _receptive_field(levels: int) -> int:
    twice = [reach.conv(3)] * 2
    back = [*twice, reach.transposed(2, stride=2)] * (levels - 1) + [*twice, reach.conv(2, stride=2, padding=0)] * (
        levels - 1
    )
    return reach.receptive_field([*back, *twice], 2 ** (levels - 1))
