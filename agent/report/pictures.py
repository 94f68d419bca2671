"""Pictures as JPEG files."""

from __future__ import annotations

from typing import Final

import cv2

from agent.contract.arrays import UInt8
from agent.errors import OutputError

JPEG_QUALITY: Final = 90


def jpeg(picture_rgb: UInt8, *, quality: int = JPEG_QUALITY) -> bytes:
    """Return a picture (H, W, 3) as JPEG.

    Raises:
        OutputError: too large for a JPEG, 65,535 px.
    """
    done, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise OutputError(f"a picture of {picture_rgb.shape[1]}x{picture_rgb.shape[0]} px cannot become a JPEG")
    return encoded.tobytes()
