"""The patch gate: is there a crack in this tile? Cheap enough to ask of every tile, so that few need the segmenter.

It sees the tile at half size. A stem of stride 4 in two steps (one large step would not see a crack of one pixel), a
few convolutions, then the average and the maximum over the whole patch side by side: the average tells the surface,
the maximum keeps a thin crack that fills 0.1 % of the tile.

Where a mask says where the cracks are, it also learns by cells: a head on every cell of the last features, used in
training alone, tells the features what to look for, which one label per patch hardly does for a thin crack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import layers


class PatchAnswers(NamedTuple):
    """What a patch network says in training."""

    logits: Tensor  # (N, 2), clean and crack
    cells: Tensor | None  # (N, 1, H / stride_px, W / stride_px), logits of crack; None where it has no such head
    features: Tensor  # (N, D), what the head was given


class CosineHead(nn.Module):
    """Logits that are cosines to a learnt prototype of each class, times a scale that the loss sets.

    Args:
        in_features: D.
        out_features: C.
    """

    scale: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.prototypes = nn.Parameter(torch.randn(out_features, in_features))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, C) of features (N, D)."""
        return self.scale * F.linear(F.normalize(features, dim=1), F.normalize(self.prototypes, dim=1))


_HEADS: Final[Mapping[str, Callable[[int, int], nn.Linear | CosineHead]]] = {
    "linear": nn.Linear,
    "cosine": CosineHead,
}


def head_of(kind: str, dimensions: int) -> nn.Linear | CosineHead:
    """Return the layer that tells clean from crack by (N, dimensions) features.

    Raises:
        ValueError: no such head.
    """
    if kind not in _HEADS:
        raise ValueError(f"head={kind!r} is not one of {', '.join(_HEADS)}")
    return _HEADS[kind](dimensions, 2)


@runtime_checkable
class PatchNet(Protocol):
    """A network that tells patches with a crack from those without."""

    head: nn.Linear | CosineHead
    has_cells: bool  # whether it also answers for every cell of its last features

    def answers(self, image: Tensor) -> PatchAnswers:
        """Return what it says of patches (N, 3, H, W) in [0, 1]."""
        ...


class PatchGate(nn.Module):
    """RGB in [0, 1] to two logits, clean and crack; margin = crack - clean.

    Args:
        widths: channels after the stem (1/4 of the input's resolution) and after each halving that follows.
        stem_width: channels between the two steps of the stem.
        stem_depth: convolutions at 1/4 of the resolution.
        norm: see `train.models.layers.conv`.
        head: "linear", or "cosine" for the losses that compare directions.

    Raises:
        ValueError: no width, a width or depth below 1, or no such normalisation or head.
    """

    has_cells = True

    def __init__(
        self,
        widths: Sequence[int] = (32, 48, 64, 96),
        stem_width: int = 16,
        stem_depth: int = 3,
        norm: layers.Norm = "batch",
        head: Literal["linear", "cosine"] = "linear",
    ) -> None:
        super().__init__()
        conv = partial(layers.conv, norm=norm)
        if not widths or min(*widths, stem_width, stem_depth) < 1:
            raise ValueError(f"widths={list(widths)}, stem_width={stem_width}, stem_depth={stem_depth} must be above 0")
        self.stride_px = 4 * 2 ** (len(widths) - 1)
        self.receptive_field_px: int | None = None
        self.features = nn.Sequential(
            conv(3, stem_width, stride=2),
            conv(stem_width, widths[0], stride=2),
            *(conv(widths[0], widths[0]) for _ in range(stem_depth)),
            *(nn.Sequential(conv(a, b, stride=2), conv(b, b)) for a, b in pairwise(widths)),
        )
        self.head = head_of(head, 2 * widths[-1] + 2)
        self.cell = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 2), clean and crack, of a patch (N, 3, H, W) in [0, 1]."""
        return self.answers(image).logits

    def answers(self, image: Tensor) -> PatchAnswers:
        """Return also the cells' logits and the features that the head was given."""
        x = self.features(image * 2 - 1)
        cells: Tensor = self.cell(x)
        pooled = torch.cat([y for z in (x, cells) for y in (z.mean(dim=(2, 3)), z.amax(dim=(2, 3)))], dim=1)
        return PatchAnswers(self.head(pooled), cells, pooled)
