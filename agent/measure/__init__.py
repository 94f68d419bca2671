"""Probability map and frame -> cracks: skeleton, length, width, orientation; mm where the scale is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.lazy import names_from

if TYPE_CHECKING:
    from agent.measure.cracks import measure_cracks
    from agent.measure.rle import mask_rle
    from agent.measure.settings import MeasureSettings

__all__ = ["MeasureSettings", "mask_rle", "measure_cracks"]

__getattr__ = names_from(
    __name__,
    {
        "MeasureSettings": "settings",
        "mask_rle": "rle",
        "measure_cracks": "cracks",
    },
)
