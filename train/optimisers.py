"""The optimisers and learning-rate schedules, those of the papers among them, in lightning's terms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from train.settings import Optimiser


def configured(parameters: Iterable[nn.Parameter], chosen: Optimiser) -> dict[str, Any]:
    """Return an optimiser and its schedule as lightning's `configure_optimizers` gives them.

    Biases and the weights of normalisations do not decay under AdamW; under Adam and SGD all do, as in the papers.
    """
    learnt = [p for p in parameters if p.requires_grad]
    optimiser = _optimiser(learnt, chosen)
    match chosen.schedule:
        case "one_cycle":
            schedule: Any = lr_scheduler.OneCycleLR(
                optimiser,
                max_lr=chosen.learning_rate,
                total_steps=chosen.epochs * chosen.steps_per_epoch,
                pct_start=chosen.warmup,
            )
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
        case "steps":
            schedule = lr_scheduler.MultiStepLR(optimiser, list(chosen.milestones), gamma=chosen.factor)
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}
        case "plateau":
            schedule = lr_scheduler.ReduceLROnPlateau(
                optimiser, mode="max", factor=chosen.factor, patience=chosen.patience
            )
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "monitor": "score"}}
        case "constant":
            return {"optimizer": optimiser}


def _optimiser(learnt: list[nn.Parameter], chosen: Optimiser) -> torch.optim.Optimizer:
    rate, decay = chosen.learning_rate, chosen.weight_decay
    match chosen.kind:
        case "adamw":
            plain, decayed = ([p for p in learnt if (p.ndim >= 2) is deep] for deep in (False, True))
            return torch.optim.AdamW(
                [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}], lr=rate
            )
        case "adam":
            return torch.optim.Adam(learnt, lr=rate, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(learnt, lr=rate, momentum=chosen.momentum, weight_decay=decay)
