"""A run: what it writes, that it can be taken up again, and what ends it."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import cv2
import lightning
import numpy as np
import pytest
import torch
import yaml
from tensorboardX.proto.event_pb2 import Event

from agent.errors import ConfigError, InputError, OutputError
from tests.support.commands import ROOT, call, variables
from tests.support.training import tiny_settings
from tests.support.training_runs import equal, stop_within_epoch, weights
from train import settings as train_settings
from train.callbacks import StopBetweenBatches
from train.checkpoint import load_checkpoint
from train.data.crops import Batch
from train.data.reading import read_rgb
from train.data.sources import open_sources
from train.fit import BEST, BOARD, LAST, LOG_NAME, RUN_NAME, SAMPLES, MemoryFullError, TimeOverError, _Crops, fit
from train.settings import Settings

# enough steps that a signal which comes late on a busy machine still comes before the end
MANY = {"batch": 2, "epochs": 8, "steps_per_epoch": 40, "learning_rate": 0.01}
CONFIGS = sorted((ROOT / "configs" / "train").glob("*.yaml"))


def test_a_run_says_where_it_came_from(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path / "run")
    result = fit(settings)
    record = json.loads((settings.folder / RUN_NAME).read_text())
    assert Settings.model_validate(record["settings"]) == settings
    assert record["seeds"] == {"run": 7, "split": 0}
    assert {"python", "torch", "lightning", "numpy", "crackscout"} <= set(record["versions"])
    assert [facts["name"] for facts in record["data"]] == ["rendered", "pairs", "classes"]
    assert all(len(facts["sha256"]) == hashlib.sha256().digest_size * 2 for facts in record["data"])
    assert record["parameters"] > 0
    assert record["device"].startswith("CPU")
    assert record["result"]["best_score"] == result.best_score
    with (settings.folder / LOG_NAME).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert max(float(row["score"]) for row in rows) == pytest.approx(result.best_score, abs=1e-5)


def test_a_folder_that_holds_a_run_is_left_alone(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path / "run", optimiser={"epochs": 1, "steps_per_epoch": 1, "batch": 2})
    fit(settings)
    before = (settings.folder / LAST).read_bytes()
    with pytest.raises(OutputError, match="already holds a run"):
        fit(settings)
    assert (settings.folder / LAST).read_bytes() == before


def test_resuming_needs_a_run_and_the_same_settings(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path / "run", optimiser={"epochs": 1, "steps_per_epoch": 1, "batch": 2})
    with pytest.raises(ConfigError, match="nothing to resume"):
        fit(settings, resume=True)
    fit(settings)
    with pytest.raises(ConfigError, match="other settings of seed"):
        fit(settings.model_copy(update={"seed": 8}), resume=True)


def test_corrupt_photos_are_counted_in_the_result(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "data")
    for path in (tmp_path / "data" / "classes" / "clean").iterdir():
        path.write_bytes(b"no picture")
    result = fit(tiny_settings(tmp_path / "data", tmp_path / "run"))
    assert result.epochs == 2
    assert result.skipped
    assert all("classes/clean" in message and times >= 1 for message, times in result.skipped.items())


def test_a_picture_that_cannot_be_read_ends_a_run_that_was_told_so(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "data")
    for path in (tmp_path / "data" / "classes" / "clean").iterdir():
        path.write_bytes(b"no picture")
    settings = tiny_settings(tmp_path / "data", tmp_path / "run")
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"unreadable": "stop"})})
    with pytest.raises(InputError, match=r"classes/clean/.*cannot be decoded.*data\.unreadable=skip"):
        fit(settings)


def test_photos_that_stand_on_both_sides_of_the_split_are_told(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "pairs", tmp_path / "data" / "pairs")
    shutil.copytree(photos / "classes", tmp_path / "data" / "classes")
    settings = tiny_settings(tmp_path / "data", tmp_path / "run", optimiser={"epochs": 1, "steps_per_epoch": 1})
    _, pairs, _ = open_sources(settings).training
    _, held, _ = open_sources(settings).validation
    learnt, judged = (Path(part.source.label(part.indices[0])) for part in (pairs, held))
    cv2.imwrite(str(judged), read_rgb(learnt)[..., ::-1] // 8 * 7 + 20)  # the same photo in another light
    assert (str(learnt), str(judged)) in fit(settings).near_duplicates
    record = json.loads((settings.folder / RUN_NAME).read_text())
    assert [str(learnt), str(judged)] in record["near_duplicates"]
    quiet = settings.model_copy(
        update={
            "out": tmp_path / "quiet",
            "data": settings.data.model_copy(update={"near_duplicates": "ignore"}),
        }
    )
    assert fit(quiet).near_duplicates == ()


def test_memory_that_is_not_there_is_told_with_what_to_lower(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(
        photos, tmp_path / "run", model={"name": "half_res_unet", "options": {"widths": [8, 10**12]}}
    )
    with pytest.raises(MemoryFullError, match=r"optimiser\.batch=2 crops of data\.crop_px=32; lower either"):
        fit(settings)


@pytest.mark.parametrize(
    ("task", "loss"), [("segment", "holistic"), ("segment", "cirl"), ("gate", "cross_entropy"), ("gate", "gagl")]
)
def test_checkpointed_gradients_give_the_same_weights(task: str, loss: str, photos: Path, tmp_path: Path) -> None:
    """To 1e-6; the average, the running statistics and what the objective keeps among them."""
    options: dict[str, object] = {"gagl": {"burn_in_epochs": 1}}.get(loss, {})  # type: ignore[assignment]
    usual = tiny_settings(photos, tmp_path / "usual", task=task, loss={"name": loss, "options": options})
    compute = usual.compute.model_copy(update={"checkpoint_gradients": True})
    fit(usual)
    fit(usual.model_copy(update={"compute": compute, "out": tmp_path / "frugal"}))
    expected, found = (weights(tmp_path / name / LAST) for name in ("usual", "frugal"))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6, msg=name)


def test_what_is_told_where_memory_is_short_is_not_what_was_done_already(photos: Path, tmp_path: Path) -> None:
    huge = tiny_settings(photos, tmp_path / "run", model={"name": "half_res_unet", "options": {"widths": [8, 10**12]}})
    with pytest.raises(MemoryFullError, match=r"compute\.checkpoint_gradients=true or compute\.precision=bf16-mixed"):
        fit(huge)
    spared = huge.compute.model_copy(update={"checkpoint_gradients": True})
    with pytest.raises(MemoryFullError, match=r"options, or set compute\.precision=bf16-mixed;"):
        fit(huge.model_copy(update={"compute": spared, "out": tmp_path / "other"}))


def test_a_run_that_is_stopped_by_the_clock_goes_on_to_the_same_weights(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path / "run", optimiser={"batch": 2, "epochs": 3, "steps_per_epoch": 3})
    with pytest.raises(TimeOverError):
        fit(settings, until=time.monotonic() - 1)
    assert not (settings.folder / LAST).exists(), "not even a first batch was begun"
    fit(settings, resume=True)
    whole = settings.model_copy(update={"out": tmp_path / "whole"})
    fit(whole)
    assert equal(weights(settings.folder / LAST), weights(whole.folder / LAST))


def test_samples_are_drawn_after_each_epoch(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path / "run")
    fit(settings)
    drawn = sorted((tmp_path / "run" / SAMPLES).iterdir())
    assert [path.name for path in drawn] == [f"epoch-{e:04d}-{n}.jpg" for e in (1, 2) for n in (1, 2)]
    first, again = read_rgb(drawn[0]), read_rgb(drawn[2])
    assert first.shape == (64, 128, 3), "a photo of 64 px beside what was found"
    assert np.abs(first[:, :60].astype(int) - again[:, :60]).mean() < 2, "the same photo"
    none = settings.model_copy(
        update={"out": tmp_path / "none", "compute": settings.compute.model_copy(update={"samples": 0})}
    )
    fit(none)
    assert not (tmp_path / "none" / SAMPLES).exists()


def events(folder: Path) -> dict[str, dict[int, float]]:
    """Return the figures of TensorBoard's files by name and step, read record by record: length, crc, message, crc."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += 12 + length + 4
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_tensorboard_is_told_what_the_log_says_also_after_a_run_is_taken_up_again(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(
        photos, tmp_path / "run", compute={"accelerator": "cpu", "threads": 1, "tensorboard": True}, optimiser=MANY
    )
    stop_within_epoch(settings, 1)
    fit(settings, resume=True)
    told = events(settings.folder / BOARD)
    with (settings.folder / LOG_NAME).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8
    figures = [name for name in rows[0] if name not in {"epoch", "step"}]
    assert {"loss", "score", "threshold"} < set(figures), "the sets' own too"
    for row in rows:
        for name in figures:
            assert told[name][int(row["step"])] == pytest.approx(float(row[name]), abs=2e-6), name
    rates = told["learning_rate"]
    assert max(rates.values()) <= settings.optimiser.learning_rate * (1 + 1e-6)
    assert len(set(rates.values())) == 8, "one cycle"


def test_ctrl_c_ends_a_run_with_130_and_keeps_the_last_whole_epoch(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(
        photos, tmp_path / "run", optimiser={"epochs": 500, "steps_per_epoch": 3, "batch": 2, "learning_rate": 0.001}
    )
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    process = subprocess.Popen(
        call("crack-train", "fit", config), env=variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (settings.folder / LAST).exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    _, passport = load_checkpoint(settings.folder / LAST)
    assert passport.epoch < 499


@pytest.mark.parametrize("config", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_every_config_makes_a_step_and_says_how_it_is_launched(config: Path, photos: Path, tmp_path: Path) -> None:
    header = config.read_text().split("\nname:")[0]
    assert f"crack-train fit configs/train/{config.name}" in header
    settings = train_settings.load(config)
    sources = []
    for source in settings.data.sources:
        pool: dict[str, object] = {"count": 4, "size_px": 64}
        kinds: dict[str, dict[str, object]] = dict.fromkeys(("rendered", "close_ups", "views"), pool)
        kinds["pairs"] = {"folder": "pairs"}
        small = kinds.get(source.kind, {"folder": "classes"})
        sources.append(source.model_copy(update={**small, "validation": 0.5, "validation_limit": 2}))
    data = settings.data.model_copy(update={"root": photos, "crop_px": 64, "sources": tuple(sources)})
    short = settings.optimiser.model_copy(update={"epochs": 2, "steps_per_epoch": 1, "batch": 2})
    tiny = settings.model_copy(update={"data": data, "optimiser": short, "out": tmp_path / "run"})
    fit(tiny)
    _, passport = load_checkpoint(tmp_path / "run" / BEST)
    assert passport.settings.model == settings.model


def test_each_epoch_shows_other_crops_and_the_same_ones_after_a_restart(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path)
    sides = open_sources(settings)

    def first_batch(epoch: int) -> torch.Tensor:
        crops = _Crops(settings, sides)
        crops.trainer = lightning.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
        crops.trainer.fit_loop.epoch_progress.current.completed = epoch
        batch: Batch = next(iter(crops.train_dataloader()))
        return batch.image

    assert torch.equal(first_batch(1), first_batch(1))
    assert not torch.equal(first_batch(0), first_batch(1))


def test_a_first_interruption_waits_for_the_batch_and_a_second_does_not() -> None:
    stop = StopBetweenBatches()
    stop.on_train_batch_start()
    stop.ask(2, None)
    with pytest.raises(KeyboardInterrupt):
        stop.on_train_batch_start()
    with pytest.raises(KeyboardInterrupt):
        stop.ask(2, None)
