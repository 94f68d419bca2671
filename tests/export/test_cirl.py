"""What CIRL added to a network for training is not in the graph that ships."""

from __future__ import annotations

from pathlib import Path

import onnx
from torch.nn import Module

from export.bundle import write_bundle
from export.settings import ExportSettings
from tests.support.training import tiny_settings, write_classes, write_pairs
from train.checkpoint import load_checkpoint
from train.fit import BEST, fit

SETTINGS = ExportSettings(name="tiny", licence="none", tile_px=64, overlap_px=16, golden_tiles=1, fails=("everything",))


def elements(net: Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_a_segmenter_trained_by_cirl_ships_without_its_variance_head(tmp_path: Path) -> None:
    write_pairs(tmp_path / "photos" / "pairs", 6)
    write_classes(tmp_path / "photos" / "classes", 6)
    loss = {"name": "cirl", "options": {"threshold": 0.01, "neighbours": 5, "warm_up_share": 0}}
    optimiser = {"epochs": 2, "steps_per_epoch": 15, "batch": 2, "learning_rate": 0.02, "ema": 0.5}
    run = tiny_settings(tmp_path / "photos", tmp_path / "run", loss=loss, optimiser=optimiser)
    fit(run)
    with_head, _ = load_checkpoint(run.folder / BEST, variance_head=True)
    shipped, _ = load_checkpoint(run.folder / BEST)
    assert elements(with_head) == elements(shipped) + 4 + 1  # a weight for each of 4 features, and a bias
    write_bundle([run.folder / BEST], tmp_path / "tiny", SETTINGS)
    graph = onnx.load(tmp_path / "tiny" / "segmenter.onnx").graph
    assert [output.name for output in graph.output] == ["probability"]
    assert not any("variance" in initializer.name for initializer in graph.initializer)
    # a 1 x 1 convolution to one channel is the variance head's alone
    assert not any(list(initializer.dims) == [1, 4, 1, 1] for initializer in graph.initializer)
