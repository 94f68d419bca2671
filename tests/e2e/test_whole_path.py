"""From training to reports on real photos that no training saw: fit, export, replay, and the answer to a fair rival."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.contract.arrays import Bool, UInt8
from tests.support.commands import ROOT, crack
from tests.support.pictures import read, read_unchanged
from train.metrics.pixels import tolerance
from train.metrics.tally import PixelTally

pytestmark = pytest.mark.slow
WITHIN_2_PX = tolerance(2)


@pytest.fixture(scope="module")
def bundle(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by the smoke recipe and exported, by the commands of the README."""
    folder = tmp_path_factory.mktemp("smoke")
    root = f"data.root={shared_data}"
    fit = crack("crack-train", "fit", ROOT / "configs/train/smoke.yaml", root, f"out={folder / 'run'}", cwd=folder)
    assert fit.returncode == 0, fit.stderr
    run = json.loads((folder / "run" / "run.json").read_text())
    assert run["settings"]["seed"] == 3
    export = crack("crack-export", "bundle", folder / "run/checkpoints/best.ckpt", "--out", folder / "bundle")
    assert export.returncode == 0, export.stderr
    assert crack("crack-export", "verify", folder / "bundle").returncode == 0
    return folder / "bundle"


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> Path:
    return shared_data / "cfd"


def truth_of(photos: Path, name: str) -> Bool:
    return np.asarray(read(photos / "masks" / f"{name}.png", cv2.IMREAD_GRAYSCALE) > 127, np.bool_)


def black_hat(image_rgb: UInt8, kernel_px: int) -> UInt8:
    """How much darker than its neighbourhood: the classical way to find thin dark lines."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY), (0, 0), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel_px, kernel_px))
    return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel), np.uint8)


def test_a_network_of_five_minutes_beats_a_black_hat_filter_on_crackforest(
    bundle: Path, photos: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """F1 with 2 px tolerance, counts pooled: ours at the bundle's own threshold, the filter's at its best of 255."""
    out = tmp_path / "out"
    done = crack(
        "crack-agent", "replay", photos / "images", "--out", out, "--bundle", bundle, "--save-probabilities", "--json"
    )
    assert done.returncode == 0, done.stderr
    names = sorted(path.stem for path in (photos / "images").iterdir())
    assert json.loads(done.stdout)["frames"] == len(names) == 72
    threshold = json.loads((bundle / "manifest.json").read_text())["segmenter"]["threshold"]["value"]

    ours = PixelTally((WITHIN_2_PX,))
    rivals = {kernel_px: PixelTally((WITHIN_2_PX,)) for kernel_px in (7, 9, 11, 17)}
    for name in names:
        truth = truth_of(photos, name)
        saved = read_unchanged(out / "probabilities" / f"{name}.png")
        ours.update((saved // 257).astype(np.uint8), truth)
        image = read(photos / "images" / f"{name}.jpg")
        for kernel_px, rival in rivals.items():
            rival.update(black_hat(image, kernel_px), truth)
    figure = ours.compute(threshold=threshold)["tolerance(2).f1"].value
    best = max(rival.compute()["tolerance(2).ods"].value or 0 for rival in rivals.values())
    record_property("f1_trained", figure)
    record_property("f1_black_hat", best)
    assert figure is not None
    assert figure > best


def test_a_flipped_byte_inside_a_weight_is_refused(bundle: Path, photos: Path, tmp_path: Path) -> None:
    altered = shutil.copytree(bundle, tmp_path / "altered")
    content = bytearray((altered / "segmenter.onnx").read_bytes())
    content[len(content) // 2] ^= 0x10
    (altered / "segmenter.onnx").write_bytes(content)
    done = crack("crack-agent", "replay", photos / "images" / "001.jpg", "--out", tmp_path / "o", "--bundle", altered)
    assert done.returncode == 2
    assert "copy the bundle again" in done.stderr
