"""Photos in folders: `images/` with `masks/`, or `crack/` and `clean/`."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Bool, UInt8
from agent.errors import InputError
from train.data.picture import Picture
from train.data.splits import group_names
from train.settings import Grouping

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
CRACK_LEVEL: Final = 127  # a mask's value above this is crack
GREY_SHARE: Final = (
    0.05  # more of a mask than this between 64 and 191 is no mask; JPEG and antialiased edges stay below
)


class PairFolder:
    """Photos with a mask each.

    Raises:
        InputError: a folder is missing or empty, or a photo has no mask of its stem.
    """

    real = True

    def __init__(self, name: str, folder: Path, grouping: Grouping) -> None:
        self.name = name
        self._images = list_images(folder / "images")
        masks = {path.stem: path for path in list_images(folder / "masks")}
        lonely = [path for path in self._images if path.stem not in masks]
        if lonely:
            raise InputError(
                f"{folder / 'masks' / lonely[0].stem}.png: missing, the mask of {lonely[0].name}"
                + (f" (and {len(lonely) - 1} more)" if len(lonely) > 1 else "")
            )
        self._masks = [masks[path.stem] for path in self._images]
        self.groups = group_names([path.stem for path in self._images], grouping)

    def __len__(self) -> int:
        return len(self._images)

    def label(self, index: int) -> str:
        """Return the photo's path."""
        return str(self._images[index])

    def has_mask(self, index: int) -> bool:  # noqa: ARG002
        """All have one."""
        return True

    def load(self, index: int) -> Picture:
        """Read a photo and its mask.

        Raises:
            InputError: either cannot be decoded, their sizes differ, or the mask is none.
        """
        image = read_rgb(self._images[index])
        mask = read_mask(self._masks[index], image.shape[:2])
        return Picture(image_rgb=image, mask=mask, cracked=bool(mask.any()))

    def sha256(self) -> str:
        """Return a hash over the names and bytes of photos and masks."""
        return _hash([*self._images, *self._masks])


class ClassFolder:
    """Photos that are known to hold a crack or none.

    Args:
        name: what to call it.
        folder: with `crack/` and `clean/`.
        grouping: within each class.

    Raises:
        InputError: a folder is missing or empty.
    """

    real = True

    def __init__(self, name: str, folder: Path, grouping: Grouping) -> None:
        self.name = name
        clean = list_images(folder / "clean")
        crack = list_images(folder / "crack")
        self._images = [*clean, *crack]
        self._clean = len(clean)
        self.groups = tuple(
            f"{kind}/{group}"
            for kind, paths in (("clean", clean), ("crack", crack))
            for group in group_names([path.stem for path in paths], grouping)
        )

    def __len__(self) -> int:
        return len(self._images)

    def label(self, index: int) -> str:
        """Return the photo's path."""
        return str(self._images[index])

    def has_mask(self, index: int) -> bool:
        """Clean photos do: an empty one."""
        return index < self._clean

    def load(self, index: int) -> Picture:
        """Read a photo; a clean one has an empty mask, a cracked one has none.

        Raises:
            InputError: it cannot be decoded.
        """
        image = read_rgb(self._images[index])
        cracked = index >= self._clean
        return Picture(image_rgb=image, mask=None if cracked else np.zeros(image.shape[:2], np.bool_), cracked=cracked)

    def sha256(self) -> str:
        """Return a hash over the names and bytes of all photos."""
        return _hash(self._images)


def list_images(folder: Path) -> list[Path]:
    """Return the pictures of a folder in natural order.

    Raises:
        InputError: no such folder, none in it, or two of one stem.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check data.root and the source's folder")
    paths = sorted((path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES), key=_natural)
    if not paths:
        raise InputError(f"{folder}: holds no pictures ({', '.join(sorted(SUFFIXES))})")
    twice = [stem for stem, count in Counter(path.stem for path in paths).items() if count > 1]
    if twice:
        raise InputError(f"{folder}: two files are called {twice[0]}; keep one")
    return paths


def read_rgb(path: Path) -> UInt8:
    """Return a picture, (H, W, 3) uint8 RGB, turned as its EXIF says.

    Raises:
        InputError: it cannot be read or decoded.
    """
    image = _decode(path, cv2.IMREAD_COLOR_RGB)
    return np.asarray(image, np.uint8)


def read_mask(path: Path, shape: tuple[int, ...] | None = None) -> Bool:
    """Return a mask, (H, W), True is crack.

    Raises:
        InputError: it cannot be decoded, is not of `shape`, or holds more grey than edges and JPEG explain.
    """
    mask = _decode(path, cv2.IMREAD_GRAYSCALE)
    if shape is not None and mask.shape != tuple(shape[:2]):
        raise InputError(
            f"{path}: {mask.shape[1]}x{mask.shape[0]} px, its photo has {shape[1]}x{shape[0]}; use masks of equal size"
        )
    grey = float(np.count_nonzero((mask >= 64) & (mask < 192)) / mask.size)
    if grey > GREY_SHARE:
        raise InputError(f"{path}: {grey:.0%} of it is grey; a mask is black, with cracks white")
    return np.asarray(mask > CRACK_LEVEL, np.bool_)


def _decode(path: Path, flags: int) -> UInt8:
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc.strerror})") from exc
    try:
        image = cv2.imdecode(content, flags) if content.size else None
    except cv2.error as exc:
        raise InputError(f"{path}: cannot be decoded ({exc.err})") from exc
    if image is None:
        raise InputError(f"{path}: cannot be decoded; is it a picture?")
    return np.asarray(image, np.uint8)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _hash(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.parent.name}/{path.name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
