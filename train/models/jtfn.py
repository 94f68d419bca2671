"""JTFN, the network that CIRL is built on in its paper. A reconstruction.

Paper: Cheng et al., "Joint Topology-Preserving and Feature-Refinement Network for Curvilinear Structure Segmentation",
ICCV 2021: one network draws the structure and its boundary, whose joint learning keeps thin parts connected; its
features are refined by feedback, a gated attentive unit at each scale lets what was decoded in the round before weigh
what was encoded; the maps of all rounds are trained, see `maps_and_boundaries`.

Here: VGG16's stages with batch normalisation as encoder, run once; a decoder of transposed convolutions, run in two
rounds; a gate is a 1 x 1 convolution and a sigmoid, beside the identity. 26,564,290 parameters. The paper's own counts
are not repeated in the CIRL paper.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import reach, vgg

_LEVELS: Final = len(vgg.DEPTHS)


class JTFN(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        width: factor on VGG16's channels, for trials.
        rounds: of the decoder, 2 or more.

    Raises:
        ValueError: it leaves no channel, or one round.
    """

    def __init__(self, width: float = 1.0, rounds: int = 2) -> None:
        super().__init__()
        if rounds < 2:
            raise ValueError(f"rounds={rounds} must be 2 or more")
        channels = vgg.channels(width)
        self.rounds = rounds
        self.stride_px = 2 ** (_LEVELS - 1)
        self.receptive_field_px: int | None = _receptive_field(rounds)
        self.feature_width = channels[0]
        self.down = vgg.stages(width, batch_norm=True)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(channels))
        self.up = nn.ModuleList(vgg.Stage([2 * a, a, a], batch_norm=True) for a in channels[:-1])
        self.gates = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a in channels[:-1])
        self.head, self.boundary = nn.Conv2d(channels[0], 1, 1), nn.Conv2d(channels[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.classify(self.features(image))

    def maps_and_boundaries(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the logits of each round, the last one's first: of the crack, and of its boundary."""
        rounds = self._rounds(image)[::-1]
        return [self.classify(x) for x in rounds], [self.boundary(x) for x in rounds]

    def features(self, image: Tensor) -> Tensor:
        """Return what the heads are given in the last round, (N, feature_width, H, W)."""
        return self._rounds(image)[-1]

    def classify(self, features: Tensor) -> Tensor:
        """Return the crack logits of features."""
        return cast("Tensor", self.head(features))

    def _rounds(self, image: Tensor) -> list[Tensor]:
        x, encoded = vgg.standardised(image), []
        for level, down in enumerate(self.down):
            x = down(F.max_pool2d(x, 2) if level else x)
            encoded.append(x)
        found: list[Tensor] = []
        before: list[Tensor] = []
        for _ in range(self.rounds):
            x, decoded = encoded[-1], []
            for level in range(_LEVELS - 2, -1, -1):
                skip = encoded[level]
                if before:
                    skip = skip * (1 + self.gates[level](torch.cat([skip, before[level]], dim=1)).sigmoid())
                x = self.up[level](torch.cat([skip, self.enlarge[level](x)], dim=1))
                decoded.append(x)
            before = decoded[::-1]
            found.append(x)
        return found


def _receptive_field(rounds: int) -> int:
    """Return the reach of the path that changes rounds at the deepest gate, where a pixel is largest."""
    twice, up = [reach.conv(3)] * 2, [reach.transposed(2, stride=2)]
    steps = [*[*twice, *up] * (_LEVELS - 2), *twice * rounds, *up, *vgg.steps_back(pools=4)]
    return reach.receptive_field(steps, 2 ** (_LEVELS - 1))
