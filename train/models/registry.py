"""Networks by the name that a settings file gives them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, cast

from torch import nn

from agent.errors import ConfigError
from train.models.gate import PatchGate
from train.models.unet import HalfResUNet


class CrackNet(Protocol):
    """What a network says about itself: numbers that the bundle's manifest repeats."""

    stride_px: int  # input extents must be multiples of this
    receptive_field_px: int | None  # full width, px; None where pooling over the whole image makes it unbounded


MODELS: Final[Mapping[str, Callable[..., nn.Module]]] = {"half_res_unet": HalfResUNet, "patch_gate": PatchGate}


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
