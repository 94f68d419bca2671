"""Masks as COCO's uncompressed run lengths: column by column, background first."""

from __future__ import annotations

import numpy as np

from agent.contract.arrays import Bool
from agent.contract.masks import set_yx


def mask_rle(
    bbox_xywh: tuple[int, int, int, int], mask: Bool, frame_hw: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Encode a mask of a box as one of the whole frame, without making the frame.

    Args:
        bbox_xywh: the box in the frame, px.
        mask: (height, width) of the box.
        frame_hw: the frame's height and width, px.

    Returns:
        `size` (height, width) and `counts`, which sum to height x width.

    Raises:
        ValueError: the mask has not the box's size, or the box leaves the frame.
    """
    x, y, width, height = bbox_xywh
    frame_height, frame_width = frame_hw
    if mask.shape != (height, width):
        raise ValueError(f"a mask of {mask.shape} px does not fill a box of {(height, width)} px")
    if min(x, y) < 0 or x + width > frame_width or y + height > frame_height:
        raise ValueError(f"box {bbox_xywh} leaves the frame of {frame_width}x{frame_height} px")
    row, column = set_yx(mask)
    pixels = np.sort((column + x) * frame_height + (row + y))
    # Column after column: a run that ends at the foot of one goes on at the head of the next.
    first = np.flatnonzero(np.diff(pixels, prepend=-2) != 1)
    last = np.append(first[1:], len(pixels))[: len(first)] - 1
    edges = np.stack([pixels[first], pixels[last] + 1], axis=1).ravel()
    counts = np.diff(edges, prepend=0, append=frame_height * frame_width)
    if len(edges) and counts[-1] == 0:
        counts = counts[:-1]
    return (frame_height, frame_width), tuple(counts.tolist())
