"""Recurrent U-Net with the dual-gated unit (DRU), a rival in the CIRL paper's table 2. A reconstruction.

Paper: Wang et al., "Recurrent U-Net for Resource-Constrained Segmentation", ICCV 2019, arXiv:1906.04913, section 3. The
network runs several times over one image. Each time it is given the image and the map it has drawn last; between its
outer levels, which run as in any U-Net, the inner ones are the candidate of a gated recurrent unit. From what enters
them, e, and the state h:

    r = sigmoid(W_r [e, h])    c = tanh(inner(e, r h))    z = sigmoid(W_z [e, h])    h' = z h + (1 - z) c

The maps of all rounds are trained, see `outputs`. Departures: every round's loss counts alike, where the paper lets the
early ones fade by 0.4 per round; three rounds, and the unit below two poolings. 33,529,345 parameters of U-Net's
channels with batch normalisation, whose statistics the rounds share.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import layers, reach
from train.models.vgg import standardised

_LEVELS: Final = 5
_OUTER: Final = 2  # levels above the unit


class DRU(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        channels: at full resolution; each of the four levels below has twice as many.
        rounds: how often it runs over an image, 2 or more.

    Raises:
        ValueError: no channel, or one round.
    """

    def __init__(self, channels: int = 64, rounds: int = 3) -> None:
        super().__init__()
        if channels < 1 or rounds < 2:
            raise ValueError(f"channels={channels} must be 1 or more, rounds={rounds} 2 or more")
        widths = [channels * 2**level for level in range(_LEVELS)]
        self.rounds = rounds
        self.stride_px = 2 ** (_LEVELS - 1)
        self.receptive_field_px: int | None = _receptive_field(rounds)
        self.feature_width = channels
        self.state_width = widths[_OUTER]
        self.down = nn.ModuleList(_double(a, b) for a, b in pairwise((4, *widths)))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_double(2 * a, a) for a in widths[:-1])
        self.enter = nn.Conv2d(2 * self.state_width, self.state_width, 1)
        self.reset, self.update = (
            nn.Conv2d(2 * self.state_width, self.state_width, 3, padding=1) for _ in ("reset", "update")
        )
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.outputs(image)[0]

    def outputs(self, image: Tensor) -> list[Tensor]:
        """Return the logits of each round, the last round's first."""
        return [self.classify(features) for features in reversed(self._rounds(image))]

    def features(self, image: Tensor) -> Tensor:
        """Return what the head is given in the last round, (N, feature_width, H, W)."""
        return self._rounds(image)[-1]

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of features."""
        return cast("Tensor", self.head(features))

    def _rounds(self, image: Tensor) -> list[Tensor]:
        given = standardised(image)
        drawn = torch.zeros_like(given[:, :1])
        coarse = F.avg_pool2d(drawn, 2**_OUTER)
        state = coarse.expand(-1, self.state_width, -1, -1)
        found: list[Tensor] = []
        for _ in range(self.rounds):
            x, skips = torch.cat([given, drawn], dim=1), []
            for level in range(_OUTER):
                x = self.down[level](F.max_pool2d(x, 2) if level else x)
                skips.append(x)
            state = self._unit(self.down[_OUTER](F.max_pool2d(x, 2)), state)
            x = self._widened(state, skips, range(_OUTER - 1, -1, -1))
            found.append(x)
            drawn = self.classify(x).sigmoid()
        return found

    def _unit(self, entering: Tensor, state: Tensor) -> Tensor:
        both = torch.cat([entering, state], dim=1)
        reset, update = self.reset(both).sigmoid(), self.update(both).sigmoid()
        x, skips = self.enter(torch.cat([entering, reset * state], dim=1)), []
        for level in range(_OUTER, _LEVELS - 1):
            skips.append(x)
            x = self.down[level + 1](F.max_pool2d(x, 2))
        candidate = self._widened(x, skips, range(_LEVELS - 2, _OUTER - 1, -1)).tanh()
        return cast("Tensor", update * state + (1 - update) * candidate)

    def _widened(self, x: Tensor, skips: list[Tensor], levels: range) -> Tensor:
        for level, skip in zip(levels, reversed(skips), strict=True):
            x = self.up[level](torch.cat([skip, self.enlarge[level](x)], dim=1))
        return x


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(layers.conv(inputs, outputs), layers.conv(outputs, outputs))


def _receptive_field(rounds: int) -> int:
    """Return the reach of the longest path through all rounds: each begins with what the one before has drawn."""
    twice = [reach.conv(3)] * 2
    up, down = [*twice, reach.transposed(2, stride=2)], [*twice, reach.conv(2, stride=2, padding=0)]
    once = [*up * (_LEVELS - 1), *down * (_LEVELS - 1), *twice]
    return reach.receptive_field(once * rounds, 2 ** (_LEVELS - 1))
