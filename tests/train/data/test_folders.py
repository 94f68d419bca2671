"""Folders of photos: what fits is read, what does not is named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import InputError
from tests.support.training import cracked_photo, write_classes, write_pairs
from train.data.folders import ClassFolder, PairFolder
from train.data.reading import read_mask
from train.settings import Grouping


def test_a_pair_is_a_photo_and_the_mask_of_its_stem(tmp_path: Path) -> None:
    folder = PairFolder("p", write_pairs(tmp_path, 3), Grouping())
    image, mask = cracked_photo(1)
    picture = folder.load(1)
    assert np.array_equal(picture.image_rgb, image)
    assert picture.mask is not None
    assert np.array_equal(picture.mask, mask)
    assert picture.cracked


def test_a_photo_without_a_mask_is_named(tmp_path: Path) -> None:
    write_pairs(tmp_path, 3)
    (tmp_path / "masks" / "p0021.png").unlink()
    with pytest.raises(InputError, match=r"masks/p0021\.png: missing"):
        PairFolder("p", tmp_path, Grouping())


def test_a_missing_and_an_empty_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        PairFolder("p", tmp_path, Grouping())
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        PairFolder("p", tmp_path, Grouping())


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = PairFolder("p", write_pairs(tmp_path, 1), Grouping())
    cv2.imwrite(str(tmp_path / "masks" / "p0001.png"), np.zeros((64, 60), np.uint8))
    with pytest.raises(InputError, match="60x64 px, its photo has 64x64"):
        folder.load(0)


def test_a_mask_above_127_is_crack(tmp_path: Path) -> None:
    values = np.zeros((32, 32), np.uint8)
    values[0, :4] = (126, 127, 128, 255)
    cv2.imwrite(str(tmp_path / "m.png"), values)
    assert read_mask(tmp_path / "m.png")[0, :5].tolist() == [False, False, True, True, False]


def test_jpeg_noise_and_antialiased_edges_pass_but_a_photo_is_no_mask(tmp_path: Path) -> None:
    image, mask = cracked_photo(5, 128)
    soft = cv2.GaussianBlur(mask.astype(np.uint8) * 255, (3, 3), 0)
    cv2.imwrite(str(tmp_path / "soft.jpg"), soft)
    assert read_mask(tmp_path / "soft.jpg").any()
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    with pytest.raises(InputError, match="grey"):
        read_mask(tmp_path / "photo.png")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        pytest.param((0, 1), "its brightest value is 1 of 255", id="cracks are 1, which would all be lost"),
        pytest.param((0, 1, 2), "its brightest value is 2 of 255", id="classes by number"),
        pytest.param((0, 50, 255), "holds 0, 50 and 255; a mask has two values", id="a third value, dark"),
        pytest.param((0, 200, 255), "holds 0, 200 and 255", id="a third value, bright"),
        pytest.param((0, 128, 255), "33% of it is grey", id="a third value, grey"),
    ],
)
def test_a_mask_of_other_values_than_two_is_refused(tmp_path: Path, values: tuple[int, ...], fault: str) -> None:
    rows = np.repeat(np.array(values, np.uint8), 12)
    cv2.imwrite(str(tmp_path / "m.png"), np.repeat(rows[:, None], 36, axis=1))
    with pytest.raises(InputError, match=fault):
        read_mask(tmp_path / "m.png")


@pytest.mark.parametrize(
    "content", [pytest.param(b"", id="empty"), pytest.param(b"\xff\xd8\xff\xe0 no picture", id="truncated")]
)
def test_a_file_that_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    folder = PairFolder("p", write_pairs(tmp_path, 1), Grouping())
    (tmp_path / "images" / "p0001.png").write_bytes(content)
    with pytest.raises(InputError, match=r"p0001\.png: cannot be decoded"):
        folder.load(0)


def test_a_clean_photo_has_an_empty_mask_and_a_cracked_one_has_none(tmp_path: Path) -> None:
    folder = ClassFolder("c", write_classes(tmp_path, 2), Grouping())
    pictures = [folder.load(i) for i in range(4)]
    assert [picture.cracked for picture in pictures] == [False, False, True, True]
    assert [picture.mask is not None for picture in pictures] == [folder.has_mask(i) for i in range(4)]
    assert pictures[0].mask is not None
    assert not pictures[0].mask.any()
    assert len(set(folder.groups)) == 4, "number 1 of crack/ is not number 1 of clean/"


def test_the_hash_of_a_set_follows_every_byte_and_name(tmp_path: Path) -> None:
    write_pairs(tmp_path, 2)
    before = PairFolder("p", tmp_path, Grouping()).sha256()
    assert PairFolder("p", tmp_path, Grouping()).sha256() == before
    mask = tmp_path / "masks" / "p0001.png"
    mask.write_bytes(mask.read_bytes() + b"\0")
    assert PairFolder("p", tmp_path, Grouping()).sha256() != before
