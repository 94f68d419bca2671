"""Where the published crack sets keep their photos and their truth, so that they can be read as they come.

The sets themselves are not part of this software and are never fetched by it. Folder names were checked against public
listings for DeepCrack (Liu) and Crack500's files; the others are as remembered from the archives, with the variants
that circulate as alternatives: what is missing is named, so that a folder can be renamed to fit.

| layout | photos, truth | truth |
|---|---|---|
| plain | images/, masks/ | above 127 is crack |
| crackforest | image/, groundTruth/*.mat | label 2 is crack; 22 of the files also hold 3 and 4, which are none |
| aiglern | IMAGES/AIGLE_RN/, GROUND_TRUTH/AIGLE_RN/ | dark on light; equal codes (C18a) belong together |
| cracktree260, cracktree200, crkwh100, crackls315, stone331 | image/ or images/, gt/ or groundtruth/ | 1 px wide |
| crack500 | one folder, each photo .jpg, its truth .png | full width |
| bjn260 | images/, labels/ | full width |
| deepcrack, deepcrack_test | train_img/, train_lab/ and test_img/, test_lab/ | full width |
| drive | training/ or test/: images/, 1st_manual/ | vessels; equal numbers belong together |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from agent.contract.arrays import Bool
from agent.errors import InputError
from train.data.reading import list_files, mismatch, read_mask

LayoutName = Literal[
    "plain", "crackforest", "aiglern", "cracktree260", "cracktree200", "crkwh100", "crackls315", "stone331", "crack500",
    "bjn260", "deepcrack", "deepcrack_test", "drive",
]  # fmt: skip
CRACK_LABEL: Final = 2  # of CrackForest

ReadTruth = Callable[[Path, tuple[int, ...]], Bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a set is laid out.

    Args:
        photos: folders the photos may lie in; the first that exists counts.
        truth: likewise.
        photo_suffixes: of photos, where the folder holds truth as well; None takes every picture.
        truth_suffixes: likewise; of .mat files too.
        key: what photo and truth have in common, found in a stem; None is the whole stem.
        read: of a truth file.
    """

    photos: tuple[str, ...]
    truth: tuple[str, ...]
    photo_suffixes: frozenset[str] | None = None
    truth_suffixes: frozenset[str] | None = None
    key: str | None = None
    read: ReadTruth = read_mask

    def pairs(self, folder: Path) -> list[tuple[Path, Path]]:
        """Return each photo with its truth, in natural order.

        Raises:
            InputError: a folder is missing or empty, a photo has no truth, or two files have one key.
        """
        photos = self._keyed(list_files(_existing(folder, self.photos), self.photo_suffixes))
        truth_folder = _existing(folder, self.truth)
        truths = self._keyed(list_files(truth_folder, self.truth_suffixes))
        lonely = [path for key, path in photos.items() if key not in truths]
        if lonely:
            raise InputError(
                f"{truth_folder / lonely[0].stem}{min(self.truth_suffixes or {'.png'})}: missing, the mask of "
                f"{lonely[0].name}" + (f" (and {len(lonely) - 1} more)" if len(lonely) > 1 else "")
            )
        return [(path, truths[key]) for key, path in photos.items()]

    def _keyed(self, paths: list[Path]) -> dict[str, Path]:
        keyed: dict[str, Path] = {}
        for path in paths:
            found = re.search(self.key, path.stem) if self.key else None
            if self.key and not found:
                raise InputError(f"{path}: its name holds no {self.key}; is this set of another layout?")
            key = found[1] if found else path.stem
            if key in keyed:
                raise InputError(f"{path}: {keyed[key].name} belongs to {key} as well; keep one")
            keyed[key] = path
        return keyed


def read_crackforest(path: Path, shape: tuple[int, ...]) -> Bool:
    """Return CrackForest's truth of a photo, (H, W), True where its label is 2.

    Raises:
        InputError: not such a file, or not of the photo's size.
    """
    try:
        labels = loadmat(path)["groundTruth"]["Segmentation"][0, 0]
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    except (MatReadError, ValueError, KeyError, IndexError, TypeError, NotImplementedError) as exc:
        raise InputError(f"{path}: holds no groundTruth.Segmentation; is it a file of CrackForest?") from exc
    labels = np.asarray(labels)
    if labels.shape != tuple(shape[:2]):
        raise mismatch(path, labels.shape, shape)
    return np.asarray(labels == CRACK_LABEL, np.bool_)


def read_dark_on_light(path: Path, shape: tuple[int, ...]) -> Bool:
    """Return a truth that is drawn dark on light, (H, W), True is crack.

    Raises:
        InputError: see `read_mask`.
    """
    return ~read_mask(path, shape)


def _existing(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    others = f" (or {', '.join(names[1:])})" if len(names) > 1 else ""
    raise InputError(f"{folder / names[0]}: no such folder{others}; check data.root and the source's folder")


_JPEG: Final = frozenset({".jpg", ".jpeg"})
_ZOU: Final = Layout(photos=("image", "images", "."), truth=("gt", "GT", "groundtruth", "groundTruth"))
LAYOUTS: Final[Mapping[str, Layout]] = {
    "plain": Layout(photos=("images",), truth=("masks",)),
    "crackforest": Layout(
        photos=("image",), truth=("groundTruth",), truth_suffixes=frozenset({".mat"}), read=read_crackforest
    ),
    "aiglern": Layout(
        photos=("IMAGES/AIGLE_RN", "images"),
        truth=("GROUND_TRUTH/AIGLE_RN", "groundtruth"),
        key=r"([A-Z]\d+[a-z]?)(?:or)?$",
        read=read_dark_on_light,
    ),
    **dict.fromkeys(("cracktree260", "cracktree200", "crkwh100", "crackls315", "stone331"), _ZOU),
    "crack500": Layout(photos=(".",), truth=(".",), photo_suffixes=_JPEG, truth_suffixes=frozenset({".png"})),
    "bjn260": Layout(photos=("images", "image"), truth=("labels", "label", "gt")),
    "deepcrack": Layout(photos=("train_img",), truth=("train_lab",)),
    "deepcrack_test": Layout(photos=("test_img",), truth=("test_lab",)),
    "drive": Layout(photos=("images",), truth=("1st_manual",), key=r"^(\d+)"),
}
assert set(LAYOUTS) == set(get_args(LayoutName))  # noqa: S101 - the setting and the table name the same
