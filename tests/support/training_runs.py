"""Runs that are stopped, and steps that processes take together: with the trainer's own parts."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from train.data.crops import Batch
from train.data.sources import open_sources
from train.fit import LAST, LOG_NAME, _Crops, _each_epoch, _run, _trainer, fit
from train.ranks import this_process
from train.settings import Settings
from train.task import CrackTask


def stop_within_epoch(settings: Settings, after: int) -> None:
    """Fit, and send this process a SIGINT when `after` epochs are whole and the next is on its way."""
    log, last = settings.folder / LOG_NAME, settings.folder / LAST

    def epochs(path: Path) -> int:
        return len(path.read_text().splitlines()) - 1 if path.exists() else 0

    def interrupt() -> None:
        while not (epochs(log) >= after and last.exists() and last.stat().st_mtime_ns > log.stat().st_mtime_ns):
            time.sleep(0.002)
        time.sleep(0.03)
        if not ended.is_set():  # a signal that comes too late would end the tests themselves
            os.kill(os.getpid(), signal.SIGINT)

    def run_to_the_end() -> None:
        try:
            fit(settings)
        finally:
            ended.set()

    ended = threading.Event()
    watching = threading.Thread(target=interrupt, daemon=True)
    watching.start()
    with pytest.raises(KeyboardInterrupt):
        run_to_the_end()
    watching.join()


def weights(path: Path) -> dict[str, Tensor]:
    """Return all that a checkpoint holds in tensors: of network, average and objective."""
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Return whether two such are the same, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Steps(Callback):
    """Keeps the gradients of every step, as they are before clipping, and the objective's state after it."""

    def __init__(self) -> None:
        self.found: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Take what there is."""
        del trainer, optimizer
        gradients = {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
        state = {n: b.clone() for n, b in pl_module.named_buffers() if n.startswith("objective")}
        self.found.append({**gradients, **state})


class _Unjudged(CrackTask):
    """A task that learns in float64, so that a difference in method stands out from rounding, and is not validated."""

    def on_train_epoch_end(self) -> None:
        """Go on."""


class _DoubleCrops(_Crops):
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        found = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return replace(found, image=found.image.double(), mask=found.mask.double())


def steps(settings: Settings) -> list[dict[str, Tensor]]:
    """Train by the trainer's own parts, in this process or in the group that it belongs to, in float64."""
    torch.manual_seed(settings.seed)
    sides = open_sources(settings)
    task, place, kept = _Unjudged(settings, sides).double(), this_process(), Steps()
    last = ModelCheckpoint(**_each_epoch(settings.folder))  # lightning's own goes to the working directory
    trainer = _trainer(settings, task, [kept, last], place, progress=False)
    _run(trainer, task, _DoubleCrops(settings, sides, place), None)
    return kept.found


def in_torchruns_words(rank: int, processes: int) -> dict[str, Any]:
    """Return the environment that torchrun gives a process."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_RUN_ID": "test",
    }
