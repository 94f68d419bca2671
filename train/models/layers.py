"""The convolution that the networks are made of."""

from __future__ import annotations

from math import gcd
from typing import Literal

from torch import nn

Norm = Literal["batch", "group"]
_NORMS = ("batch", "group")
_GROUPS = 8  # at most


def conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, norm: Norm = "batch") -> nn.Sequential:
    """Return a padded convolution with normalisation and ReLU.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: edge, px, odd.
        stride: px.
        norm: "batch" (Ioffe and Szegedy, arXiv:1502.03167), or "group" (Wu and He, arXiv:1803.08494). The latter looks
            at one image at a time: neither a batch of two nor its division over processes changes what it computes.
            But it looks at all of the image, so the receptive field has no bound.

    Raises:
        ValueError: no such normalisation.
    """
    if norm not in _NORMS:
        raise ValueError(f"norm={norm!r} is not one of {', '.join(_NORMS)}")
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs) if norm == "batch" else nn.GroupNorm(gcd(outputs, _GROUPS), outputs),
        nn.ReLU(inplace=True),
    )
