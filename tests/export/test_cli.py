"""`crack-export` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from export.cli import app
from export.settings import load
from tests.export.conftest import Checkpoints
from tests.support.bundles import make_bundle
from tests.support.commands import ROOT
from tests.support.training import write_pairs

CONFIGS = sorted((ROOT / "configs" / "export").rglob("*.yaml"))


def run(*arguments: object) -> Result:
    """Call the command in this process, as if piped."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_bundle_is_written_named_and_verified(checkpoints: Checkpoints, tmp_path: Path) -> None:
    config = tmp_path / "export.yaml"
    config.write_text("tile_px: 64\noverlap_px: 16\ngolden_tiles: 1\n")
    out = tmp_path / "b"
    done = run("bundle", checkpoints.segmenter, "--out", out, "--config", config, "--name", "mine")
    assert done.exit_code == 0, done.stderr
    assert "mine: segmenter, fp32" in done.stdout
    assert ", 1 golden tiles" in done.stdout
    for variant in ("fp16", "int8"):  # ships, or the reason is told
        assert (variant in done.stdout) is (f"{variant} is left out: " not in done.stderr)
    told = run("verify", out, "--json")
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["bundle"].startswith("mine ")
    again = run("bundle", checkpoints.segmenter, "--out", out, "--config", config)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("tile_pixel: 64\n", "tile_pixel", id="an unknown key"),
        pytest.param("name: Über\n", "name", id="a name that is none"),
        pytest.param("- 1\n", "mapping", id="no mapping"),
    ],
)
def test_settings_that_do_not_fit_end_with_2(checkpoints: Checkpoints, tmp_path: Path, text: str, told: str) -> None:
    config = tmp_path / "export.yaml"
    config.write_text(text)
    done = run("bundle", checkpoints.segmenter, "--out", tmp_path / "b", "--config", config)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not (tmp_path / "b").exists()


def test_what_is_no_bundle_and_no_checkpoint_is_named(tmp_path: Path) -> None:
    done = run("verify", tmp_path)
    assert done.exit_code == 2
    assert "no model bundle here" in done.stderr
    done = run("bundle", tmp_path / "x.ckpt", "--out", tmp_path / "b")
    assert done.exit_code == 2
    assert "x.ckpt: cannot be read" in done.stderr
    done = run("bundle", tmp_path / "x.ckpt", "--out", tmp_path / "b", "--name", "A b")
    assert done.exit_code == 2
    assert "A b" in done.stderr


@pytest.mark.parametrize("config", CONFIGS, ids=[str(path.relative_to(ROOT)) for path in CONFIGS])
def test_every_config_loads_and_says_how_it_is_launched(config: Path) -> None:
    assert load(config).name == config.stem
    assert f"--config {config.relative_to(ROOT)}" in config.read_text().split("\nname:")[0]


def test_a_bundle_gets_its_variants_without_a_checkpoint(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    pairs = write_pairs(tmp_path / "pairs", 2)
    done = run(
        "certify", folder, "--out", tmp_path / "out", "--calibrate", pairs / "images", "--validate", pairs
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "tiny: segmenter and gate, fp32, fp16" in done.stdout
    told = run("verify", tmp_path / "out")
    assert told.exit_code == 0, told.stderr
    assert "passed: tiny" in told.stdout
    assert "covers what ships" in told.stdout
    missing = run("certify", folder, "--out", tmp_path / "x", "--validate", tmp_path / "nothing")
    assert missing.exit_code == 2
    assert "nothing" in missing.stderr


def test_a_checkpoint_of_another_network_is_named(checkpoints: Checkpoints, tmp_path: Path) -> None:
    content = torch.load(checkpoints.segmenter, map_location="cpu", weights_only=True)
    weights = content["state_dict"]
    name = next(key for key in weights if key.endswith("head.weight") and key.startswith("averaged"))
    weights[name] = torch.zeros(7, 7, 7, 7)
    torch.save(content, tmp_path / "other.ckpt")
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}}, tmp_path / "foreign.ckpt")
    for file in ("other.ckpt", "foreign.ckpt"):
        done = run("bundle", tmp_path / file, "--out", tmp_path / "b")
        assert done.exit_code == 2
        assert f"{file}: not a checkpoint of this version" in done.stderr
    assert not (tmp_path / "b").exists()


def test_version_needs_no_checkpoint() -> None:
    done = run("--version")
    assert done.exit_code == 0
    assert "crackscout" in done.stdout
