"""Spiral-Net, and the U-Net that it unfolds.

Paper: Kobayashi, "Spiral-Net with F1-Based Optimization for Image-Based Crack Detection", ACCV 2018, section 2,
figure 1, table 1. An encoder is a 3 x 3 convolution of stride 2, a decoder a 3 x 3 transposed convolution of stride 2,
both without padding, followed by batch normalisation and ReLU. A module of depth d stacks encoders 1 to d and decoders
d to 1, and gives one map of its input's size. Modules follow one another, each fed with the maps of those before it,
the first with the image; a 1 x 1 convolution makes logits of all the maps.

How its inputs tile: without padding n pixels become (n - 1) / 2 and come back as 2 n + 1, so an extent returns whole
from depth 7 only if it is a multiple of 128 less one, as the paper's 255. The networks here take multiples of 128:
they leave the last row and column out, and give these the answer of their neighbours; 128 itself is widened to 256.

The paper prints parameters in units of 2^20: 39.7 for Spiral-Net's 41,625,942, 22.4 for the U-Net's 23,531,074. These
counts leave no room for a bias beside batch normalisation, nor for a head of the U-Net: its last decoder answers, of
which the ReLU is left out, as it could never say "no crack".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import reach

ENCODERS: Final = (64, 128, 256, 512, 512, 512, 512)  # table 1: channels that each gives
DECODERS: Final = (1, 64, 128, 256, 512, 512, 512)
INCREASING: Final = (1, 2, 3, 4, 5, 6, 7)
WIDE: Final = 4 / 3  # of the wide U-Net, table 5: 39.9 M parameters in the paper's counting

Connection = Literal["concatenate", "sum", "none"]


class SpiralNet(nn.Module):
    """RGB in [0, 1] to crack logits by a chain of hourglasses; 41.63M parameters.

    Args:
        depths: of the modules, table 2, each from 1 to 7: increasing, decreasing, triangle or uniform.
        connection: what a module is fed with, table 3: the maps of all modules before it, their sum, or only the last.
        width: factor on the channels of table 1, for trials; a module's own map keeps its one channel.

    Raises:
        ValueError: no module, a depth outside 1 to 7, no such connection, or a width that leaves no channel.
    """

    def __init__(
        self, depths: Sequence[int] = INCREASING, connection: Connection = "concatenate", width: float = 1.0
    ) -> None:
        super().__init__()
        if not depths or not all(1 <= depth <= len(ENCODERS) for depth in depths):
            raise ValueError(f"depths={list(depths)} must name a depth from 1 to {len(ENCODERS)} for each module")
        if connection not in {"concatenate", "sum", "none"}:
            raise ValueError(f"connection={connection!r} is not one of concatenate, sum, none")
        self.stride_px = 2 ** max(depths)
        self.receptive_field_px: int | None = _receptive_field(depths)
        self.connection = connection
        channels = [3, *(before if connection == "concatenate" else 1 for before in range(1, len(depths)))]
        self.hourglasses = nn.ModuleList(
            _hourglass(inputs, depth, width) for inputs, depth in zip(channels, depths, strict=True)
        )
        self.head = nn.Conv2d(len(depths) if connection == "concatenate" else 1, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; see the module for H and W.

        Raises:
            ValueError: an extent that the deepest module cannot give back.
        """
        maps = self.maps(image)
        logits: Tensor = self.head(_fed(maps, self.connection))
        return _whole(logits, image)

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return each module's map, (N, 1, H - 1, W - 1), >= 0: figure 3."""
        maps: list[Tensor] = []
        for hourglass in self.hourglasses:
            maps.append(hourglass(_fed(maps, self.connection) if maps else _closing(image, self.stride_px)))
        return maps


class VanillaUNet(nn.Module):
    """RGB in [0, 1] to crack logits by the U-Net of section 4.2, after pix2pix; 23.53M parameters.

    Args:
        width: factor on the channels of table 1; `WIDE` is the wide U-Net of table 5.

    Raises:
        ValueError: a width that leaves no channel.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        encoders, decoders = _channels(ENCODERS, width), _channels(DECODERS, width)
        self.stride_px = 2 ** len(encoders)
        self.receptive_field_px: int | None = _receptive_field([len(encoders)])
        self.encoders = nn.ModuleList(_encoder(a, b) for a, b in pairwise((3, *encoders)))
        fed = [below + beside for below, beside in zip(decoders[1:], encoders, strict=False)] + [encoders[-1]]
        self.decoders = nn.ModuleList(
            _decoder(a, b, last=level == 0) for level, (a, b) in enumerate(zip(fed, decoders, strict=True))
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; see the module for H and W.

        Raises:
            ValueError: an extent that the deepest level cannot give back.
        """
        x = _closing(image, self.stride_px)
        skips = []
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
        x = self.decoders[-1](skips.pop())
        for decoder, skip in zip(reversed(self.decoders[:-1]), reversed(skips), strict=True):
            x = decoder(torch.cat([x, skip], dim=1))
        return _whole(x, image)


def _hourglass(inputs: int, depth: int, width: float) -> nn.Sequential:
    down = _channels(ENCODERS[:depth], width)
    up = _channels(DECODERS[:depth], width)[::-1]
    return nn.Sequential(
        *(_encoder(a, b) for a, b in pairwise((inputs, *down))), *(_decoder(a, b) for a, b in pairwise((down[-1], *up)))
    )


def _channels(of_table: Sequence[int], width: float) -> tuple[int, ...]:
    channels = tuple(1 if n == 1 else round(n * width) for n in of_table)
    if min(channels) < 1:
        raise ValueError(f"width={width} leaves no channel of {min(n for n in of_table if n > 1)}")
    return channels


def _encoder(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride=2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _decoder(inputs: int, outputs: int, *, last: bool = False) -> nn.Sequential:
    conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, bias=False)
    ending = [] if last else [nn.ReLU(inplace=True)]
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *ending)


def _fed(maps: list[Tensor], connection: Connection) -> Tensor:
    if connection == "none":
        return maps[-1]
    return torch.cat(maps, dim=1) if connection == "concatenate" else cast("Tensor", sum(maps))


def _closing(image: Tensor, stride: int) -> Tensor:
    """Leave out the last row and column, so that the deepest level gives back the extent it was given."""
    height, width = image.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(f"a picture of {width}x{height} px does not fit: both extents must be multiples of {stride}")
    below, right = max(0, 2 * stride - height), max(0, 2 * stride - width)
    if below or right:  # the deepest level would have nothing to look at
        image = F.pad(image, (0, right, 0, below), mode="replicate")
    return image[..., :-1, :-1]


def _whole(logits: Tensor, like: Tensor) -> Tensor:
    """Give the row and column that were left out the answer of their neighbours; take off what was added."""
    height, width = like.shape[-2:]
    return F.pad(logits, (0, 1, 0, 1), mode="replicate")[..., :height, :width]


def _receptive_field(depths: Sequence[int]) -> int:
    """Return the reach of the path through every module, px."""
    steps = [
        step
        for depth in reversed(depths)
        for step in [reach.transposed(3, stride=2)] * depth + [reach.conv(3, stride=2, padding=0)] * depth
    ]
    return reach.receptive_field(steps, 2 ** max(depths)) + 2  # one pixel has its neighbour's answer
