"""CrackSeg, a rival in the adaptive WCE paper's tables VII and VIII. A reconstruction.

Paper: Song et al., "Automated Pavement Crack Damage Detection Using Deep Multiscale Convolutional Features", Journal of
Advanced Transportation 2020, figure 2: ResNet50; a module of dilated convolutions of several rates side by side; what
it gives is resized, joined with features of the shallow layers, passed through three 3 x 3 convolutions, and
classified. The rates, the channels and the output stride are not given in what the adaptive WCE paper repeats; they are
chosen here: rates 1, 2, 4 and 8 of 256 channels beside an average over the image, 512 channels in the three
convolutions, stride 8. 53,006,145 parameters, where the adaptive WCE paper prints 53.87M, and so not the same network.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter

from train.models import layers
from train.models.variance import at_size
from train.models.vgg import standardised

RATES: Final = (1, 2, 4, 8)


class CrackSeg(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        width: channels of each rate of the multiscale module; the three convolutions have twice as many.

    Raises:
        ValueError: no channel.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width={width} must be 1 or more")
        self.stride_px = 8
        self.receptive_field_px: int | None = None
        self.feature_width = 2 * width
        dilated = resnet50(weights=None, replace_stride_with_dilation=[False, True, True])
        self.backbone = IntermediateLayerGetter(dilated, return_layers={"layer1": "low", "layer4": "out"})
        self.rates = nn.ModuleList(layers.conv(2048, width, dilation=rate) for rate in RATES)
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2048, width, 1), nn.ReLU())
        self.join = layers.conv((len(RATES) + 1) * width, width)
        self.low = layers.conv(256, width, kernel=1)
        self.refine = nn.Sequential(
            layers.conv(2 * width, 2 * width), layers.conv(2 * width, 2 * width), layers.conv(2 * width, 2 * width)
        )
        self.head = nn.Conv2d(2 * width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        return self.classify(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """Return what the head is given, (N, feature_width, H / 4, W / 4)."""
        found = self.backbone(standardised(image))
        deep = found["out"]
        scales = [*(rate(deep) for rate in self.rates), self.average(deep).expand(-1, -1, *deep.shape[-2:])]
        low = self.low(found["low"])
        joined: Tensor = self.refine(torch.cat([at_size(self.join(torch.cat(scales, dim=1)), low), low], dim=1))
        return joined

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of features, (N, 1, H, W)."""
        logits: Tensor = nn.functional.interpolate(
            self.head(features), scale_factor=4.0, mode="bilinear", align_corners=False
        )
        return logits
