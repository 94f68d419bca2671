"""Reads pictures in tests: what is missing fails at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def read(path: Path, flags: int = cv2.IMREAD_COLOR_RGB) -> NDArray[Any]:
    """Return a picture file's pixels, RGB unless `flags` say otherwise."""
    picture = cv2.imread(str(path), flags)
    assert picture is not None, f"{path} is no picture"
    return np.asarray(picture)


def read_unchanged(path: Path) -> NDArray[Any]:
    """Return the pixels with the depth and the channels they have."""
    return read(path, cv2.IMREAD_UNCHANGED)
