"""SegNet, and DeepCrack, which supervises each of its scales; rivals in the adaptive WCE paper's tables.

Badrinarayanan et al., "SegNet", TPAMI 2017, arXiv:1511.00561, section 3: VGG16 with batch normalisation and its mirror
image, whose layers are fed by unpooling: a value returns to where the largest of its four was. 29.44M parameters.
Zou et al., "DeepCrack: Learning Hierarchical Convolutional Features for Crack Detection", TIP 2019, section III: at
each scale, what SegNet's encoder and decoder give is joined, reduced to a map and resized; a weighted sum fuses the
five. Every map is trained like the fused one: see `outputs`. 29.48M parameters, as the adaptive WCE paper prints.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import layers, reach, vgg


class SegNet(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        width: factor on VGG16's channels, for trials.

    Raises:
        ValueError: it leaves no channel.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.stride_px = 32
        self.receptive_field_px: int | None = reach.receptive_field(_steps_back(), self.stride_px)
        self.encoders, self.decoders = vgg.stages(width, batch_norm=True), _mirror(width)
        self.head = nn.Conv2d(vgg.channels(width)[0], 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        _, decoded = _there_and_back(self.encoders, self.decoders, image)
        return cast("Tensor", self.head(decoded[0]))


class DeepCrack(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        width: factor on VGG16's channels, for trials.

    Raises:
        ValueError: it leaves no channel.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.stride_px = 32
        self.receptive_field_px: int | None = reach.receptive_field(_steps_back(), self.stride_px)
        self.encoders = vgg.stages(width, batch_norm=True)
        self.decoders = _mirror(width, whole_first=True)
        encoded = vgg.channels(width)
        decoded = (encoded[0], *encoded[:-1])
        self.sides = nn.ModuleList(nn.Conv2d(a + b, 1, 1) for a, b in zip(encoded, decoded, strict=True))
        self.fuse = layers.Fusion(len(self.sides))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.outputs(image)[0]

    def outputs(self, image: Tensor) -> list[Tensor]:
        """Return the fused logits and those of each scale, all (N, 1, H, W)."""
        encoded, decoded = _there_and_back(self.encoders, self.decoders, image)
        sides = [
            F.interpolate(side(torch.cat(both, dim=1)), scale_factor=2.0**level, mode="bilinear", align_corners=False)
            for level, (side, *both) in enumerate(zip(self.sides, encoded, decoded, strict=True))
        ]
        return self.fuse.with_sides(sides)


def _mirror(width: float, *, whole_first: bool = False) -> nn.ModuleList:
    """Return the decoders, that of full resolution first; SegNet's last convolution is its head, DeepCrack's is not."""
    own = vgg.channels(width)
    below = (own[0], *own[:-1])
    depths = list(vgg.DEPTHS)
    depths[0] -= not whole_first
    return nn.ModuleList(
        vgg.Stage([a] * depth + [b], batch_norm=True) for a, b, depth in zip(own, below, depths, strict=True)
    )


def _there_and_back(
    encoders: nn.ModuleList, decoders: nn.ModuleList, image: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Return what each encoder and each decoder gives, full resolution first."""
    x, encoded, places = vgg.standardised(image), [], []
    for encoder in encoders:
        x = encoder(x)
        encoded.append(x)
        x, place = pooled_with_place(x)
        places.append(place)
    decoded: list[Tensor] = []
    for decoder, place in zip(reversed(decoders), reversed(places), strict=True):
        x = decoder(unpooled(x, place))
        decoded.insert(0, x)
    return encoded, decoded


def pooled_with_place(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest of each 2 x 2 pixels, and which of the four it was, as 0 and 1: (N, C, 4, H / 2, W / 2)."""
    fours = torch.unflatten(F.pixel_unshuffle(x, 2), 1, (x.shape[1], 4))
    largest = fours.argmax(2, keepdim=True)
    return fours.amax(2), (largest == torch.arange(4, device=x.device)[:, None, None]).to(x.dtype)


def unpooled(x: Tensor, place: Tensor) -> Tensor:
    """Return each value where the largest of its four pixels was, 0 elsewhere."""
    return F.pixel_shuffle((x[:, :, None] * place).flatten(1, 2), 2)


def _steps_back() -> list[reach.Step]:
    decoding = [step for depth in vgg.DEPTHS for step in [*[reach.conv(3)] * depth, reach.nearest(2)]]
    return [*decoding, reach.conv(2, stride=2, padding=0), *vgg.steps_back(pools=4)]
