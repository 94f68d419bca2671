"""Objectives by the name that a settings file gives its loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import nn

from agent.errors import ConfigError
from train import models
from train.losses import FEATURE_LOSSES, PIXEL_LOSSES
from train.objectives.base import Objective, built
from train.objectives.gate import Centre, Cosine, FocalGate, Gagl, Gate
from train.objectives.segment import Cirl, Nnclr, Segment
from train.settings import Settings

_KINDS: Final[Mapping[str, Mapping[str, type[Objective]]]] = {
    "segment": {**dict.fromkeys(PIXEL_LOSSES, Segment), "cirl": Cirl, "nnclr": Nnclr},
    "gate": {
        "cross_entropy": Gate,
        "focal": FocalGate,
        "gagl": Gagl,
        "centre": Centre,
        "cosface": Cosine,
        "arcface": Cosine,
        "circle": Cosine,
    },
}


def build_network(settings: Settings) -> nn.Module:
    """Return the network as it is trained, with what its objective needs beside it, weights from torch's global seed.

    Raises:
        ConfigError: no such network or loss, or an option that the network does not have.
    """
    return _kind(settings).wrapped(models.build(settings.model.name, **settings.model.options))


def build_objective(settings: Settings, net: nn.Module) -> Objective:
    """Return what the network is trained for.

    Raises:
        ConfigError: no such loss for this task, options that it does not have, or a network that does not fit.
    """
    objective = _kind(settings)(settings, net)
    parts = settings.optimiser.accumulate
    if parts > 1 and not objective.additive:
        raise ConfigError(
            f"optimiser.accumulate={parts}: {settings.loss.name} of a batch, with these options, is not the mean over "
            "its parts, so gathering gradients part by part would train with another loss; set it to 1 and lower "
            "optimiser.batch, or share the batch among processes with torchrun"
        )
    return objective


def _kind(settings: Settings) -> type[Objective]:
    kinds, name = _KINDS[settings.task], settings.loss.name
    if name in kinds:
        return kinds[name]
    if name in FEATURE_LOSSES or name in PIXEL_LOSSES:
        raise ConfigError(f"loss: {name!r} is not for task: {settings.task}, which learns by {', '.join(kinds)}")
    built(name, {})  # says which names come near
    raise AssertionError(name)
