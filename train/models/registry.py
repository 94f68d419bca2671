"""Networks by the name that a settings file gives them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, cast, runtime_checkable

from torch import Tensor, nn

from agent.errors import ConfigError
from train.models.classifiers import PatchClassifier
from train.models.clique import UCliqueNet
from train.models.crackformer import CrackFormer
from train.models.crackseg import CrackSeg
from train.models.deeplab import DeepLabV3, DeepLabV3Plus
from train.models.dru import DRU
from train.models.fcn import FCN8s
from train.models.gate import PatchGate
from train.models.hed import HED
from train.models.jtfn import JTFN
from train.models.rcf import RCF
from train.models.rep_unet import RepUNet
from train.models.revised_unet import RevisedUNet
from train.models.segnet import DeepCrack, SegNet
from train.models.spiral_net import SpiralNet, VanillaUNet
from train.models.unet import HalfResUNet
from train.models.unet_rivals import ModifiedUNet, VGGUNet
from train.models.yardstick import Yardstick


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


@runtime_checkable
class WithBoundaries(Protocol):
    """A segmentation network that also draws where cracks end, and is trained on both."""

    def maps_and_boundaries(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return logits (N, 1, H, W) of the crack, those that count first, and of its boundary."""
        ...


MODELS: Final[Mapping[str, Callable[..., nn.Module]]] = {
    # those that ship
    "half_res_unet": HalfResUNet,
    "rep_unet": RepUNet,
    "patch_gate": PatchGate,
    # what they are laid beside
    "yardstick": Yardstick,
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
    # rebuilt from less than their papers' own description
    "u_cliquenet": UCliqueNet,
    "crackseg": CrackSeg,
    "vgg_unet": VGGUNet,
    "modified_unet": ModifiedUNet,
    "dru": DRU,
    "crackformer": CrackFormer,
    "jtfn": JTFN,
}


def build(name: str, **options: object) -> nn.Module:
    """Return a fresh network, weights from torch's global seed.

    Raises:
        ConfigError: no such network, or an option it does not have.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"model.name: {name!r} is not one of {', '.join(MODELS)}{hint}")
    known = inspect.signature(MODELS[name]).parameters
    for option in options:
        if option not in known:
            raise ConfigError(f"model.{option}: {name} has no such option; it has {', '.join(known)}")
    try:
        return MODELS[name](**cast("dict[str, Any]", options))
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"model: {name} refuses its options: {exc}") from exc
