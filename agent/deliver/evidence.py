"""The picture of a crack that goes out with its report: small enough for a radio link."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.deliver.publisher import EVIDENCE_MAX

MARGIN: Final = 0.25  # of the crack's longer side, on each side
MARGIN_MIN_PX: Final = 32
EDGE_MAX_PX: Final = 1280
QUALITIES: Final = (85, 70, 50, 30)


def evidence_jpeg(image_rgb: UInt8, bbox_xywh: tuple[int, int, int, int], *, max_bytes: int = EVIDENCE_MAX) -> bytes:
    """Return a JPEG of a crack and its surroundings; the same bytes for the same frame.

    Args:
        image_rgb: (H, W, 3), the frame.
        bbox_xywh: of the crack, px.
        max_bytes: the JPEG is made coarser, then smaller, until it fits.
    """
    x, y, width, height = bbox_xywh
    margin = max(MARGIN_MIN_PX, round(MARGIN * max(width, height)))
    crop = image_rgb[max(0, y - margin) : y + height + margin, max(0, x - margin) : x + width + margin]
    factor = min(1.0, EDGE_MAX_PX / max(crop.shape[:2]))
    while True:
        size = (max(1, round(crop.shape[1] * factor)), max(1, round(crop.shape[0] * factor)))
        scaled = crop if factor == 1.0 else cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        bgr = cv2.cvtColor(np.ascontiguousarray(scaled), cv2.COLOR_RGB2BGR)
        for quality in QUALITIES:
            encoded = bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
            if len(encoded) <= max_bytes or max(size) == 1:
                return encoded
        factor /= 2
