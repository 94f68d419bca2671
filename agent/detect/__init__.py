"""Frame to probability map: tiles, gate, segmentation, stitching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.lazy import names_from

if TYPE_CHECKING:
    from agent.detect.detector import Detection, Detector

__all__ = ["Detection", "Detector"]

__getattr__ = names_from(
    __name__,
    {
        "Detection": "detector",
        "Detector": "detector",
    },
)
