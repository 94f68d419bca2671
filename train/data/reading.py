"""Reads photos and masks from files, and names what does not fit."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Bool, UInt8
from agent.errors import InputError

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
CRACK_LEVEL: Final = 127  # a mask's value above this is crack
GREY_SHARE: Final = (
    0.05  # more of a mask than this between 64 and 191 is no mask; JPEG and antialiased edges stay below
)
THIRD_SHARE: Final = 0.005  # a third value of more than this is a class of its own


def list_files(folder: Path, suffixes: frozenset[str] | None = None) -> list[Path]:
    """Return the pictures of a folder, or its files of other suffixes, in natural order.

    Raises:
        InputError: no such folder, none in it, or two of one stem.
    """
    wanted = SUFFIXES if suffixes is None else suffixes
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check data.root and the source's folder")
    paths = sorted((path for path in folder.iterdir() if path.suffix.lower() in wanted), key=_natural)
    if not paths:
        raise InputError(
            f"{folder}: holds no {'pictures' if suffixes is None else 'such files'} ({', '.join(sorted(wanted))})"
        )
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
        InputError: it cannot be decoded, is not of `shape`, holds more grey than edges and JPEG explain, a third value,
            or nothing but near-black ones, as masks of 0 and 1 do.
    """
    mask = _decode(path, cv2.IMREAD_GRAYSCALE)
    if shape is not None and mask.shape != tuple(shape[:2]):
        raise mismatch(path, mask.shape, shape)
    counts = np.bincount(mask.ravel(), minlength=256)
    grey = counts[64:192].sum() / mask.size
    if grey > GREY_SHARE:
        raise InputError(f"{path}: {grey:.0%} of it is grey; a mask is black, with cracks white")
    values = np.flatnonzero(counts)
    if 0 < values[-1] < 64:
        raise InputError(f"{path}: its brightest value is {values[-1]} of 255; a mask is black, with cracks white")
    if len(values) == 3 and counts[values[1]] > THIRD_SHARE * mask.size:  # edges and JPEG leave more than one
        raise InputError(f"{path}: holds {values[0]}, {values[1]} and {values[2]}; a mask has two values, 0 and 255")
    return np.asarray(mask > CRACK_LEVEL, np.bool_)


def mismatch(path: Path, found: tuple[int, ...], wanted: tuple[int, ...]) -> InputError:
    """Return the error for a mask of another size than its photo."""
    return InputError(
        f"{path}: {found[1]}x{found[0]} px, its photo has {wanted[1]}x{wanted[0]}; use masks of equal size"
    )


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
