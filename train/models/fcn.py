"""FCN-8s, a rival in the adaptive WCE paper's tables.

Paper: Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, arXiv:1411.4038, section 4.2:
VGG16 with its fully connected layers as convolutions; scores at 1/32, 1/16 and 1/8 of the image are added while they
are enlarged. 134.27M parameters, as the adaptive WCE paper prints. Departures: padding of 3 px in fc6 instead of 100 px
before the first layer; the transposed convolutions are learnt from bilinear ones.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models import reach, vgg

FULLY_CONNECTED: Final = 4096


class FCN8s(nn.Module):
    """RGB in [0, 1] to crack logits.

    Args:
        width: factor on all channels, for trials.

    Raises:
        ValueError: it leaves no channel.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        *_, third, fourth, fifth = vgg.channels(width)
        connected = round(FULLY_CONNECTED * width)
        self.stride_px = 32
        enlarging = [reach.transposed(16, 8, 4), reach.transposed(4, 2, 1), reach.transposed(4, 2, 1)]
        self.receptive_field_px: int | None = reach.receptive_field(
            [*enlarging, reach.conv(7), reach.conv(2, stride=2, padding=0), *vgg.steps_back(pools=4)], self.stride_px
        )
        self.stages = vgg.stages(width)
        self.connected = nn.Sequential(
            nn.Conv2d(fifth, connected, 7, padding=3), nn.ReLU(), nn.Dropout2d(),
            nn.Conv2d(connected, connected, 1), nn.ReLU(), nn.Dropout2d(),
        )  # fmt: skip
        self.score_3, self.score_4 = nn.Conv2d(third, 1, 1), nn.Conv2d(fourth, 1, 1)
        self.score_7 = nn.Conv2d(connected, 1, 1)
        self.enlarge_7, self.enlarge_4, self.enlarge_3 = _enlarging(2), _enlarging(2), _enlarging(8)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        x, pooled = vgg.standardised(image), []
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2)
            pooled.append(x)
        scores = self.enlarge_7(self.score_7(self.connected(x))) + self.score_4(pooled[3])
        return cast("Tensor", self.enlarge_3(self.enlarge_4(scores) + self.score_3(pooled[2])))


def _enlarging(factor: int) -> nn.ConvTranspose2d:
    """Return a transposed convolution that starts as bilinear resizing."""
    conv = nn.ConvTranspose2d(1, 1, 2 * factor, stride=factor, padding=factor // 2, bias=False)
    ramp = 1 - (torch.arange(2 * factor) + 0.5 - factor).abs() / factor
    with torch.no_grad():
        conv.weight.copy_((ramp[:, None] * ramp[None, :])[None, None])
    return conv
