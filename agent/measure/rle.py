"""Masks as COCO's uncompressed run lengths: column by column, background first."""

from __future__ import annotations

import numpy as np

from agent.contract.arrays import Bool


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
    columns = np.pad(mask.T, ((0, 0), (1, 1))).astype(np.int8)
    column, start = np.nonzero(np.diff(columns, axis=1) == 1)
    end = np.nonzero(np.diff(columns, axis=1) == -1)[1]
    first = (column + x) * frame_height + y
    runs = np.stack([first + start, first + end], axis=1).ravel()
    # A run that ends at the foot of a column goes on at the head of the next.
    joined = np.flatnonzero(runs[1:-1:2] == runs[2::2]) * 2 + 1
    edges = np.delete(runs, np.concatenate([joined, joined + 1]))
    counts = np.diff(edges, prepend=0, append=frame_height * frame_width)
    if len(edges) and counts[-1] == 0:
        counts = counts[:-1]
    return (frame_height, frame_width), tuple(counts.tolist())
