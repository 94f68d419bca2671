"""A run that was stopped and taken up again gives the weights of one that never was; so does the same seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.training import tiny_settings
from tests.support.training_runs import equal, stop_within_epoch, weights
from train.checkpoint import load_checkpoint
from train.fit import LAST, LOG_NAME, RUN_NAME, fit
from train.losses.gagl import GAGL
from train.settings import Settings

LONG = {"batch": 2, "epochs": 3, "steps_per_epoch": 100, "learning_rate": 0.01}  # epochs that can be interrupted
# enough of them that a signal which comes late on a busy machine still comes before the end
MANY: dict[str, Any] = {"batch": 2, "epochs": 8, "steps_per_epoch": 40, "learning_rate": 0.01}
CIRL_OPTIONS = {"first": 1, "second": 2, "threshold": 0.01, "neighbours": 2, "max_pixels": 8}
CIRL = {"name": "cirl", "options": CIRL_OPTIONS}
NNCLR = {"name": "nnclr", "options": {**CIRL_OPTIONS, "second": MANY["epochs"] - 1, "pixels": 8, "support_size": 64}}
GAGL_1 = {"name": "gagl", "options": {"burn_in_epochs": 1}}
COSINE = {"name": "patch_gate", "options": {"widths": [4, 4], "head": "cosine"}}
KINDS: dict[str, dict[str, Any]] = {
    "segment": {"task": "segment"},
    "cirl": {"task": "segment", "loss": CIRL},
    "nnclr": {"task": "segment", "loss": NNCLR},
    "gate": {"task": "gate"},
    "gagl": {"task": "gate", "loss": GAGL_1},
    "cosface": {"task": "gate", "loss": {"name": "cosface"}, "model": COSINE},
    "arcface": {"task": "gate", "loss": {"name": "arcface"}, "model": COSINE},
    "circle": {"task": "gate", "loss": {"name": "circle"}, "model": COSINE},
}


def run(photos: Path, folder: Path, kind: str, **changes: Any) -> Settings:
    return tiny_settings(photos, folder, **{"optimiser": LONG, **KINDS[kind], **changes})


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        pytest.param("segment", 1, id="a segmenter"),
        pytest.param("gate", 1, id="a gate"),
        pytest.param("cirl", 1, id="CIRL, across the phase switch"),
        pytest.param("cirl", 2, id="CIRL, in phase 2, the phase-1 network from the checkpoint"),
        pytest.param("nnclr", 2, id="NNCLR in phase 2, its queue from the checkpoint"),
        pytest.param("gagl", 1, id="GAGL, across the end of burn-in"),
        pytest.param("gagl", 2, id="GAGL, the anchors from the checkpoint"),
        pytest.param("cosface", 1, id="learnt prototypes"),
    ],
)
def test_a_run_stopped_within_an_epoch_and_resumed_gives_the_weights_of_one_that_was_never_stopped(
    photos: Path, tmp_path: Path, kind: str, after: int
) -> None:
    changes: dict[str, Any] = {"optimiser": MANY}
    if kind == "cirl":
        changes["loss"] = {"name": "cirl", "options": {**CIRL_OPTIONS, "second": MANY["epochs"] - 1}}
    whole, broken = run(photos, tmp_path / "whole", kind, **changes), run(photos, tmp_path / "broken", kind, **changes)
    fit(whole)
    stop_within_epoch(broken, after)
    assert not equal(weights(broken.folder / LAST), weights(whole.folder / LAST))
    fit(broken, resume=True)
    assert equal(weights(broken.folder / LAST), weights(whole.folder / LAST))
    assert (broken.folder / LOG_NAME).read_text() == (whole.folder / LOG_NAME).read_text()


def test_a_run_stopped_in_its_first_epoch_is_resumed_from_the_start(photos: Path, tmp_path: Path) -> None:
    settings = run(photos, tmp_path, "segment", optimiser={"batch": 2, "epochs": 1, "steps_per_epoch": 2})
    fit(settings)
    whole = weights(settings.folder / LAST)
    (settings.folder / LAST).unlink()  # what is there then: run.json alone
    assert (settings.folder / RUN_NAME).exists()
    fit(settings, resume=True)
    assert equal(weights(settings.folder / LAST), whole)


@pytest.mark.parametrize("kind", ["segment", "cirl", "gagl", "cosface"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(photos: Path, tmp_path: Path, kind: str) -> None:
    short = {"batch": 2, "epochs": 3, "steps_per_epoch": 2, "learning_rate": 0.01}
    found = []
    for name, seed in (("one", 7), ("two", 7), ("three", 8)):
        settings = run(photos, tmp_path / name, kind, optimiser=short, seed=seed)
        fit(settings)
        found.append(weights(settings.folder / LAST))
    assert equal(found[0], found[1])
    assert not equal(found[0], found[2])


def test_gagl_leaves_its_anchors_alone_while_burning_in_and_keeps_them_in_the_checkpoint(
    photos: Path, tmp_path: Path
) -> None:
    """GAGL, CVPR 2022, algorithm 2: cross-entropy alone at first."""
    settings = run(photos, tmp_path, "gagl")
    stop_within_epoch(settings, 1)
    burnt_in = weights(settings.folder / LAST)
    drawn = GAGL(classes=2, dimensions=10, seed=settings.seed).anchors
    assert torch.equal(burnt_in["objective.loss.anchors"], drawn)
    assert burnt_in["objective.loss.mean_square"] > 0
    fit(settings, resume=True)
    assert not torch.equal(weights(settings.folder / LAST)["objective.loss.anchors"], drawn)


def test_cirl_keeps_the_network_of_phase_1_and_ships_one_without_a_variance_head(photos: Path, tmp_path: Path) -> None:
    settings = run(photos, tmp_path, "cirl")
    stop_within_epoch(settings, 1)
    phase_1 = {n.removeprefix("net."): w for n, w in weights(settings.folder / LAST).items() if n.startswith("net.")}
    fit(settings, resume=True)
    after = weights(settings.folder / LAST)
    kept = {n.removeprefix("objective.phase_1."): w for n, w in after.items() if n.startswith("objective.phase_1.")}
    assert equal(kept, phase_1)
    assert not torch.equal(after["net.net.head.weight"], phase_1["net.head.weight"])
    shipped, passport = load_checkpoint(settings.folder / LAST)
    assert passport.parameters == sum(p.numel() for p in shipped.parameters())
    assert not any("variance" in name for name, _ in shipped.named_parameters())
    trained, _ = load_checkpoint(settings.folder / LAST, variance_head=True)
    assert {"variance.weight", "variance.bias"} <= {name for name, _ in trained.named_parameters()}
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(shipped(image), trained(image))


@pytest.mark.parametrize("loss", ["cosface", "arcface", "circle"])
def test_a_gate_with_prototypes_predicts_by_them_after_it_is_loaded(photos: Path, tmp_path: Path, loss: str) -> None:
    settings = run(photos, tmp_path, loss, optimiser={"batch": 2, "epochs": 1, "steps_per_epoch": 2, "ema": 0})
    fit(settings)
    state = weights(settings.folder / LAST)
    prototypes = state["objective.loss.prototypes"]
    gate, _ = load_checkpoint(settings.folder / LAST)
    features = torch.rand(4, prototypes.shape[1])
    expected = torch.cosine_similarity(features[:, None], prototypes[None], dim=2)
    scale = {"cosface": 64, "arcface": 64, "circle": 256}[loss]
    with torch.no_grad():
        assert torch.allclose(gate.head(features), scale * expected, atol=1e-3)  # type: ignore[operator]
