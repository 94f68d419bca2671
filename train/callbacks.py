"""What a run does beside learning: it writes down each epoch, draws samples, and ends between two batches."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback

from agent.contract.arrays import UInt8
from agent.errors import OutputError
from train.data.crops import readable
from train.data.picture import Picture
from train.data.sources import Sides
from train.settings import Settings
from train.task import CrackTask
from train.validation import segment

_LEVEL = 128  # of 255: what is drawn as found, whatever threshold is chosen in the end


class EpochSamples(Callback):
    """samples/: the same held-back photos after each epoch, with what was found in red and what was missed in blue.

    Args:
        folder: made when the first is drawn.
        settings: of the run; `compute.samples` photos are drawn, none of a gate's run.
        sides: the photos are the first held back that show a crack.
    """

    def __init__(self, folder: Path, settings: Settings, sides: Sides) -> None:
        self._folder, self._sides = folder, sides
        self._wanted = settings.compute.samples if settings.task == "segment" else 0
        self._photos: list[Picture] | None = None

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draw with the averaged weights, which are what counts."""
        if not self._wanted or not trainer.is_global_zero or not isinstance(pl_module, CrackTask):
            return
        if self._photos is None:
            self._photos = self._chosen()
        net = pl_module.averaged
        net.eval()
        for number, photo in enumerate(self._photos, start=1):
            stride = int(pl_module.net.stride_px)  # type: ignore[arg-type]
            found = segment(net, photo.image_rgb, stride_px=stride, device=pl_module.device)
            self._write(f"epoch-{trainer.current_epoch + 1:04d}-{number}.jpg", _drawn(photo, found))
        net.train()

    def _chosen(self) -> list[Picture]:
        chosen: list[Picture] = []
        skipped: list[str] = []  # the validation meets and counts them
        for part in sorted(self._sides.validation, key=lambda part: not part.source.real):
            for picture in readable(part, skipped):
                if picture.mask is not None and picture.mask.any():
                    chosen.append(picture)
                    if len(chosen) == self._wanted:
                        return chosen
        return chosen

    def _write(self, name: str, image_rgb: UInt8) -> None:
        path = self._folder / name
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as exc:
            raise OutputError(f"{self._folder}: cannot be made ({exc.strerror})") from exc
        if not cv2.imwrite(str(path), cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)):
            raise OutputError(f"{path}: cannot be written")


def _drawn(photo: Picture, probability: UInt8) -> UInt8:
    """Return the photo beside itself with what was found in red, and what was missed in blue."""
    found, drawn = probability >= _LEVEL, photo.image_rgb.copy()
    missed = np.zeros_like(found) if photo.mask is None else photo.mask & ~found
    for where, colour in ((found, (255, 0, 0)), (missed, (0, 80, 255))):
        drawn[where] = (drawn[where] * 0.3 + np.array(colour) * 0.7).astype(np.uint8)
    return np.concatenate([photo.image_rgb, drawn], axis=1)


class EpochLog(Callback):
    """log.csv: a row per epoch, written with the epoch's checkpoint, so that a resumed run continues it.

    The trainer's loggers are told the same, and the learning rate that the epoch ended with.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = 0  # the last epoch that loggers were told of: an epoch may leave two checkpoints

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the epoch's row after those before it."""
        del checkpoint
        if not isinstance(pl_module, CrackTask) or pl_module.validation is None or not trainer.is_global_zero:
            return
        if not pl_module.judged:
            return
        found = pl_module.validation
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "loss": float(trainer.callback_metrics["loss"]),
            "score": found.score,
            "threshold": found.threshold,
            **{f"{figure.data}/{figure.name}": figure.value for figure in found.figures},
        }
        earlier = [old for old in rows_of(self._path) if int(old["epoch"]) < row["epoch"]]
        with self._path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(row), extrasaction="ignore")
            writer.writeheader()
            writer.writerows([*earlier, {name: _rounded(value) for name, value in row.items()}])
        self._tell(trainer, row)

    def _tell(self, trainer: lightning.Trainer, row: dict[str, float]) -> None:
        if self._told == row["epoch"]:
            return
        self._told = int(row["epoch"])
        figures = {name: value for name, value in row.items() if name != "step"}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        for logger in trainer.loggers:
            logger.log_metrics({**figures, "learning_rate": rate}, step=trainer.global_step)
            logger.save()  # now: a kill must not lose what log.csv holds


class StopBetweenBatches(Callback):
    """Ctrl-C ends a run before the next batch; a second one at once.

    An exception out of nowhere, in the middle of a file or of torch's own work, could leave anything behind.

    Args:
        until: on the monotonic clock; a batch that would begin later ends the run too. None: never.
    """

    def __init__(self, until: float | None = None) -> None:
        self._asked, self._until = False, until
        self.time_is_over = False

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        """Take note of the signal."""
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def on_train_batch_start(self, *_: object) -> None:
        """End the run if it was asked for."""
        self.time_is_over = not self._asked and self._until is not None and time.monotonic() > self._until
        if self._asked or self.time_is_over:
            raise KeyboardInterrupt


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return a log's rows, none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _rounded(value: float) -> float:
    return round(value, 6)
