"""The published sets are read as they come: a tiny one of each layout, made here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from agent.contract.arrays import Bool
from agent.errors import InputError
from train.data.folders import ClassFolder, PairFolder
from train.data.layouts import LAYOUTS
from train.data.splits import group_names
from train.settings import Grouping

HEIGHT, WIDTH = 24, 40


def truth(seed: int) -> Bool:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[5 + seed, 3:30] = True
    return mask


def picture(path: Path, content: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((HEIGHT, WIDTH, 3), 170, np.uint8) if content is None else content
    if path.suffix == ".gif":  # OpenCV may be built without
        Image.fromarray(image).save(path)
    else:
        cv2.imwrite(str(path), image)


def light(mask: Bool) -> np.ndarray:
    return mask.astype(np.uint8) * 255


def crackforest(folder: Path, name: str, mask: Bool, *, others: bool = True) -> None:
    picture(folder / "image" / f"{name}.jpg")
    labels = np.where(mask, 2, 1).astype(np.uint8)
    if others:
        labels[0, :5], labels[1, :5] = 3, 4
    (folder / "groundTruth").mkdir(exist_ok=True)
    savemat(folder / "groundTruth" / f"{name}.mat", {"groundTruth": {"Segmentation": labels, "Boundaries": labels > 1}})


def beside(
    photos: str, masks: str, suffix: str = ".png", photo_suffix: str = ".jpg"
) -> Callable[[Path, str, Bool], None]:
    def write(folder: Path, name: str, mask: Bool) -> None:
        picture(folder / photos / f"{name}{photo_suffix}")
        picture(folder / masks / f"{name}{suffix}", light(mask))

    return write


def aiglern(folder: Path, name: str, mask: Bool) -> None:
    picture(folder / "IMAGES" / "AIGLE_RN" / f"Im_GT_AIGLE_RN_{name}or.png")
    picture(folder / "GROUND_TRUTH" / "AIGLE_RN" / f"GT_AIGLE_RN_{name}.png", 255 - light(mask))


def drive(folder: Path, name: str, mask: Bool) -> None:
    picture(folder / "images" / f"{name}_training.tif")
    picture(folder / "1st_manual" / f"{name}_manual1.gif", light(mask))


WRITERS: dict[str, tuple[Callable[[Path, str, Bool], None], tuple[str, str]]] = {
    "plain": (beside("images", "masks"), ("a", "b")),
    "crackforest": (crackforest, ("001", "118")),
    "aiglern": (aiglern, ("C18a", "F04b")),
    "cracktree260": (beside("image", "gt", ".bmp"), ("6192", "6193")),
    "cracktree200": (beside(".", "gt"), ("6192", "6193")),
    "crkwh100": (beside("images", "GT", ".bmp"), ("1000", "1001")),
    "crackls315": (beside("image", "gt", ".bmp"), ("1", "2")),
    "stone331": (beside("image", "groundtruth", ".bmp"), ("1", "2")),
    "crack500": (beside(".", "."), ("20160222_081011_1_361", "20160222_081011_361_1")),
    "bjn260": (beside("images", "labels"), ("1", "2")),
    "deepcrack": (beside("train_img", "train_lab"), ("7Q3A9060-1", "7Q3A9060-2")),
    "deepcrack_test": (beside("test_img", "test_lab"), ("11111", "11112")),
    "drive": (drive, ("21", "22")),
}


def test_every_layout_has_a_writer() -> None:
    assert set(WRITERS) == set(LAYOUTS)


def written(name: str, folder: Path) -> Path:
    write, stems = WRITERS[name]
    for seed, stem in enumerate(stems):
        write(folder, stem, truth(seed))
    return folder


@pytest.mark.parametrize("name", WRITERS)
def test_a_published_set_is_read_as_it_comes(name: str, tmp_path: Path) -> None:
    folder = PairFolder(name, written(name, tmp_path), Grouping(), LAYOUTS[name])
    assert len(folder) == 2
    for seed in range(2):
        found = folder.load(seed)
        assert found.image_rgb.shape == (HEIGHT, WIDTH, 3)
        assert found.mask is not None
        assert np.array_equal(found.mask, truth(seed))


@pytest.mark.parametrize("name", WRITERS)
def test_a_set_of_another_layout_is_told_what_is_missing(name: str, tmp_path: Path) -> None:
    picture(tmp_path / "pictures" / "1.jpg")
    with pytest.raises(InputError, match=str(tmp_path)):
        PairFolder(name, tmp_path, Grouping(), LAYOUTS[name])


@pytest.mark.parametrize("name", WRITERS)
def test_a_photo_without_its_truth_is_named(name: str, tmp_path: Path) -> None:
    written(name, tmp_path)
    second = LAYOUTS[name].pairs(tmp_path)[1]
    second[1].unlink()
    with pytest.raises(InputError, match=rf"missing, the mask of {second[0].name}"):
        PairFolder(name, tmp_path, Grouping(), LAYOUTS[name])


@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"crackforest"}))
def test_a_truth_of_another_size_or_with_grey_is_refused(name: str, tmp_path: Path) -> None:
    written(name, tmp_path)
    folder = PairFolder(name, tmp_path, Grouping(), LAYOUTS[name])
    first = LAYOUTS[name].pairs(tmp_path)[0][1]
    picture(first, np.zeros((HEIGHT, WIDTH - 1), np.uint8))
    with pytest.raises(InputError, match=rf"{first.name}: {WIDTH - 1}x{HEIGHT} px, its photo has {WIDTH}x{HEIGHT}"):
        folder.load(0)
    three = light(truth(0))
    three[12:] = 128
    picture(first, three)
    with pytest.raises(InputError, match=rf"{first.name}: 50% of it is grey"):
        folder.load(0)


def test_only_label_2_of_crackforest_is_crack(tmp_path: Path) -> None:
    """Labels 3 and 4, in 22 of its files, are none."""
    crackforest(tmp_path, "001", truth(0), others=True)
    crackforest(tmp_path, "002", truth(0), others=False)
    folder = PairFolder("cfd", tmp_path, Grouping(), LAYOUTS["crackforest"])
    assert np.array_equal(np.asarray(folder.load(0).mask), np.asarray(folder.load(1).mask))


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file, cut short"])
def test_a_mat_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    crackforest(tmp_path, "001", truth(0))
    folder = PairFolder("cfd", tmp_path, Grouping(), LAYOUTS["crackforest"])
    (tmp_path / "groundTruth" / "001.mat").write_bytes(content)
    with pytest.raises(InputError, match=r"001\.mat"):
        folder.load(0)


def test_a_mat_file_of_another_size_or_content_is_named(tmp_path: Path) -> None:
    crackforest(tmp_path, "001", truth(0))
    folder = PairFolder("cfd", tmp_path, Grouping(), LAYOUTS["crackforest"])
    savemat(tmp_path / "groundTruth" / "001.mat", {"groundTruth": {"Segmentation": np.ones((4, 5), np.uint8)}})
    with pytest.raises(InputError, match=rf"5x4 px, its photo has {WIDTH}x{HEIGHT}"):
        folder.load(0)
    savemat(tmp_path / "groundTruth" / "001.mat", {"other": 1})
    with pytest.raises(InputError, match=r"holds no groundTruth\.Segmentation"):
        folder.load(0)


def test_two_photos_of_one_key_are_refused(tmp_path: Path) -> None:
    written("drive", tmp_path)
    picture(tmp_path / "images" / "21_test.tif")
    with pytest.raises(InputError, match="belongs to 21 as well"):
        PairFolder("drive", tmp_path, Grouping(), LAYOUTS["drive"])


@pytest.mark.parametrize(
    ("crack", "clean"),
    [
        pytest.param(("Positive",), ("Negative",), id="METU, CRACK2019"),
        pytest.param(("D/CD", "P/CP", "W/CW"), ("D/UD", "P/UP", "W/UW"), id="SDNET2018"),
        pytest.param(("crack",), ("background", "welding"), id="class folders as NPP2021 has"),
    ],
)
def test_class_folders_of_any_name(crack: tuple[str, ...], clean: tuple[str, ...], tmp_path: Path) -> None:
    for part in (*crack, *clean):
        for stem in ("7001-1", "7001-2", "7002-1"):
            picture(tmp_path / part / f"{stem}.jpg")
    folder = ClassFolder("c", tmp_path, Grouping(rule="photo"), crack=crack, clean=clean)
    assert [folder.load(i).cracked for i in range(len(folder))] == [False] * 3 * len(clean) + [True] * 3 * len(crack)
    assert len(set(folder.groups)) == 2 * len((*crack, *clean)), "patches of one photo stay together"


@pytest.mark.parametrize(
    ("pattern", "stem", "group"),
    [
        (r"^(.+)-\d+$", "7001-115", "7001"),
        (r"^(\d+_\d+)_", "20160222_081011_1_361", "20160222_081011"),
        (r"^(.+)-\d+$", "whole", "whole"),
    ],
)
def test_patches_are_grouped_by_the_photo_they_were_cut_from(pattern: str, stem: str, group: str) -> None:
    assert group_names([stem], Grouping(rule="photo", pattern=pattern)) == (group,)


@pytest.mark.parametrize("pattern", ["(", "no bracket", "(two)(brackets)"])
def test_a_pattern_without_one_bracket_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Grouping(rule="photo", pattern=pattern)
