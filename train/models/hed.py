"""Holistically-nested edge detection (HED), trained on cracks by two of the papers, from scratch or fine-tuned.

Paper: Xie and Tu, "Holistically-Nested Edge Detection", ICCV 2015, arXiv:1504.06375, section 3: a 1 x 1 convolution on
each of VGG16's stages gives a side output, resized to the image; a weighted sum fuses the five. Every side output is
trained like the fused one, equations (1) to (4): see `outputs`. 14,716,171 parameters (the adaptive WCE paper: 14.72M).
Departures: bilinear resizing in place of transposed convolutions that start as such; padding of 1 instead of 35 px and
a crop; the loss is the run's own.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from train.models import layers, reach, vgg


class HED(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        width: factor on VGG16's channels, for trials.
        weights: a file with torchvision's `vgg16` weights, ImageNet's for instance, whose convolutions the stages start
            from (fine-tuning). None starts from random ones. Nothing is ever downloaded.

    Raises:
        ValueError: the width leaves no channel, or the file cannot be read or holds other weights.
    """

    def __init__(self, width: float = 1.0, weights: str | None = None) -> None:
        super().__init__()
        self.stride_px = 16
        self.receptive_field_px: int | None = reach.receptive_field(
            [reach.bilinear(16), *vgg.steps_back(pools=4)], self.stride_px
        )
        self.stages = vgg.stages(width)
        self.sides = nn.ModuleList(nn.Conv2d(n, 1, 1) for n in vgg.channels(width))
        self.fuse = layers.Fusion(len(self.sides))
        if weights is not None:
            vgg.start_from(self.stages, Path(weights))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.outputs(image)[0]

    def outputs(self, image: Tensor) -> list[Tensor]:
        """Return the fused logits and those of each side, all (N, 1, H, W)."""
        x, sides = vgg.standardised(image), []
        for number, (stage, side) in enumerate(zip(self.stages, self.sides, strict=True)):
            x = stage(F.max_pool2d(x, 2) if number else x)
            sides.append(F.interpolate(side(x), scale_factor=2.0**number, mode="bilinear", align_corners=False))
        return self.fuse.with_sides(sides)
