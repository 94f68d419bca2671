"""Encoded picture -> upright RGB, 8 bit."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.errors import InputError

cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # what cannot be read is told by us, with the name of the file

_JPEG_START: Final = b"\xff\xd8"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"


def decode_image(content: bytes) -> UInt8:
    """Return the picture as uint8 (H, W, 3) RGB, turned upright by its EXIF orientation.

    Grey becomes RGB, 16 bits become 8 (the upper byte), an alpha channel is left out.

    Raises:
        InputError: empty, truncated, or no picture.
    """
    if not content:
        raise InputError("the file is empty")
    if _is_cut_short(content):
        raise InputError("the picture is cut short; copy the file again")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as exc:
        raise InputError(f"the picture cannot be decoded ({exc.err})") from exc
    if image is None:
        raise InputError("not a picture that can be decoded (JPEG, PNG, TIFF, BMP and WebP can)")
    return np.asarray(image, np.uint8)


def _is_cut_short(content: bytes) -> bool:
    """Whether the end is missing. The decoders fill what is missing with grey and say nothing."""
    if content.startswith(_JPEG_START):
        scan = _start_of_scan(content)
        return scan is None or content.find(b"\xff\xd9", scan) < 0
    if content.startswith(_PNG_START):
        return content.rfind(b"IEND") < 0
    return False


def _start_of_scan(jpeg: bytes) -> int | None:
    """Return where the picture's own data begins, past headers that may hold a whole thumbnail; None if not there."""
    at = len(_JPEG_START)
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xDA:
            return at
        if marker == 0xFF:  # padding
            at += 1
            continue
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return None
