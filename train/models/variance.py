"""A second head for training: how unsure the network is of each pixel. It stays behind when the network is exported."""

from __future__ import annotations

from typing import NamedTuple, Protocol, cast, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional as F


@runtime_checkable
class TwoPart(Protocol):
    """A segmentation network that can be asked for what lies below its head."""

    stride_px: int
    receptive_field_px: int | None
    feature_width: int  # D

    def features(self, image: Tensor) -> Tensor:
        """Return (N, D, h, w) of an image (N, 3, H, W) in [0, 1]; h and w may be smaller than H and W."""
        ...

    def classify(self, features: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of such features."""
        ...


class Answers(NamedTuple):
    """What a network with a variance head says of an image."""

    logits: Tensor  # (N, 1, H, W)
    raw_log_variance: Tensor  # (N, 1, H, W), any range
    features: Tensor  # (N, D, h, w)


class WithVarianceHead(nn.Module):
    """A segmentation network and one linear layer beside its head (CIRL, CVPR 2024, section 3.1).

    Asked in the usual way it answers as the network alone does.

    Args:
        net: see `TwoPart`.

    Raises:
        ValueError: the network cannot be asked for its features.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        if not isinstance(net, TwoPart):
            raise ValueError(f"{type(net).__name__} gives no features that a variance head could stand on")  # noqa: TRY004
        self.net = net
        self.stride_px, self.receptive_field_px = net.stride_px, net.receptive_field_px
        self.variance = nn.Conv2d(net.feature_width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]."""
        logits: Tensor = cast("nn.Module", self.net)(image)
        return logits

    def answers(self, image: Tensor) -> Answers:
        """Return also the raw log-variance, and the features that both heads were given."""
        features = self.net.features(image)
        logits = self.net.classify(features)
        return Answers(logits, at_size(self.variance(features), logits), features)


def at_size(values: Tensor, like: Tensor) -> Tensor:
    """Return a map (N, C, h, w), resized bilinearly to another's height and width."""
    if values.shape[-2:] == like.shape[-2:]:
        return values
    resized: Tensor = F.interpolate(values, size=like.shape[-2:], mode="bilinear", align_corners=False)
    return resized


def without_variance_head(net: nn.Module) -> nn.Module:
    """Return the network as it ships."""
    return cast("nn.Module", net.net) if isinstance(net, WithVarianceHead) else net
