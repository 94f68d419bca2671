"""The learning rate goes the way that a settings file says, through lightning's own trainer."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from tests.support.training import tiny_settings
from train import fit as fit_module
from train.data.sources import open_sources
from train.fit import LOG_NAME, fit
from train.optimisers import configured
from train.settings import Optimiser
from train.task import CrackTask


class Rates(Callback):
    """Notes the learning rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def rates(photos: Path, out: Path, **optimiser: Any) -> list[float]:
    """Return the rate in each of four epochs of one step."""
    chosen = {"epochs": 4, "steps_per_epoch": 1, "batch": 2, "learning_rate": 0.1, **optimiser}
    net = {
        "name": "half_res_unet",
        "options": {"widths": [4, 4], "norm": "group"},
    }  # no statistics that move by themselves
    settings = tiny_settings(photos, out, optimiser=chosen, model=net)
    sides = open_sources(settings)
    noted = Rates()
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=4, callbacks=[noted], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, reload_dataloaders_every_n_epochs=1,
    )  # fmt: skip
    fit_module._run(trainer, CrackTask(settings, sides), fit_module._Crops(settings, sides), None)
    return noted.seen


def test_a_constant_rate_stays(photos: Path, tmp_path: Path) -> None:
    assert rates(photos, tmp_path, kind="adam", schedule="constant") == [0.1] * 4


def test_steps_lower_the_rate_at_their_milestones(photos: Path, tmp_path: Path) -> None:
    """GAGL, section 4.1: a tenth at epochs 65, 95 and 125; here at 1 and 3."""
    found = rates(photos, tmp_path, kind="sgd", schedule="steps", milestones=[1, 3])
    assert found == pytest.approx([0.1, 0.01, 0.01, 0.001])


def test_a_score_that_stands_still_lowers_the_rate(photos: Path, tmp_path: Path) -> None:
    """Balanced focal, section 3.2: ReduceLROnPlateau; with weights that never change the score never rises."""
    found = rates(photos, tmp_path, kind="sgd", schedule="plateau", patience=1, factor=0.5, learning_rate=1e-6)
    assert found == pytest.approx([1e-6, 1e-6, 1e-6, 5e-7])


def test_one_cycle_rises_and_falls(photos: Path, tmp_path: Path) -> None:
    found = rates(photos, tmp_path, schedule="one_cycle", warmup=0.5)
    assert found[0] < max(found)
    assert found[-1] < max(found)


def test_adamw_spares_biases_and_norms_from_decay() -> None:
    weight, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    groups = configured([weight, bias], Optimiser(weight_decay=0.1))["optimizer"].param_groups
    assert [(group["weight_decay"], [p.ndim for p in group["params"]]) for group in groups] == [(0.1, [2]), (0.0, [1])]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"schedule": "steps"}, "do not go together"),
        ({"milestones": (3,)}, "do not go together"),
        ({"schedule": "steps", "milestones": (3, 2)}, "must rise"),
    ],
)
def test_milestones_belong_to_steps_and_rise(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Optimiser(**options)


def test_a_run_with_a_papers_optimiser_ends(photos: Path, tmp_path: Path) -> None:
    chosen = {
        "kind": "sgd", "schedule": "plateau", "patience": 1, "epochs": 2, "steps_per_epoch": 2, "batch": 2,
        "learning_rate": 0.01, "clip_norm": None, "ema": 0.0,
    }  # fmt: skip
    fit(tiny_settings(photos, tmp_path / "run", optimiser=chosen))
    with (tmp_path / "run" / LOG_NAME).open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 2
