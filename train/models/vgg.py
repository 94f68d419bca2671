"""VGG16's convolutions (Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556), which the crack papers' rivals stand on.

Only the five stages: what follows them differs. 14,714,688 parameters with biases and without batch normalisation.
"""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor, nn

from train.models import reach

CHANNELS: Final = (64, 128, 256, 512, 512)
DEPTHS: Final = (2, 2, 3, 3, 3)  # convolutions in each stage


def channels(width: float) -> tuple[int, ...]:
    """Return the channels of each stage.

    Args:
        width: factor on VGG16's, for trials.

    Raises:
        ValueError: it leaves no channel.
    """
    scaled = tuple(round(n * width) for n in CHANNELS)
    if min(scaled) < 1:
        raise ValueError(f"width={width} leaves no channel of VGG16's {CHANNELS[0]}")
    return scaled


def stages(width: float = 1.0, *, batch_norm: bool = False, dilation_of_last: int = 1) -> nn.ModuleList:
    """Return the five stages, each a `Stage`; the pools between them are the caller's."""
    fed = pairwise((3, *channels(width)))
    dilations = (1, 1, 1, 1, dilation_of_last)
    return nn.ModuleList(
        Stage([a] + [b] * depth, batch_norm=batch_norm, dilation=dilation)
        for (a, b), depth, dilation in zip(fed, DEPTHS, dilations, strict=True)
    )


class Stage(nn.Module):
    """A stack of padded 3 x 3 convolutions with ReLU.

    Args:
        widths: channels before, between and behind the convolutions.
        batch_norm: normalise between convolution and ReLU.
        dilation: of the convolutions, px.
    """

    def __init__(self, widths: list[int], *, batch_norm: bool = False, dilation: int = 1) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, padding=dilation, dilation=dilation),
                *([nn.BatchNorm2d(b)] if batch_norm else []),
                nn.ReLU(),
            )
            for a, b in pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, widths[-1], H, W) of (N, widths[0], H, W)."""
        return self.each(x)[-1]

    def each(self, x: Tensor) -> list[Tensor]:
        """Return what each convolution gives."""
        found = []
        for conv in self.convs:
            x = conv(x)
            found.append(x)
        return found


def start_from(given: nn.ModuleList, path: Path) -> None:
    """Copy the convolutions of a file with torchvision's `vgg16` weights into stages of full width, without batch norm.

    Raises:
        ValueError: the file cannot be read, or holds other weights.
    """
    convs = [cast("nn.Sequential", conv)[0] for stage in given for conv in cast("Stage", stage).convs]
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        names = sorted({int(name.split(".")[1]) for name in found if name.startswith("features.")})
        if len(names) != len(convs):
            raise ValueError(f"weights={path}: not weights of vgg16 ({len(names)} convolutions)")
        for number, conv in zip(names, convs, strict=True):
            conv.load_state_dict({kind: found[f"features.{number}.{kind}"] for kind in ("weight", "bias")})
    except (OSError, RuntimeError, TypeError, KeyError, AttributeError, pickle.UnpicklingError) as exc:
        raise ValueError(f"weights={path}: not weights of vgg16 ({str(exc).splitlines()[0]})") from exc


def standardised(image: Tensor) -> Tensor:
    """Return an image in [0, 1] as about standard normal values, without the statistics of any photo collection."""
    return (image - 0.5) / 0.25


def steps_back(pools: int, *, dilation_of_last: int = 1) -> list[reach.Step]:
    """Return the way from the fifth stage back to the image; the first `pools` of the four pools halve the extent."""
    steps = []
    for number, depth in reversed(list(enumerate(DEPTHS, start=1))):
        steps += [reach.conv(3, dilation=dilation_of_last if number == len(DEPTHS) else 1)] * depth
        if number > 1:
            steps.append(reach.conv(2, stride=2, padding=0) if number - 1 <= pools else reach.conv(3))
    return steps
