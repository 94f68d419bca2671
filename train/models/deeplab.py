"""The DeepLab networks of two papers: v3 on ResNet101 with one map, v3+ on ResNet50.

Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, arXiv:1706.05587, as torchvision has
it, with the head of Siriborvornratanakul, "Downstream Semantic Segmentation Model for Low-Level Surface Crack
Detection", Advances in Multimedia 2022: `DeepLabHead(2048, 1)`. And Chen et al., "Encoder-Decoder with Atrous Separable
Convolution for Semantic Image Segmentation", ECCV 2018, arXiv:1802.02611: the adaptive WCE paper's rival, 40.35M
parameters on ResNet50 with plain convolutions, as printed. Both pool over the whole image: what they see has no bound,
and a map stitched of tiles differs from that of the whole picture.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet50, resnet101
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabHead

from train.models import layers
from train.models.variance import at_size
from train.models.vgg import standardised


class DeepLabV3(nn.Module):
    """RGB in [0, 1] to crack logits by DeepLabV3-ResNet101.

    Args:
        weights: a file with torchvision's `deeplabv3_resnet101` weights, COCO's for instance, to start from; its
            classes are left out. None starts from random ones. Nothing is ever downloaded.

    Raises:
        ValueError: the file cannot be read, or holds other weights.
    """

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        self.stride_px = 8
        self.receptive_field_px: int | None = None
        dilated = resnet101(weights=None, replace_stride_with_dilation=[False, True, True])
        self.backbone = IntermediateLayerGetter(dilated, return_layers={"layer4": "out"})
        self.classifier = DeepLabHead(2048, 1)
        if weights is not None:
            _load(self, Path(weights))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        # the paper feeds [0, 1] as it is
        return at_size(self.classifier(self.backbone(image)["out"]), image)


class DeepLabV3Plus(nn.Module):
    """RGB in [0, 1] to crack logits by DeepLab v3+ on ResNet50, output stride 16.

    Args:
        width: channels of the pyramid and the decoder.

    Raises:
        ValueError: no channel.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width={width} must be 1 or more")
        self.stride_px = 16
        self.receptive_field_px: int | None = None
        dilated = resnet50(weights=None, replace_stride_with_dilation=[False, False, True])
        self.backbone = IntermediateLayerGetter(dilated, return_layers={"layer1": "low", "layer4": "out"})
        self.pyramid = ASPP(2048, [6, 12, 18], width)
        self.low = layers.conv(256, 48, kernel=1)
        self.decoder = nn.Sequential(layers.conv(width + 48, width), layers.conv(width, width), nn.Conv2d(width, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]; H and W multiples of `stride_px`."""
        found = self.backbone(standardised(image))
        low = self.low(found["low"])
        high = at_size(self.pyramid(found["out"]), low)
        return at_size(self.decoder(torch.cat([high, low], dim=1)), image)


def _load(net: DeepLabV3, path: Path) -> None:
    try:
        given = torch.load(path, map_location="cpu", weights_only=True)
        kept = {k: v for k, v in given.items() if k.startswith(("backbone.", "classifier."))}
        last = ("classifier.4.weight", "classifier.4.bias")  # of other classes
        missing, unknown = net.load_state_dict({k: v for k, v in kept.items() if k not in last}, strict=False)
    except (OSError, RuntimeError, AttributeError, pickle.UnpicklingError) as exc:
        raise ValueError(f"weights={path}: not weights of deeplabv3_resnet101 ({str(exc).splitlines()[0]})") from exc
    if unknown or set(missing) - set(last):
        raise ValueError(f"weights={path}: not weights of deeplabv3_resnet101 ({len(missing)} missing)")
