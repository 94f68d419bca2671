"""What lightning trains: a network, its objective, its averaged weights and its validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, cast

import lightning
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from agent.contract.strict import Strict
from agent.errors import InputError
from train.calibration import Calibration
from train.data.crops import Batch
from train.data.sources import Sides, SourceFacts
from train.models.recompute import recompute_blocks
from train.models.reparam import fused
from train.models.variance import without_variance_head
from train.objectives import Moment, build_network, build_objective
from train.optimisers import configured
from train.settings import Settings
from train.validation import Validation

CHECKPOINT_KEY: Final = "crackscout"


class Passport(Strict):
    """What a checkpoint says of itself, so that it can be exported and judged without its run."""

    settings: Settings
    sources: tuple[SourceFacts, ...]
    validation: Validation | None
    epoch: int
    parameters: int
    stride_px: int
    receptive_field_px: int | None
    calibration: Calibration | None = None  # of a segmenter that is to ship


class CrackTask(lightning.LightningModule):
    """One network in training.

    Args:
        settings: of the run.
        sides: what it learns from and is judged by.
        teacher: a network whose answers are learnt from too, see `train.settings.Teacher`; None for none.

    Raises:
        ConfigError: no such network or loss, or options that they do not have.
    """

    def __init__(self, settings: Settings, sides: Sides, teacher: nn.Module | None = None) -> None:
        super().__init__()
        self.net = build_network(settings)
        self.objective = build_objective(settings, self.net)
        self.averaged = AveragedModel(
            self.net,
            multi_avg_fn=get_ema_multi_avg_fn(settings.optimiser.ema),  # type: ignore[no-untyped-call]
            use_buffers=True,
        ).requires_grad_(requires_grad=False)
        if settings.compute.checkpoint_gradients:
            recompute_blocks(self.net)  # its average and its copies learn nothing
        self._settings, self._sides = settings, sides
        self._epoch_loss: list[Tensor] = []
        self.skipped: Counter[str] = Counter()  # message about a picture -> how often it was passed over
        self.validation: Validation | None = None
        self.judged = False  # in this epoch
        self._teacher = [] if teacher is None else [teacher.eval().requires_grad_(requires_grad=False)]  # not a module:
        # it has no place in the checkpoint

    def on_fit_start(self) -> None:
        """Bring weights into the order of memory that a GPU's convolutions take, and a CPU's in bfloat16."""
        if self.device.type == "cuda" or self._settings.compute.precision == "bf16-mixed":
            for net in (self.net, *self._teacher):
                net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it

    def on_train_epoch_start(self) -> None:
        """Let the objective do what falls due."""
        self.objective.begin_epoch(self.net, self.current_epoch)

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Return the loss of a batch."""
        self._count(batch.skipped)
        for teacher in self._teacher:
            with torch.no_grad():
                batch.teacher = teacher.to(batch.image.device)(batch.image)
        moment = Moment(epoch=self.current_epoch, step=self.global_step, rank=self.global_rank)
        loss: Tensor = self.objective(self.net, batch, moment)
        self._epoch_loss.append(loss.detach())
        return loss

    def on_train_batch_end(self, _outputs: object, _batch: Batch, index: int) -> None:
        """Take new weights into the average."""
        if (index + 1) % self._settings.optimiser.accumulate == 0:
            self.averaged.update_parameters(self.net)

    def on_train_epoch_end(self) -> None:
        """Judge the averaged weights where it falls due, in the first process for all."""
        done = self.current_epoch + 1
        self.judged = done % self._settings.judging.every == 0 or done == self._settings.optimiser.epochs
        if self.judged:
            self._judge()
        score = 0.0 if self.validation is None else self.validation.score
        self.log("score", score, sync_dist=True, logger=False)  # train.callbacks.EpochLog writes them
        self.log("loss", torch.stack(self._epoch_loss).mean(), sync_dist=True, logger=False)
        self._epoch_loss.clear()

    def _judge(self) -> None:
        strategy = self.trainer.strategy
        found: Validation | None = None
        if self.trainer.is_global_zero:
            self.averaged.eval()
            found = self.objective.validate(self.averaged, self._sides.validation, self.device)
            self.averaged.train()
            self._count(found.skipped)
        self.validation = cast("Validation", strategy.broadcast(found))

    def _count(self, skipped: Iterable[str]) -> None:
        """Count pictures that could not be read, or end the run at the first, as the settings say."""
        for message in skipped:
            self.skipped[message] += 1
            if self._settings.data.unreadable == "stop":
                raise InputError(f"{message}; repair it, or set data.unreadable=skip to go on without it")

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - lightning's own union
        """See `train.optimisers`: the network's weights, then the objective's own."""
        return configured(self.parameters(), self._settings.optimiser)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint say what it is."""
        checkpoint[CHECKPOINT_KEY] = self.passport().model_dump_json()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember how the run stood."""
        self.validation = Passport.model_validate_json(checkpoint[CHECKPOINT_KEY]).validation

    def passport(self) -> Passport:
        """Return what there is to know about these weights."""
        net = fused(without_variance_head(self.net))
        return Passport(
            settings=self._settings,
            sources=self._sides.facts,
            validation=self.validation,
            epoch=self.current_epoch,
            parameters=sum(p.numel() for p in net.parameters()),
            stride_px=int(net.stride_px),  # type: ignore[arg-type]
            receptive_field_px=net.receptive_field_px,
        )
