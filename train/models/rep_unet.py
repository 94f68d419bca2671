"""A U-Net of re-parameterised convolutions: what is learnt by several branches ships as one convolution each.

Encoder and decoder after Ronneberger et al. (arXiv:1505.04597), convolutions after `train.models.reparam`. Departures,
each for the cost on a CPU core or in INT8: the stem has stride 2; convolutions of stride 2 take the place of pooling;
skips are added, not concatenated, so that the layer behind them is half as wide; context comes from dilated
convolutions at the lowest level (Yu and Koltun, ICLR 2016, arXiv:1511.07122) and, if asked for, from long strips (Hou
et al., "Strip pooling", CVPR 2020, arXiv:2003.13328, as dense 1 x n and n x 1 convolutions); a detail branch of a few
convolutions stays at the stem's resolution. The last step to full resolution is sub-pixel, as in `train.models.unet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import reach
from train.models.reparam import RepConv


class StripContext(nn.Module):
    """Adds what lies along a row and along a column: 1 x n and n x 1 convolutions on a few channels.

    Args:
        width: channels in and out.
        inner: channels of the strips.
        length: n, px, odd.
    """

    def __init__(self, width: int, inner: int, length: int) -> None:
        super().__init__()
        half = length // 2
        self.enter = RepConv(width, inner, kernel=1, plain=True)
        self.row = nn.Conv2d(inner, inner, (1, length), padding=(0, half))
        self.column = nn.Conv2d(inner, inner, (length, 1), padding=(half, 0))
        self.leave = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        y = self.enter(x)
        return x + cast("Tensor", self.leave(F.relu(self.row(y) + self.column(y))))


class RepUNet(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        widths: channels at 1/2, 1/4, ... of the input's resolution; three levels or more.
        depths: convolutions at each level after the one that halves it; none for the first, which `detail` speaks of.
        merges: convolutions at each level of the way up but the lowest, finest first.
        dilations: of further convolutions at the lowest level.
        detail: convolutions of the detail branch, at 1/2.
        strip_px: length of the strips at the lowest level but one, in its px; 0 for none.
        acnet: whether each convolution learns by strips of 1 x 3 and 3 x 1 too.
        branches: False: one branch only, to see what the others are worth.
        up: how a level is doubled.
        finest: the finest level of the way up: 0 is 1/2, 1 is 1/4 of the input's resolution.
        stem_kernel: edge of the first convolution, px, odd.

    Raises:
        ValueError: lists that do not fit each other, or an even kernel.
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 32, 48, 64, 96),
        depths: Sequence[int] = (1, 1, 1, 1),
        merges: Sequence[int] = (1, 1, 1, 1),
        dilations: Sequence[int] = (),
        detail: int = 0,
        strip_px: int = 0,
        acnet: bool = False,  # noqa: FBT001, FBT002 - options come by keyword, from a settings file
        branches: bool = True,  # noqa: FBT001, FBT002
        up: Literal["bilinear", "nearest"] = "bilinear",
        finest: Literal[0, 1] = 0,
        stem_kernel: int = 5,
    ) -> None:
        super().__init__()
        levels = len(widths)
        if levels < 3 or not len(depths) == len(merges) == levels - 1 or min(widths) < 1:
            raise ValueError(
                f"widths={list(widths)} needs three levels or more, depths={list(depths)} and merges={list(merges)} "
                "one less each"
            )
        if stem_kernel % 2 == 0 or (strip_px and strip_px % 2 == 0) or up not in {"bilinear", "nearest"}:
            raise ValueError(
                f"stem_kernel={stem_kernel}, strip_px={strip_px} must be odd, up={up!r} bilinear or nearest"
            )
        conv = partial(RepConv, strips=acnet, plain=not branches)
        self.up, self.finest = up, finest
        self.stride_px = 2**levels
        self.feature_width = widths[finest]
        self.stem = conv(3, widths[0], kernel=stem_kernel, stride=2)
        self.detail = nn.Sequential(*(conv(widths[0], widths[0]) for _ in range(detail)))
        self.down = nn.ModuleList(
            nn.Sequential(conv(a, b, stride=2), *(conv(b, b) for _ in range(depth)))
            for (a, b), depth in zip(pairwise(widths), depths, strict=True)
        )
        self.context = nn.Sequential(*(conv(widths[-1], widths[-1], dilation=step) for step in dilations))
        self.strips = StripContext(widths[-2], max(widths[-2] // 2, 1), strip_px) if strip_px else nn.Identity()
        self.narrow = nn.ModuleList(
            RepConv(b, a, kernel=1, plain=True) for level, (a, b) in enumerate(pairwise(widths)) if level >= finest
        )
        self.merge = nn.ModuleList(
            nn.Sequential(*(conv(a, a) for _ in range(merges[level])))
            for level, a in enumerate(widths[:-1])
            if level >= finest
        )
        self.factor = 2 * 2**finest
        self.head = nn.Conv2d(widths[finest], self.factor**2, 3, padding=1)
        with torch.no_grad():  # the sub-pixels of a pixel start equal
            self.head.weight.copy_(self.head.weight[:1].repeat(self.factor**2, 1, 1, 1))
            cast("Tensor", self.head.bias).fill_(-3.0)  # cracks are rare: start at 5 %, not at 50 %
        self.receptive_field_px: int | None = _receptive_field(
            depths, merges, dilations, detail, strip_px, up=up, finest=finest, stem_kernel=stem_kernel
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.classify(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """Return what the head is given, (N, feature_width, H / factor, W / factor)."""
        stem = self.stem(image * 2 - 1)
        levels, x = [self.detail(stem)], stem
        for down in self.down:
            x = down(x)
            levels.append(x)
        levels[-2] = self.strips(levels[-2])
        x = self.context(x)
        skips = levels[self.finest : -1]
        for narrow, merge, skip in zip(reversed(self.narrow), reversed(self.merge), reversed(skips), strict=True):
            if self.up == "bilinear":
                x = F.interpolate(narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            else:
                x = F.interpolate(narrow(x), scale_factor=2.0, mode="nearest")
            x = merge(x + skip)
        return cast("Tensor", x)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of features."""
        return F.pixel_shuffle(self.head(features), self.factor)


def _receptive_field(
    depths: Sequence[int],
    merges: Sequence[int],
    dilations: Sequence[int],
    detail: int,
    strip_px: int,
    *,
    up: str,
    finest: int,
    stem_kernel: int,
) -> int:
    """Return the reach of the farthest path, px: through the lowest level, or through the strips or the detail."""
    double = reach.bilinear(2) if up == "bilinear" else reach.nearest(2)
    enter = [reach.nearest(2 * 2**finest), reach.conv(3)]
    stem = [reach.conv(stem_kernel, stride=2)]

    def upwards(level: int) -> list[reach.Step]:
        """Return the steps from the head down to the skip of a level."""
        steps = list(enter)
        for at in range(finest, level):
            steps += [*[reach.conv(3)] * merges[at], double]
        return steps

    def downwards(level: int) -> list[reach.Step]:
        """Return the steps from a level's last convolution to the picture."""
        steps: list[reach.Step] = []
        for at in range(level - 1, -1, -1):
            steps += [*[reach.conv(3)] * depths[at], reach.conv(3, stride=2)]
        return [*steps, *stem]

    lowest = len(depths)
    context = [reach.conv(3, dilation=step) for step in dilations]
    paths = [[*upwards(lowest), *context, *downwards(lowest)]]
    if strip_px:
        at = lowest - 1
        paths.append([*upwards(at), *[reach.conv(3)] * merges[at], reach.conv(strip_px), *downwards(at)])
    if detail and finest == 0:
        paths.append([*enter, *[reach.conv(3)] * (merges[0] + detail), *stem])
    period = 2 ** (lowest + 1)
    return max(reach.receptive_field(path, period) for path in paths)
