"""`crack-train` as a user calls it: exit codes, one line of what to do, figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.support.bundles import make_bundle
from tests.support.commands import crack
from tests.support.training import tiny_settings, write_pairs
from train.cli import app
from train.fit import BEST, fit
from train.settings import load


def run(*arguments: object) -> Result:
    """Call the command in this process, as if piped."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def checkpoints(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A segmenter and a gate of one epoch."""
    found = {}
    for task in ("segment", "gate"):
        folder = tmp_path_factory.mktemp(task)
        fit(tiny_settings(photos, folder, task=task, optimiser={"epochs": 1, "steps_per_epoch": 2, "batch": 2}))
        found[task] = folder / BEST
    return found


def test_fit_is_silent_but_for_its_result_when_piped(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path / "other")
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    done = crack("crack-train", "fit", config, f"out={tmp_path / 'run'}", "optimiser.epochs=1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith(str(tmp_path / "run" / BEST))
    assert len(done.stdout.splitlines()) == 1


def test_unknown_settings_end_with_2_and_one_line(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("name: x\ntask: segment\n")
    done = run("fit", config, "optimizer.batch=1")
    assert done.exit_code == 2
    assert "did you mean optimiser?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_settings_are_printed_with_their_meaning_and_can_be_read_again(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path / "run")
    config, printed = tmp_path / "run.yaml", tmp_path / "printed.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    done = run("print-config", config, "compute.checkpoint_gradients=true")
    assert done.exit_code == 0, done.stderr
    assert "# Compute what lies inside the network's blocks again" in done.stdout
    printed.write_text(done.stdout)
    read = load(printed)
    assert read.compute.checkpoint_gradients
    assert read.model_copy(update={"compute": settings.compute}) == settings


def test_a_missing_data_folder_ends_with_2_and_its_name(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "nowhere", tmp_path / "run")
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    done = run("fit", config)
    assert done.exit_code == 2
    assert "nowhere/pairs/images: no such folder" in done.stderr


def test_a_checkpoint_is_judged_on_photos_with_masks(
    checkpoints: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    pairs = photos / "pairs"
    done = run(
        "evaluate", checkpoints["segment"], "--images", pairs / "images", "--masks", pairs / "masks",
        "--pictures", tmp_path / "seen", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kind"] == "segmentation"
    assert found["images"] == 10
    assert {metric["name"] for metric in found["metrics"]} >= {"strict.f1", "flex(2).ap", "tolerance(2).ods"}
    seen = {path.name for path in (tmp_path / "seen").iterdir()}
    assert len(seen) == 11
    assert "precision_recall.png" in seen


def test_a_gate_is_judged_on_class_folders(checkpoints: dict[str, Path], photos: Path) -> None:
    done = run("evaluate", checkpoints["gate"], "--classes", photos / "classes", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["kind"], found["images"], found["images_with_crack"]) == ("gate", 20, 10)


def test_a_bundle_is_judged_as_the_agent_runs_it(photos: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny")
    pairs = photos / "pairs"
    done = run("evaluate", bundle, "--images", pairs / "images", "--masks", pairs / "masks", "--json")
    assert done.exit_code == 0, done.stderr
    figures = {metric["name"]: metric["value"] for metric in json.loads(done.stdout)["metrics"]}
    assert figures["tolerance(2).f1"] > 0.9, "the dark lines are what the tiny bundle looks for"
    gate = run("evaluate", bundle, "--classes", photos / "classes", "--json")
    assert json.loads(gate.stdout)["images"] == 20


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["--images", "a", "--classes", "b"], "either --images DIR", id="both kinds of truth"),
        pytest.param([], "either --images DIR", id="neither"),
        pytest.param(["--images", "nowhere"], "nowhere.ckpt", id="no such checkpoint"),
    ],
)
def test_evaluate_says_what_it_needs(arguments: list[str], told: str) -> None:
    done = run("evaluate", "nowhere.ckpt", *arguments)
    assert done.exit_code == 2
    assert told in done.stderr


def test_a_segmenter_has_no_gate_to_judge(checkpoints: dict[str, Path], photos: Path) -> None:
    done = run("evaluate", checkpoints["segment"], "--classes", photos / "classes")
    assert done.exit_code == 2
    assert "has no gate" in done.stderr


def test_a_text_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_text("hello")
    done = run("evaluate", tmp_path / "x.ckpt", "--images", tmp_path)
    assert done.exit_code == 2
    assert "x.ckpt: not a checkpoint" in done.stderr


def test_check_data_ends_with_0_for_a_sound_folder_and_2_for_another(photos: Path, tmp_path: Path) -> None:
    sound = run("check-data", photos / "pairs", "--groups", "runs:30")
    assert sound.exit_code == 0, sound.stderr
    assert "10 pictures in 1 groups" in sound.stdout
    write_pairs(tmp_path / "bad", 3)
    (tmp_path / "bad" / "masks" / "p0001.png").unlink()
    bad = run("check-data", tmp_path / "bad")
    assert bad.exit_code == 2
    assert "p0001.png: missing" in bad.stderr
    assert run("check-data", photos / "pairs", "--groups", "pairs").exit_code == 2


def test_version_names_the_training_libraries() -> None:
    done = crack("crack-train", "--version")
    assert done.returncode == 0, done.stderr
    assert "crackscout" in done.stdout
    assert "torch" in done.stdout
