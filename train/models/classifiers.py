"""The patch classifiers of the GAGL paper: its own two and the crack nets that it compares with.

Paper: Chen et al., "Geometry-Aware Guided Loss for Deep Crack Recognition", CVPR 2022, section 4 and table 1. The
feature that GAGL looks at is what the last linear layer is given, after its ReLU: 2048 numbers of ResNet50, 4096 of
VGG16's second fully connected layer. Res-GAGL and VGG-GAGL are `resnet50` and `vgg16`, trained with the loss `gagl`.

The rivals are reconstructions from what their own papers are known for; the GAGL paper gives a sentence to each:

- `convnet`: Zhang et al., ICIP 2016: four convolutions of 48 channels, each pooled, and 200 hidden units.
- `crack_cnn`: Chen and Jahanshahi, IEEE TIE 2018: four convolutions of 32 to 80 channels with batch normalisation and
  overlapping pools, 96 hidden units.
- `sdnet`: AlexNet, as Dorafshan et al., Data in Brief 2018, train it.
- `alinet`: Ali et al., which the GAGL paper calls a modified VGG16 and a customised ResNet50: here ResNet50 with a
  hidden layer of 512 units.
- `silvanet`: VGG16, as Silva and Lucena, Proceedings 2018, train it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, cast

import torchvision
from torch import Tensor, nn

from train.models.gate import CosineHead, PatchAnswers, head_of
from train.models.vgg import standardised

Backbone = Literal["resnet50", "vgg16", "convnet", "crack_cnn", "sdnet", "alinet", "silvanet"]


class PatchClassifier(nn.Module):
    """RGB in [0, 1] to two logits, clean and crack.

    Args:
        backbone: which of the networks above.
        head: "linear", or "cosine" for the losses that compare directions.

    Raises:
        ValueError: no such network or head.
    """

    stride_px = 32
    receptive_field_px: int | None = None
    has_cells = False

    def __init__(self, backbone: Backbone = "resnet50", head: Literal["linear", "cosine"] = "linear") -> None:
        super().__init__()
        if backbone not in _BACKBONES:
            raise ValueError(f"backbone={backbone!r} is not one of {', '.join(_BACKBONES)}")
        self.body, dimensions = _BACKBONES[backbone]()
        self.head: nn.Linear | CosineHead = head_of(head, dimensions)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 2), clean and crack, of a patch (N, 3, H, W) in [0, 1], H and W from 64 px."""
        return self.answers(image).logits

    def answers(self, image: Tensor) -> PatchAnswers:
        """Return also the features that the head was given, (N, D)."""
        features = self.body(standardised(image))
        return PatchAnswers(cast("Tensor", self.head(features)), None, features)


def _resnet50() -> tuple[nn.Module, int]:
    net = torchvision.models.resnet50(weights=None)
    net.fc = nn.Identity()
    return net, 2048


def _vgg16() -> tuple[nn.Module, int]:
    net = torchvision.models.vgg16(weights=None)
    net.classifier = nn.Sequential(*list(net.classifier)[:-1])
    return net, 4096


def _alexnet() -> tuple[nn.Module, int]:
    net = torchvision.models.alexnet(weights=None)
    net.classifier = nn.Sequential(*list(net.classifier)[:-1])
    return net, 4096


def _alinet() -> tuple[nn.Module, int]:
    net, dimensions = _resnet50()
    return nn.Sequential(net, nn.Linear(dimensions, 512), nn.ReLU(), nn.Dropout()), 512


def _convnet() -> tuple[nn.Module, int]:
    widths, kernels = (3, 48, 48, 48, 48), (4, 5, 3, 4)
    layers = [
        layer
        for a, b, kernel in zip(widths, widths[1:], kernels, strict=False)
        for layer in (nn.Conv2d(a, b, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(2))
    ]
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(48 * 16, 200), nn.ReLU(), nn.Dropout())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), hidden), 200


def _crack_cnn() -> tuple[nn.Module, int]:
    steps = ((3, 32, 11, 7), (32, 48, 11, 5), (48, 64, 7, 3), (64, 80, 5, 3))
    layers = [
        layer
        for a, b, kernel, pool in steps
        for layer in (
            nn.Conv2d(a, b, kernel, padding=kernel // 2),
            nn.BatchNorm2d(b),
            nn.LeakyReLU(),
            nn.MaxPool2d(pool, stride=2, padding=pool // 2),
        )
    ]
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(80 * 64, 96), nn.ELU(), nn.Dropout())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(8), hidden), 96


_BACKBONES: Final[Mapping[str, Callable[[], tuple[nn.Module, int]]]] = {
    "resnet50": _resnet50,
    "vgg16": _vgg16,
    "convnet": _convnet,
    "crack_cnn": _crack_cnn,
    "sdnet": _alexnet,
    "alinet": _alinet,
    "silvanet": _vgg16,
}
