"""CrackFormer, a rival in the CIRL paper's table 2. A reconstruction.

Paper: Liu et al., "CrackFormer: Transformer Network for Fine-Grained Crack Detection", ICCV 2021, section 3: SegNet's
encoder and decoder, whose 3 x 3 convolutions give way to blocks of 1 x 1 convolutions about self-attention with a
positional embedding of large reach; at each scale a scaling-attention block lets what the decoder gives weigh what the
encoder gives; the maps of the five scales are resized and fused, and every one is trained, see `outputs`.

The attention is written as lambda layers (Bello, ICLR 2021, arXiv:2102.08602): every pixel's keys and values are
summed up once for the content, over the whole image, and once for the position, over a neighbourhood. The paper does
not print its widths in what the CIRL paper repeats; here they are VGG16's. 7,779,147 parameters. The summary of the
content takes in the whole image, so what the network sees has no bound.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import layers, vgg
from train.models.segnet import pooled_with_place, unpooled

HEADS: Final = 4
KEY: Final = 16  # channels of a query and a key
REACH: Final = 7  # px, of the positional embedding


class CrackFormer(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        width: factor on VGG16's channels, for trials.

    Raises:
        ValueError: it leaves no channel for each of the four heads.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = vgg.channels(width)
        if any(n % HEADS for n in channels):
            raise ValueError(f"width={width} makes {channels[0]} channels, which {HEADS} heads cannot share")
        self.stride_px = 2 ** len(channels)
        self.receptive_field_px: int | None = None
        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 3, padding=1), nn.BatchNorm2d(channels[0]), nn.ReLU())
        fed = pairwise((channels[0], *channels))
        self.encoders = nn.ModuleList(_stage(a, b, depth) for (a, b), depth in zip(fed, vgg.DEPTHS, strict=True))
        back = pairwise((channels[0], *channels))
        self.decoders = nn.ModuleList(_stage(b, a, depth) for (a, b), depth in zip(back, vgg.DEPTHS, strict=True))
        given = (channels[0], *channels[:-1])
        self.scaling = nn.ModuleList(_Scaling(a, b) for a, b in zip(channels, given, strict=True))
        self.fuse = layers.Fusion(len(channels))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.outputs(image)[0]

    def outputs(self, image: Tensor) -> list[Tensor]:
        """Return the fused logits and those of each scale, all (N, 1, H, W)."""
        x, encoded, places = self.stem(vgg.standardised(image)), [], []
        for encoder in self.encoders:
            x = encoder(x)
            encoded.append(x)
            x, place = pooled_with_place(x)
            places.append(place)
        sides = []
        for level in range(len(encoded) - 1, -1, -1):
            x = self.decoders[level](unpooled(x, places[level]))
            logits = self.scaling[level](encoded[level], x)
            sides.append(F.interpolate(logits, scale_factor=2.0**level, mode="bilinear", align_corners=False))
        sides.reverse()
        return self.fuse.with_sides(sides)


class Lambda(nn.Module):
    """Self-attention of each pixel with all of them by content, and with its neighbours by position.

    Args:
        channels: a multiple of `HEADS`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.queries = nn.Sequential(nn.Conv2d(channels, HEADS * KEY, 1, bias=False), nn.BatchNorm2d(HEADS * KEY))
        self.keys = nn.Conv2d(channels, KEY, 1, bias=False)
        self.values = nn.Sequential(
            nn.Conv2d(channels, channels // HEADS, 1, bias=False), nn.BatchNorm2d(channels // HEADS)
        )
        self.position = nn.Conv3d(1, KEY, (1, REACH, REACH), padding=(0, REACH // 2, REACH // 2))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W) of (N, C, H, W)."""
        count, _, height, width = x.shape
        queries = self.queries(x).reshape(count, HEADS, KEY, height * width)
        keys = self.keys(x).flatten(2).softmax(-1)
        values = self.values(x)
        content = torch.einsum("nkp,nvp->nkv", keys, values.flatten(2))
        position = self.position(values[:, None]).flatten(3)  # (N, KEY, V, P)
        found = torch.einsum("nhkp,nkv->nhvp", queries, content) + torch.einsum("nhkp,nkvp->nhvp", queries, position)
        return found.reshape(count, -1, height, width)


class _Block(nn.Module):
    """1 x 1 convolution, attention, 1 x 1 convolution, beside the identity."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.beside = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)
        self.enter = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
        self.attention = Lambda(outputs)
        self.leave = nn.Sequential(
            nn.BatchNorm2d(outputs), nn.ReLU(), nn.Conv2d(outputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(cast("Tensor", self.beside(x) + self.leave(self.attention(self.enter(x)))))


class _Scaling(nn.Module):
    """What the decoder gives says how much of what the encoder gives makes the scale's map."""

    def __init__(self, encoded: int, decoded: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Conv2d(decoded, encoded, 1), nn.Sigmoid())
        self.map = nn.Conv2d(encoded + decoded, 1, 1)

    def forward(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        return cast("Tensor", self.map(torch.cat([encoded * self.weigh(decoded), decoded], dim=1)))


def _stage(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    return nn.Sequential(_Block(inputs, outputs), *(_Block(outputs, outputs) for _ in range(depth - 1)))
