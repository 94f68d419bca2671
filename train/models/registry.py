"""Networks by the name that a settings file gives them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, cast, runtime_checkable

from torch import Tensor, nn

from agent.errors import ConfigError
from train.models.classifiers import PatchClassifier
from train.models.deeplab import DeepLabV3, DeepLabV3Plus
from train.models.fcn import FCN8s
from train.models.gate import PatchGate
from train.models.hed import HED
from train.models.rcf import RCF
from train.models.revised_unet import RevisedUNet
from train.models.segnet import DeepCrack, SegNet
from train.models.spiral_net import SpiralNet, VanillaUNet
from train.models.unet import HalfResUNet


class CrackNet(Protocol):
    """What a network says about itself: numbers that the bundle's manifest repeats."""

    stride_px: int  # input extents must be multiples of this
    receptive_field_px: int | None  # full width, px; None where pooling over the whole image makes it unbounded


@runtime_checkable
class DeeplySupervised(Protocol):
    """A segmentation network whose side outputs are trained like its answer."""

    def outputs(self, image: Tensor) -> list[Tensor]:
        """Return its logits and those of each side, all (N, 1, H, W), of an image (N, 3, H, W) in [0, 1]."""
        ...


MODELS: Final[Mapping[str, Callable[..., nn.Module]]] = {
    # those that ship
    "half_res_unet": HalfResUNet,
    "patch_gate": PatchGate,
    # the papers' own and their rivals
    "spiral_net": SpiralNet,
    "vanilla_unet": VanillaUNet,
    "revised_unet": RevisedUNet,
    "hed": HED,
    "rcf": RCF,
    "fcn8s": FCN8s,
    "segnet": SegNet,
    "deepcrack": DeepCrack,
    "deeplab_v3": DeepLabV3,
    "deeplab_v3_plus": DeepLabV3Plus,
    "patch_classifier": PatchClassifier,
}


def build(name: str, **options: object) -> nn.Module:
    """Return a fresh network, weights from torch's global seed.

    Raises:
        ConfigError: no such network, or an option it does not have.
    """
    if name not in MODELS:
        raise ConfigError(f"model.name: {name!r} is not one of {', '.join(MODELS)}")
    known = inspect.signature(MODELS[name]).parameters
    for option in options:
        if option not in known:
            raise ConfigError(f"model.{option}: {name} has no such option; it has {', '.join(known)}")
    try:
        return MODELS[name](**cast("dict[str, Any]", options))
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"model: {name} refuses its options: {exc}") from exc
