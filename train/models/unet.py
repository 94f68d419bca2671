"""A small U-Net that works at half resolution: thin layers at full resolution waste a CPU core (and a Jetson).

After Ronneberger et al., "U-Net", MICCAI 2015, arXiv:1505.04597. Departures: a stem of stride 2 in place of the two
full-resolution levels; batch normalisation; padded convolutions; the upper path resizes bilinearly and concatenates a
skip of the same width, in place of transposed convolutions, whose uneven overlap leaves checkerboards; the last step to
full resolution is a sub-pixel convolution (Shi et al., CVPR 2016, arXiv:1609.05158) that starts as nearest-neighbour
upsampling (Aitken et al., arXiv:1707.02937), so that a one-pixel crack can be told from its neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain, pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import layers, reach


class HalfResUNet(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        widths: channels at 1/2, 1/4, ... of the input's resolution; two levels or more.
        stem_kernel: edge of the first convolution, px, odd.
        norm: see `train.models.layers.conv`.

    Raises:
        ValueError: fewer than two levels, a width below 1, an even stem, or no such normalisation.
    """

    def __init__(
        self, widths: Sequence[int] = (24, 32, 48, 64, 96), stem_kernel: int = 5, norm: layers.Norm = "batch"
    ) -> None:
        super().__init__()
        conv = partial(layers.conv, norm=norm)
        if len(widths) < 2 or min(widths) < 1 or stem_kernel % 2 == 0:
            raise ValueError(f"widths={list(widths)} needs two levels or more, stem_kernel={stem_kernel} must be odd")
        self.stride_px = 2 ** len(widths)
        self.feature_width = widths[0]
        self.receptive_field_px: int | None = _receptive_field(len(widths), stem_kernel) if norm == "batch" else None
        self.stem = conv(3, widths[0], kernel=stem_kernel, stride=2)
        self.enter = conv(widths[0], widths[0])
        self.down = nn.ModuleList(nn.Sequential(conv(a, b), conv(b, b)) for a, b in pairwise(widths))
        self.narrow = nn.ModuleList(conv(b, a, kernel=1) for a, b in pairwise(widths))
        self.merge = nn.ModuleList(
            # one convolution at half resolution, where it costs most
            conv(2 * a, a) if level == 0 else nn.Sequential(conv(2 * a, a), conv(a, a))
            for level, a in enumerate(widths[:-1])
        )
        self.head = nn.Conv2d(widths[0], 4, 3, padding=1)
        with torch.no_grad():  # the four sub-pixels of a pixel start equal
            self.head.weight.copy_(self.head.weight[:1].repeat(4, 1, 1, 1))
            self.head.bias.fill_(-3.0)  # type: ignore[union-attr]  # cracks are rare: start at 5 %, not at 50 %

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.classify(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """Return what the head is given, (N, feature_width, H / 2, W / 2)."""
        x = self.enter(self.stem(image * 2 - 1))
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(F.max_pool2d(x, 2))
        for narrow, merge, skip in zip(reversed(self.narrow), reversed(self.merge), reversed(skips), strict=True):
            x = F.interpolate(narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = merge(torch.cat([x, skip], dim=1))
        return cast("Tensor", x)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of features."""
        return F.pixel_shuffle(self.head(features), 2)


def _receptive_field(levels: int, stem_kernel: int) -> int:
    """Return the reach of the deepest path, px."""
    merges = [[reach.conv(3)] * (1 if level == 0 else 2) + [reach.bilinear(2)] for level in range(levels - 1)]
    downs = ([reach.conv(3)] * 2 + [reach.conv(2, stride=2, padding=0)]) * (levels - 1)
    steps = [reach.nearest(2), reach.conv(3), *chain.from_iterable(merges), *downs, reach.conv(3)]
    return reach.receptive_field([*steps, reach.conv(stem_kernel, stride=2)], 2**levels)
