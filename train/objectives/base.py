"""What a network is trained for: one class per kind, each with its loss, its state and its way to be judged.

An objective's parameters are learnt and its buffers are kept in checkpoints, so that a run can be taken up again. Every
loss here is that of the whole batch, however many processes share it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from agent.errors import ConfigError
from train.data.crops import Batch, Part
from train.losses import build_loss
from train.settings import Settings
from train.validation import Validation

# means over pixels, patches or images: the mean over equal parts of a batch is the loss of the batch
_ADDITIVE: Final = frozenset(
    {"cross_entropy", "focal", "poly", "robust_t", "cosface", "arcface", "circle"} | {"topological"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When and where in a run a step is taken."""

    epoch: int  # from 0
    step: int  # of the optimiser, from 0
    rank: int = 0


class Objective(nn.Module, ABC):
    """What becomes small, called with the network and a batch.

    Args:
        settings: of the run.
        net: as `build_network` gives it.

    Raises:
        ConfigError: options that the loss does not have, or a network that does not fit.
    """

    idle_parameters = False  # whether some parameters take no part in some steps

    def __init__(self, settings: Settings, net: nn.Module) -> None:
        super().__init__()
        del net
        self._settings = settings

    @staticmethod
    def wrapped(net: nn.Module) -> nn.Module:
        """Return a network with what this objective needs beside it."""
        return net

    @abstractmethod
    def forward(self, net: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        """Return the loss of a batch, scalar."""

    @abstractmethod
    def validate(self, net: nn.Module, parts: tuple[Part, ...], device: torch.device) -> Validation:
        """Judge a network."""

    @property
    def additive(self) -> bool:
        """Whether gradients may be gathered over parts of a batch without changing the method."""
        chosen = self._settings.loss
        return chosen.name in _ADDITIVE and chosen.options.get("reduction", "mean") == "mean"

    def begin_epoch(self, net: nn.Module, epoch: int) -> None:
        """Do what falls due between two epochs."""


def built(name: str, options: Mapping[str, object]) -> nn.Module:
    """Return the loss of that name.

    Raises:
        ConfigError: no loss has that name, or it does not take these options.
    """
    try:
        return build_loss(name, **options)
    except ValueError as exc:
        raise ConfigError(f"loss: {exc}") from exc
