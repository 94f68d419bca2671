"""A segmenter and a gate of one epoch, and the bundle made of them: tests only read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from export.bundle import write_bundle
from export.settings import ExportSettings
from tests.support.disks import small_disk
from tests.support.nvidia_fixtures import cuda_library, nvidia_variables
from tests.support.training import tiny_settings, write_classes, write_pairs
from train.fit import BEST, fit

__all__ = ["cuda_library", "nvidia_variables", "small_disk"]

TINY = ExportSettings(name="tiny", licence="none", tile_px=64, overlap_px=16, golden_tiles=2, fails=("everything",))


@dataclass(frozen=True)
class Checkpoints:
    """Both networks' files."""

    segmenter: Path
    gate: Path


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    root = tmp_path_factory.mktemp("photos")
    write_pairs(root / "pairs", 6)
    write_classes(root / "classes", 6)
    paths = []
    for task in ("segment", "gate"):
        folder = tmp_path_factory.mktemp(task)
        optimiser = {"epochs": 1, "steps_per_epoch": 30, "batch": 2, "learning_rate": 0.02, "ema": 0.5}
        fit(tiny_settings(root, folder, task=task, optimiser=optimiser))
        paths.append(folder / BEST)
    return Checkpoints(*paths)


@pytest.fixture(scope="session")
def tiny(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_bundle([checkpoints.segmenter, checkpoints.gate], folder, TINY)
    return folder
