"""A training run: one folder that says how it came about, and can be taken up again where it stopped.

```
run.json   settings, seeds, versions, commit, data hashes, result      log.csv   one row per epoch
checkpoints/best.ckpt, last.ckpt                                      samples/ what it finds, after each epoch
tensorboard/ what log.csv holds and the learning rate, if asked for
```
"""

from __future__ import annotations

import json
import logging
import platform
import signal
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed as dist
from torch.utils.data import DataLoader

from agent.contract.strict import Strict
from agent.errors import ConfigError, CrackscoutError, OutputError
from train.callbacks import EpochLog, EpochSamples, StopBetweenBatches, rows_of
from train.checkpoint import load_checkpoint
from train.data.check import leaking
from train.data.crops import Batch, Crop, CropDataset, collate
from train.data.resident import ResidentBatches, ResidentPictures
from train.data.sources import Sides, open_sources
from train.ranks import Place, leaving_together, this_process
from train.settings import Settings
from train.task import CrackTask
from train.validation import Validation

RUN_NAME: Final = "run.json"
LOG_NAME: Final = "log.csv"
BEST: Final = "checkpoints/best.ckpt"
LAST: Final = "checkpoints/last.ckpt"
SAMPLES: Final = "samples"
BOARD: Final = "tensorboard"
_VERSIONS: Final = ("crackscout", "torch", "lightning", "numpy", "opencv-python-headless")


class MemoryFullError(CrackscoutError):
    """What was asked for does not fit into memory."""


class TimeOverError(CrackscoutError):
    """A run was stopped by the clock; the last whole epoch's checkpoint is there."""


class Result(Strict):
    """How a run ended."""

    epochs: int
    best_epoch: int | None  # from 1
    best_score: float | None
    validation: Validation | None  # of the last epoch
    seconds: float  # of this session, with the rendering of the pool
    skipped: dict[str, int]  # what could not be read, and how often it was met
    near_duplicates: tuple[tuple[str, str], ...] = ()  # all but equal photos, one learnt from and one judged by


def fit(settings: Settings, *, resume: bool = False, progress: bool = False, until: float | None = None) -> Result:
    """Train a network into `settings.folder`.

    Under `torchrun` every process calls this; they share each batch, and the first one writes.

    Args:
        settings: of the run.
        resume: go on after the last whole epoch, or from the start if there is none; gives the weights of a run that
            was never stopped.
        progress: draw a bar on stderr.
        until: on the monotonic clock; no batch begins later, the run is stopped. For a run of one process.

    Raises:
        ConfigError: settings that do not fit the data or, resuming, the run.
        InputError: a data folder is missing or incomplete.
        OutputError: the folder already holds a run.
        TimeOverError: `until` came before its end.
        KeyboardInterrupt: it was stopped; the last whole epoch's checkpoint is there.
    """
    place = this_process()
    settings.crops_at_once(place.processes)
    with leaving_together(place), _memory_told(settings):
        return _fit(settings, place, resume=resume, progress=progress, until=until)


@contextmanager
def _memory_told(settings: Settings) -> Iterator[None]:
    """Say what to lower where memory ran out, on the GPU or beside it."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as exc:
        if isinstance(exc, RuntimeError) and "allocate memory" not in str(exc) and "out of memory" not in str(exc):
            raise
        raise MemoryFullError(
            f"out of memory with {settings.model.name} and optimiser.batch={settings.optimiser.batch} crops of "
            f"data.crop_px={settings.data.crop_px}; lower either or the network's options, or set "
            f"{_frugal(settings)}; --resume goes on after the last whole epoch"
        ) from exc


def _frugal(settings: Settings) -> str:
    """Return the settings that save memory and are not yet made."""
    compute = settings.compute
    ways = ["compute.checkpoint_gradients=true"] if not compute.checkpoint_gradients else []
    ways += ["compute.precision=bf16-mixed"] if compute.precision == "32-true" else []
    return " or ".join(ways) or "another network"


def _fit(settings: Settings, place: Place, *, resume: bool, progress: bool, until: float | None) -> Result:
    start = time.monotonic()
    folder = settings.folder
    if place.first:
        _prepare(folder, settings, resume=resume)
    if settings.compute.threads is not None:
        torch.set_num_threads(settings.compute.threads)
    sides = open_sources(settings, _rendering_progress(settings) if progress and place.first else None)
    leaks = leaking(sides) if place.first and settings.data.near_duplicates == "report" else ()
    torch.manual_seed(settings.seed)
    task = CrackTask(settings, sides, _teacher(settings))
    checkpoint = folder / LAST if resume and (folder / LAST).exists() else None
    if settings.start is not None and checkpoint is None:
        _begin(task, settings, settings.start)
    record = {**_record(settings, task, sides), "near_duplicates": leaks}
    if place.first:
        _write_json(folder / RUN_NAME, record)
    best = ModelCheckpoint(filename="best", monitor="score", mode="max", **_each_epoch(folder))
    last = ModelCheckpoint(filename="last", **_each_epoch(folder))
    log, samples = EpochLog(folder / LOG_NAME), EpochSamples(folder / SAMPLES, settings, sides)
    trainer = _trainer(settings, task, [log, samples, best, last, *_early_stop(settings)], place, progress=progress)
    _run(trainer, task, _Crops(settings, sides, place), checkpoint, StopBetweenBatches(until))
    result = Result(
        epochs=trainer.current_epoch,
        best_epoch=_best_epoch(folder / LOG_NAME),
        best_score=None if best.best_model_score is None else float(best.best_model_score),
        validation=task.validation,
        seconds=time.monotonic() - start,
        skipped=dict(_of_all_processes(task.skipped, place)),
        near_duplicates=leaks,
    )
    if place.first:
        _write_json(folder / RUN_NAME, {**record, "result": result.model_dump(mode="json")})
    return result


def _begin(task: CrackTask, settings: Settings, start: Path) -> None:
    """Give a network the weights that it is to begin with."""
    net, passport = load_checkpoint(start, variance_head=True)
    try:
        for one in (task.net, task.averaged.module):
            one.load_state_dict(net.state_dict())
    except RuntimeError as exc:
        held, wanted = passport.settings.model, settings.model
        raise ConfigError(
            f"start={start}: holds {held.name} {held.options}, whose weights do not fit "
            f"{wanted.name} {wanted.options} with loss.name={settings.loss.name}; begin with one of the same kind"
        ) from exc


def _teacher(settings: Settings) -> torch.nn.Module | None:
    if settings.teacher is None:
        return None
    net, passport = load_checkpoint(settings.teacher.checkpoint)
    if passport.settings.task != "segment":
        raise ConfigError(f"teacher.checkpoint={settings.teacher.checkpoint}: is a gate's; name that of a segmenter")
    return net


def _early_stop(settings: Settings) -> list[Callback]:
    judging = settings.judging
    if judging.stop_after is None:
        return []
    patience = judging.stop_after * judging.every
    return [EarlyStopping("score", mode="max", patience=patience, check_on_train_epoch_end=True, verbose=False)]


class _Crops(lightning.LightningDataModule):
    """A fresh set of crops for each epoch; of each batch, every process takes its share."""

    def __init__(self, settings: Settings, sides: Sides, place: Place | None = None) -> None:
        super().__init__()
        self._settings, self._sides, self._place = settings, sides, place or Place()
        self._resident: ResidentPictures | None = None

    def train_dataloader(self) -> DataLoader[Crop] | DataLoader[Batch]:
        chosen, data = self._settings.optimiser, self._settings.data
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        if data.resident:
            return self._resident_batches(epoch)
        dataset = CropDataset(
            self._sides.training,
            task=self._settings.task,
            crop_px=data.crop_px,
            augment=data.augment,
            gate=self._settings.gate,
            seed=self._settings.seed,
            epoch=epoch,
            length=chosen.batch * chosen.steps_per_epoch,
        )
        return DataLoader(
            dataset,
            batch_size=self._settings.crops_at_once(self._place.processes),
            sampler=range(self._place.rank, len(dataset), self._place.processes),
            num_workers=data.workers,
            collate_fn=collate,
        )

    def _resident_batches(self, epoch: int) -> DataLoader[Batch]:
        chosen, data, place = self._settings.optimiser, self._settings.data, self._place
        if self._resident is None:
            device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
            self._resident = ResidentPictures(self._sides.training, device)
        dataset = ResidentBatches(
            self._resident,
            task=self._settings.task,
            crop_px=data.crop_px,
            augment=data.augment,
            gate=self._settings.gate,
            seed=self._settings.seed,
            epoch=epoch,
            batches=chosen.steps_per_epoch * chosen.accumulate,
            crops=self._settings.crops_at_once(place.processes) * place.processes,
            rank=place.rank,
            processes=place.processes,
        )
        return DataLoader(dataset, batch_size=None)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:  # noqa: ARG002
        return batch.to(device)


def _best_epoch(path: Path) -> int | None:
    rows = rows_of(path)
    return int(max(rows, key=lambda row: float(row["score"]))["epoch"]) if rows else None


def _prepare(folder: Path, settings: Settings, *, resume: bool) -> None:
    """Make the run's folder, or check that a run to be resumed is this one."""
    record = folder / RUN_NAME
    if not resume:
        if record.exists():
            raise OutputError(f"{folder}: already holds a run; continue it with --resume, or name another with out=DIR")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(f"{folder}: cannot be made ({exc.strerror}); name another with out=DIR") from exc
        return
    if not record.exists():
        raise ConfigError(f"{record}: nothing to resume, no run was begun there; run without --resume")
    before = Settings.model_validate(json.loads(record.read_text(encoding="utf-8"))["settings"])
    changed = [
        key for key in Settings.model_fields if key != "compute" and getattr(settings, key) != getattr(before, key)
    ]
    if changed:
        raise ConfigError(f"{record}: began with other settings of {', '.join(changed)}; resume with the same ones")


def _record(settings: Settings, task: CrackTask, sides: Sides) -> dict[str, object]:
    return {
        "settings": settings.model_dump(mode="json"),
        "seeds": {"run": settings.seed, "split": settings.data.split_seed},
        "data": [facts.model_dump(mode="json") for facts in sides.facts],
        "parameters": task.passport().parameters,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _VERSIONS}},
        "device": _device(settings),
        "commit": _commit(),
    }


def _device(settings: Settings) -> str:
    """Return what the run learns on, by its maker's name."""
    if settings.compute.accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {platform.machine()}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the checkout's commit, with "+" behind it if files were changed since; None outside of one."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return f"{commit}+" if commit and git("status", "--porcelain", "--untracked-files=no") else commit


def _each_epoch(folder: Path) -> dict[str, Any]:
    return {
        "dirpath": folder / "checkpoints",
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }


def _trainer(
    settings: Settings, task: CrackTask, callbacks: list[Callback], place: Place, *, progress: bool
) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its notes on hardware are not for the user
    return lightning.Trainer(
        accelerator=settings.compute.accelerator,
        devices=place.here,
        num_nodes=place.processes // place.here,
        strategy="auto" if place.processes == 1 else DDPStrategy(find_unused_parameters=task.objective.idle_parameters),
        use_distributed_sampler=False,
        accumulate_grad_batches=settings.optimiser.accumulate,
        precision=settings.compute.precision,
        max_epochs=settings.optimiser.epochs,
        gradient_clip_val=settings.optimiser.clip_norm,
        reload_dataloaders_every_n_epochs=1,
        benchmark=torch.cuda.is_available() or None,
        num_sanity_val_steps=0,
        callbacks=[*callbacks, TQDMProgressBar()] if progress else callbacks,
        enable_progress_bar=progress,
        enable_model_summary=False,
        logger=_board(settings.folder) if settings.compute.tensorboard else False,
        log_every_n_steps=settings.optimiser.steps_per_epoch,  # nothing is logged more often than once an epoch
    )


def _board(folder: Path) -> TensorBoardLogger:
    """Return a logger with a file of its own: by the second alone, a run taken up again could write over its first."""
    sessions = len(list((folder / BOARD).glob("events.*")))
    return TensorBoardLogger(folder, name="", version=BOARD, filename_suffix=f".{sessions}")


def _run(
    trainer: lightning.Trainer,
    task: CrackTask,
    crops: _Crops,
    checkpoint: Path | None,
    stop: StopBetweenBatches | None = None,
) -> None:
    """Train, and turn lightning's own way of ending on Ctrl-C into the usual one."""
    on_interrupt, stop = signal.getsignal(signal.SIGINT), stop or StopBetweenBatches()
    trainer.callbacks.append(stop)  # type: ignore[attr-defined]  # a list, whatever lightning types
    signal.signal(signal.SIGINT, stop.ask)
    with warnings.catch_warnings():
        for known in (
            "does not have many workers",
            "Checkpoint directory .* exists",
            "isinstance.treespec, LeafSpec",
            "in eval mode at the start of training",  # CIRL's copy of phase 1, as it should be
        ):
            warnings.filterwarnings("ignore", f".*{known}.*")
        try:
            trainer.fit(task, datamodule=crops, ckpt_path=checkpoint, weights_only=False)
        except SystemExit as exc:
            if not stop.time_is_over:
                raise KeyboardInterrupt from exc
        finally:
            signal.signal(signal.SIGINT, on_interrupt)
    if stop.time_is_over:
        raise TimeOverError("time is over; what was finished is kept")
    if trainer.interrupted:
        raise KeyboardInterrupt


def _of_all_processes(counted: Counter[str], place: Place) -> Counter[str]:
    if place.processes == 1:
        return counted
    counts: list[Counter[str]] = [Counter()] * place.processes
    dist.all_gather_object(counts, counted)
    return sum(counts, Counter())


def _rendering_progress(settings: Settings) -> Callable[[int], None]:
    from rich.progress import Progress  # noqa: PLC0415

    total = sum(source.count for source in settings.data.sources if source.kind == "rendered")
    bar = Progress(transient=True)
    line = bar.add_task("rendering patches", total=total)
    bar.start()

    def advance(done: int) -> None:
        bar.update(line, completed=done)
        if done >= total:
            bar.stop()

    return advance


def _write_json(path: Path, content: object) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)
