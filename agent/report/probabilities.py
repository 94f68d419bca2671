"""Probability maps as pictures that measuring tools read without loss."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.errors import InputError
from agent.record.layout import PROBABILITIES_FOLDER, inside, write_atomically


def save_probability(folder: Path, name: str, probability: UInt8) -> Path:
    """Write a map as a 16-bit grey PNG, 65535 = 1.0, and return where.

    Args:
        folder: of the run.
        name: the frame's.
        probability: (H, W), x 255, of the frame's size.

    Raises:
        InputError: the run already has a map of this name.
        OutputError: it cannot be written.
    """
    path = inside(folder, f"{PROBABILITIES_FOLDER}/{name}.png")
    if path.exists():
        raise InputError(f"{path}: two frames are named {name!r}; rename one, or replay them into different folders")
    done, encoded = cv2.imencode(".png", probability.astype(np.uint16) * 257, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise InputError(f"{path}: a map of {probability.shape} px cannot be written as a PNG")
    write_atomically(path, encoded.tobytes())
    return path
