"""check-data finds what would spoil a training before it begins."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import InputError
from tests.support.training import write_classes, write_pairs
from train.data.check import check_folder, perceptual_hash
from train.data.reading import read_mask
from train.settings import Grouping


def natural_photo(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    noise = np.random.default_rng(seed).normal(0, 1, (12, 12, 3)).astype(np.float32)
    large = cv2.resize(noise, (96, 96), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 45 * large, 0, 255).astype(np.uint8)


def test_a_sound_folder_has_no_faults_and_its_figures_are_right(tmp_path: Path) -> None:
    write_pairs(tmp_path, 4)
    cv2.imwrite(str(tmp_path / "masks" / "p0001.png"), np.zeros((64, 64), np.uint8))
    found = check_folder(tmp_path, Grouping())
    white = sum(int(read_mask(path).sum()) for path in (tmp_path / "masks").iterdir())
    assert found.faults == ()
    assert found.pictures == 4
    assert found.without_crack == 1
    assert found.crack_share == pytest.approx(white / (4 * 64 * 64))
    assert found.sizes == {"64x64": 4}


def test_every_fault_is_named(tmp_path: Path) -> None:
    write_pairs(tmp_path, 4)
    (tmp_path / "masks" / "p0001.png").unlink()
    (tmp_path / "images" / "p0021.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "masks" / "p0041.png"), np.zeros((10, 10), np.uint8))
    cv2.imwrite(str(tmp_path / "masks" / "alone.png"), np.zeros((10, 10), np.uint8))
    told = {Path(fault.file).name: fault.fault for fault in check_folder(tmp_path, Grouping()).faults}
    assert set(told) == {"p0001.png", "p0021.png", "p0041.png", "alone.png"}
    assert "missing" in told["p0001.png"]
    assert "decoded" in told["p0021.png"]
    assert "10x10" in told["p0041.png"]


def test_class_folders_are_checked_too(tmp_path: Path) -> None:
    found = check_folder(write_classes(tmp_path, 3), Grouping())
    assert (found.kind, found.pictures, found.crack_share) == ("classes", 6, None)


def test_a_folder_of_neither_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither"):
        check_folder(tmp_path, Grouping())


def test_a_hash_survives_scaling_compression_and_light_but_not_another_scene() -> None:
    photo = natural_photo(1)
    changed = cv2.resize(cv2.convertScaleAbs(photo, alpha=0.8, beta=10), (70, 70), interpolation=cv2.INTER_AREA)
    packed = cv2.imdecode(cv2.imencode(".jpg", changed, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    reference = perceptual_hash(photo)
    assert (reference ^ perceptual_hash(np.asarray(packed, np.uint8))).bit_count() <= 4
    assert (reference ^ perceptual_hash(natural_photo(2))).bit_count() > 15


def test_a_near_duplicate_in_another_group_is_a_leak_and_in_its_own_is_none(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"a{index}.png"), natural_photo(index))
        cv2.imwrite(str(tmp_path / "masks" / f"a{index}.png"), np.zeros((96, 96), np.uint8))
    for twin in ("a3", "a900"):
        shutil.copy(tmp_path / "images" / "a2.png", tmp_path / "images" / f"{twin}.png")
        shutil.copy(tmp_path / "masks" / "a2.png", tmp_path / "masks" / f"{twin}.png")
    found = check_folder(tmp_path, Grouping(rule="runs", gap=10))
    pairs = {tuple(sorted(Path(path).stem for path in pair)) for pair in found.near_duplicates}
    leaks = {tuple(sorted(Path(path).stem for path in pair)) for pair in found.leaks}
    assert pairs == {("a2", "a3"), ("a2", "a900"), ("a3", "a900")}
    assert leaks == {("a2", "a900"), ("a3", "a900")}
