"""Processes that share a batch take the step of one process with the whole of it; parts of a batch likewise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from agent.errors import ConfigError
from tests.support.commands import variables
from tests.support.processes import run_in_processes
from tests.support.training import tiny_settings
from tests.support.training_runs import in_torchruns_words, steps
from train.checkpoint import load_checkpoint
from train.fit import BEST, BOARD, LOG_NAME
from train.losses import PIXEL_LOSSES, build_loss
from train.objectives import build_network, build_objective
from train.settings import Settings

# normalised by image: batch normalisation sees a process's part alone
GROUPS = {"widths": [4, 4], "norm": "group"}
SLOW = {"batch": 4, "epochs": 2, "steps_per_epoch": 2, "learning_rate": 0.01}
LOSSES: dict[str, dict[str, Any]] = {
    **{name: {"loss": {"name": name}} for name in ("f1", "pseudo_f1", "balanced_focal", "jaccard", "adaptive_wce")},
    "holistic": {"loss": {"name": "holistic"}},
    "cirl": {"loss": {"name": "cirl", "options": {"threshold": 0.01, "neighbours": 5, "warm_up_share": 0}}},
    "gate": {
        "task": "gate",
        "loss": {"name": "cross_entropy", "options": {"crack_weight": 3, "cell_weight": 2}},
    },
    "gagl": {"task": "gate", "loss": {"name": "gagl", "options": {"burn_in_epochs": 0}}},
    "centre": {"task": "gate", "loss": {"name": "centre"}},
}


def settings_of(kind: str, photos: Path, out: Path, **changes: Any) -> Settings:
    chosen = {"optimiser": SLOW, **LOSSES[kind], **changes}
    name = "patch_gate" if chosen.get("task") == "gate" else "half_res_unet"
    return tiny_settings(photos, out, **{"model": {"name": name, "options": GROUPS}, **chosen})


def all_losses(rank: int, processes: int, folder: Path) -> None:
    os.environ.update(in_torchruns_words(rank, processes))
    photos = Path((folder / "photos").read_text())
    for kind in LOSSES:
        found = steps(settings_of(kind, photos, folder / kind))
        if rank == 0:
            torch.save(found, folder / f"{kind}.pt")


@pytest.fixture(scope="module")
def of_two(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes' steps with every loss."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "photos").write_text(str(photos))
    run_in_processes(all_losses, folder)
    return folder


def largest_difference(first: list[dict[str, Tensor]], second: list[dict[str, Tensor]]) -> float:
    assert [step.keys() for step in first] == [step.keys() for step in second]
    pairs = [(a[name], b[name]) for a, b in zip(first, second, strict=True) for name in a]
    assert all(x.dtype in (torch.float64, torch.int64, torch.bool) for pair in pairs for x in pair)
    return max(float((x.double() - y.double()).abs().max()) for x, y in pairs)


@pytest.mark.parametrize("kind", LOSSES)
def test_two_processes_take_the_steps_of_one_with_the_whole_batch(
    of_two: Path, photos: Path, tmp_path: Path, kind: str
) -> None:
    """Gradients of every step; for GAGL and centre loss, anchors and centres too."""
    alone = steps(settings_of(kind, photos, tmp_path))
    together = torch.load(of_two / f"{kind}.pt")
    assert len(alone) == 4
    assert max(float(value.abs().max()) for value in alone[0].values() if value.is_floating_point()) > 1e-3
    assert largest_difference(alone, together) <= 1e-9


def test_torchrun_trains_one_run(photos: Path, tmp_path: Path) -> None:
    compute = {"accelerator": "cpu", "threads": 1, "tensorboard": True}
    settings = settings_of("holistic", photos, tmp_path / "run", compute=compute)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    torchrun = ["--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *torchrun, "-m", "train", "fit", str(config)],
        env=variables(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("score") == 1  # the first process speaks for both
    assert len((settings.folder / LOG_NAME).read_text().splitlines()) == 3
    assert len(list((settings.folder / BOARD).glob("events.*"))) == 1
    _, passport = load_checkpoint(settings.folder / BEST)
    assert passport.validation is not None


def test_a_batch_that_cannot_be_shared_evenly_is_refused(tmp_path: Path) -> None:
    settings = settings_of("f1", tmp_path, tmp_path)
    assert settings.crops_at_once(2) == 2
    with pytest.raises(ConfigError, match=r"optimiser.batch=4 cannot be shared evenly by 3 processes"):
        settings.crops_at_once(3)


def test_a_batch_in_parts_gives_the_gradients_of_the_whole(photos: Path, tmp_path: Path) -> None:
    whole = settings_of("f1", photos, tmp_path, loss={"name": "cross_entropy"})
    parts = whole.model_copy(update={"optimiser": whole.optimiser.model_copy(update={"accumulate": 2})})
    assert largest_difference(steps(whole), steps(parts)) <= 1e-9


@pytest.mark.parametrize("kind", [*PIXEL_LOSSES, "cirl", "gate", "gagl", "centre"])
def test_only_losses_that_add_up_over_a_batch_may_be_computed_in_parts(tmp_path: Path, kind: str) -> None:
    chosen = LOSSES.get(kind, {"loss": {"name": kind}})
    settings = settings_of("f1", tmp_path, tmp_path, **{**chosen, "optimiser": {**SLOW, "accumulate": 2}})
    if kind in PIXEL_LOSSES and adds_up(kind):
        build_objective(settings, build_network(settings))
        return
    with pytest.raises(ConfigError, match=r"optimiser.accumulate=2: .* is not the mean over its parts"):
        build_objective(settings, build_network(settings))


def adds_up(name: str) -> bool:
    """Return whether the loss of a batch is the mean of those of its halves, found by trial."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 1, 16, 16, generator=generator, dtype=torch.float64)
    target = (
        torch.rand(4, 1, 16, 16, generator=generator) < torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None, None, None]
    ).double()
    loss = build_loss(name)
    halves = torch.stack([loss(logits[part], target[part]) for part in (slice(0, 2), slice(2, 4))])
    return bool(torch.isclose(halves.mean(), loss(logits, target), rtol=1e-9))
