"""Probability map and frame -> cracks: skeleton, length, width, orientation; mm where the scale is known."""

from agent.measure.cracks import measure_cracks
from agent.measure.rle import mask_rle
from agent.measure.settings import MeasureSettings

__all__ = ["MeasureSettings", "mask_rle", "measure_cracks"]
