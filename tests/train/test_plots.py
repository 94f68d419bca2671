"""`crack-train plot`: what is drawn is what the network says, and a run that cannot be drawn is told."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.errors import ConfigError, InputError
from tests.support.commands import crack
from tests.support.training import tiny_settings
from train.data.crops import gate_view, to_tensor
from train.data.reading import read_rgb
from train.fit import fit
from train.models.gate import PatchNet
from train.plots import feature_cloud, held_back_picture, open_run, plot_features, plot_maps
from train.settings import Settings


@pytest.fixture
def gate(photos: Path, tmp_path: Path) -> Settings:
    """A gate's run of seconds, on patches of its own."""
    shutil.copytree(photos, tmp_path / "data")
    settings = tiny_settings(tmp_path / "data", tmp_path / "gate", task="gate")
    raw = settings.model_dump(mode="json")
    raw["data"]["sources"] = [{**raw["data"]["sources"][2], "validation": 0.7}]
    settings = Settings.model_validate(raw)
    fit(settings)
    return settings


def spiral(photos: Path, out: Path, connection: str = "concatenate") -> Settings:
    model = {"name": "spiral_net", "options": {"width": 1 / 16, "depths": [1, 2, 3], "connection": connection}}
    settings = tiny_settings(photos, out, model=model, optimiser={"batch": 2, "epochs": 1, "steps_per_epoch": 1})
    fit(settings)
    return settings


def test_kappa_is_counted_as_by_a_loop_over_the_attack(gate: Settings) -> None:
    """The gradient of cross-entropy by autograd, one patch and one step at a time."""
    net, settings = open_run(gate.folder)
    assert isinstance(net, PatchNet)
    cloud = feature_cloud(net, settings)
    assert len(cloud.names) == len(cloud.features) >= 4
    unit = float(np.sqrt((cloud.features.astype(np.float64) ** 2).mean()))
    for name, crack_there, feature, kappa in zip(cloud.names, cloud.cracked, cloud.features, cloud.kappa, strict=True):
        assert ("/crack/" in name) == bool(crack_there)
        with torch.no_grad():
            again = net.answers(to_tensor(gate_view(read_rgb(Path(name)), settings.gate)[None])).features[0]
        np.testing.assert_allclose(again.numpy(), feature, atol=1e-5)
        x, counted, label = torch.tensor(feature), 0, torch.tensor([int(crack_there)])
        while counted < cloud.steps and int(net.head(x[None]).argmax()) == int(label):
            x.requires_grad_()
            (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(net.head(x[None]), label), x)
            x = (x + 0.1 * unit * gradient.sign()).detach()
            counted += 1
        assert counted == kappa


def test_the_features_are_drawn_and_their_points_written(gate: Settings, tmp_path: Path) -> None:
    net, settings = open_run(gate.folder)
    cloud = feature_cloud(net, settings)
    picture, points = plot_features(cloud, tmp_path, title="t")
    assert read_rgb(picture).std() > 1
    with points.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["patch"] for row in rows] == list(cloud.names)
    assert [int(row["kappa"]) for row in rows] == cloud.kappa.tolist()
    before = points.read_bytes()
    plot_features(cloud, tmp_path, title="t")
    assert points.read_bytes() == before


def test_fewer_patches_can_be_asked_for_and_unreadable_ones_are_counted(gate: Settings) -> None:
    net, settings = open_run(gate.folder)
    assert len(feature_cloud(net, settings, limit=5).names) == 5
    cloud = feature_cloud(net, settings)
    Path(cloud.names[0]).write_bytes(b"no picture")
    again = feature_cloud(net, settings)
    assert again.names == cloud.names[1:]
    (message,) = again.skipped
    assert cloud.names[0] in message


@pytest.mark.parametrize("connection", ["concatenate", "sum", "none"])
def test_a_spiral_nets_maps_are_drawn_beside_picture_truth_and_probability(
    photos: Path, tmp_path: Path, connection: str
) -> None:
    net, settings = open_run(spiral(photos, tmp_path / "run", connection).folder)
    drawn = read_rgb(plot_maps(net, held_back_picture(settings), tmp_path, title="t"))
    assert drawn.std() > 10
    assert drawn.shape[1] > drawn.shape[0], "picture, truth, three maps, probability: two rows of five"


def test_the_commands_write_beside_the_run_or_where_they_are_told(photos: Path, gate: Settings, tmp_path: Path) -> None:
    done = crack("crack-train", "plot", "features", gate.folder)
    assert done.returncode == 0, done.stderr
    assert (gate.folder / "plots" / "features.png").is_file()
    run = spiral(photos, tmp_path / "run").folder
    photo = next((photos / "pairs" / "images").iterdir())
    done = crack("crack-train", "plot", "maps", run, "--image", photo, "--out", tmp_path / "maps")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "maps" / "maps.png")]
    assert (tmp_path / "maps" / "maps.png").is_file()


def test_a_run_that_cannot_be_drawn_so_is_told(photos: Path, gate: Settings, tmp_path: Path) -> None:
    net, settings = open_run(gate.folder)
    with pytest.raises(ConfigError, match="plot maps takes spiral_net"):
        plot_maps(net, held_back_picture(tiny_settings(photos, tmp_path)), tmp_path, title=settings.name)
    segmenter = open_run(spiral(photos, tmp_path / "run").folder)
    with pytest.raises(ConfigError, match="task: gate"):
        feature_cloud(*segmenter)
    with pytest.raises(InputError, match="no run of `crack-train fit`"):
        open_run(tmp_path)
    done = crack("crack-train", "plot", "features", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("crack-train: ")
