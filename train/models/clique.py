"""U-CliqueNet, the light rival in the adaptive WCE paper's tables V to VIII. A reconstruction.

Papers: Li et al., "Automatic Tunnel Crack Detection Based on U-Net and a Convolutional Neural Network with Alternately
Updated Clique", Sensors 2020, of which the adaptive WCE paper repeats that a clique block has 4 layers; the blocks are
those of Yang et al., "Convolutional Neural Networks with Alternately Updated Clique", CVPR 2018, arXiv:1802.10419,
section 3. In a clique block each layer is joined with each other in both directions. Stage I computes the layers one
after the other, each from the input and those before it; stage II computes each once more from the newest of all
others, by the same weights. Stage II goes on, through a 1 x 1 convolution and channel attention (their section 3.3).

What the adaptive WCE paper leaves open is chosen here so that the parameters come near to what it prints: three
poolings, 16 channels in each layer, bilinear resizing, skips that are added. 488,925 against 487.77K, and so not the
same network. The attention averages over the whole image, so what the network sees has no bound.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models.vgg import standardised

LAYERS: Final = 4  # of a block


class UCliqueNet(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        growth: channels of each of a block's four layers; a level has four times as many.
        levels: 2 or more.

    Raises:
        ValueError: no channel, or one level.
    """

    def __init__(self, growth: int = 16, levels: int = 4) -> None:
        super().__init__()
        if growth < 1 or levels < 2:
            raise ValueError(f"growth={growth} must be 1 or more, levels={levels} 2 or more")
        channels = LAYERS * growth
        self.stride_px = 2 ** (levels - 1)
        self.receptive_field_px: int | None = None
        self.feature_width = channels
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.down = nn.ModuleList(_level(channels, growth) for _ in range(levels))
        self.up = nn.ModuleList(_level(channels, growth) for _ in range(levels - 1))
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.classify(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """Return what the head is given, (N, feature_width, H, W)."""
        x, skips = self.stem(standardised(image)), []
        for level, down in enumerate(self.down):
            x = down(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False) + skip)
        return cast("Tensor", x)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of features."""
        return cast("Tensor", self.head(features))


class CliqueBlock(nn.Module):
    """Four layers, each joined with each other.

    Args:
        inputs: channels of what it is given.
        growth: channels of a layer.
    """

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.entering = nn.ModuleList(nn.Conv2d(inputs, growth, 3, padding=1, bias=False) for _ in range(LAYERS))
        # between[i][j]: what layer i takes from the j-th of the others
        self.between = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(growth, growth, 3, padding=1, bias=False) for _ in range(LAYERS - 1))
            for _ in range(LAYERS)
        )
        self.first = nn.ModuleList(nn.BatchNorm2d(growth) for _ in range(LAYERS))
        self.second = nn.ModuleList(nn.BatchNorm2d(growth) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        """Return stage II, (N, 4 growth, H, W)."""
        newest: list[Tensor] = []
        for layer, (enter, norm) in enumerate(zip(self.entering, self.first, strict=True)):
            newest.append(F.relu(norm(torch.stack([enter(x), *self._taken(layer, newest)]).sum(0))))
        for layer, norm in enumerate(self.second):
            newest[layer] = F.relu(norm(torch.stack(self._taken(layer, newest)).sum(0)))
        return torch.cat(newest, dim=1)

    def _taken(self, layer: int, newest: list[Tensor]) -> list[Tensor]:
        """Return what a layer takes from each other that there is."""
        weights = cast("nn.ModuleList", self.between[layer])
        return [weights[i - (i > layer)](other) for i, other in enumerate(newest) if i != layer]


class _Attention(nn.Module):
    """Weighs channels by their averages over the image (Hu et al., CVPR 2018, arXiv:1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(1, channels // 16)
        enter = nn.Conv2d(channels, squeezed, 1)
        nn.init.ones_(cast("Tensor", enter.bias))  # so few would be born dead behind the ReLU
        self.weigh = nn.Sequential(
            enter,
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * cast("Tensor", self.weigh(x.mean((2, 3), keepdim=True)))


def _level(channels: int, growth: int) -> nn.Sequential:
    return nn.Sequential(
        CliqueBlock(channels, growth),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        _Attention(channels),
    )
