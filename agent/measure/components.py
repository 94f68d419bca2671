"""Connected cracks as lists of pixels: what follows costs by the crack, not by the frame.

Pixels are named by their flat index in the frame padded by one px on each side, so that every pixel has 8 neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import Bool, Int32, UInt8
from agent.contract.masks import set_pixels

Int64: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Components:
    """The cracks of a frame before anything is measured, in the order of their boxes (y, then x)."""

    pixels: Int32  # (N,) flat indices in the padded frame, ascending
    label: Int32  # (N,) which component each belongs to, 0 to len(self) - 1
    bbox_xywh: Int32  # (C, 4) in the frame, px
    area: Int32  # (C,) px
    stride: int  # of the padded frame: its width + 2

    def __len__(self) -> int:
        return len(self.area)

    def mask(self, component: int) -> Bool:
        """Return one component's pixels as a mask of its box, (height, width)."""
        x, y, width, height = self.bbox_xywh[component]
        rows, columns = np.divmod(self.pixels[self.label == component], self.stride)
        mask = np.zeros((height, width), np.bool_)
        mask[rows - 1 - y, columns - 1 - x] = True
        return mask


def find_components(mask: UInt8, *, gap_px: int, min_area_px: int, min_extent_px: float) -> Components:
    """Group the pixels of a mask into cracks.

    Args:
        mask: (H, W), 0 or 1.
        gap_px: pieces with at most this many pixels between them, counted along rows and columns, are one component.
        min_area_px: smaller components are left out.
        min_extent_px: components whose box has a shorter diagonal are left out.
    """
    stride = mask.shape[1] + 2
    pixels = set_pixels(mask).astype(np.int32)
    pixels += pixels // np.int32(mask.shape[1]) * np.int32(2) + np.int32(stride + 1)  # in the padded frame
    if not len(pixels):
        none = np.empty(0, np.int32)
        return Components(pixels=none, label=none, bbox_xywh=none.reshape(0, 4), area=none, stride=stride)
    return _boxed(pixels, _groups(pixels, stride, gap_px), stride, min_area_px=min_area_px, min_extent_px=min_extent_px)


def _groups(pixels: Int32, stride: int, gap_px: int) -> Int32:
    """Number the groups of pixels that lie within the gap of each other, (N,).

    Works on horizontal runs of pixels, of which cracks have few: labelling a dilated frame takes several times as long.
    """
    padding = gap_px + 1  # so that what lies within the gap past a row's end is not the next row's begin
    place, pitch = pixels + padding * (pixels // stride), stride + padding
    begins = np.append(True, np.diff(place) != 1)
    run_of = np.cumsum(begins) - 1
    first, last = place[begins], place[np.append(begins[1:], True)]
    number = np.arange(len(first))
    near = np.flatnonzero(first[1:] - last[:-1] <= gap_px + 1)
    above, below = [near], [near + 1]
    for rows in range(1, gap_px + 2):
        low = np.searchsorted(last, first + rows * pitch - gap_px - 1)
        count = np.maximum(np.searchsorted(first, last + rows * pitch + gap_px + 1, side="right") - low, 0)
        above.append(np.repeat(number, count))
        below.append(np.arange(count.sum()) + np.repeat(low - np.cumsum(count) + count, count))
    root = _joined(number, np.concatenate(above), np.concatenate(below))
    group: Int32 = np.unique(root, return_inverse=True)[1].astype(np.int32)[run_of]
    return group


def _joined(root: Int64, one: Int64, other: Int64) -> Int64:
    """Join runs that touch until each names the first of its group."""
    while True:
        apart = root[one] != root[other]
        one, other = one[apart], other[apart]
        if not len(one):
            return root
        np.minimum.at(root, np.maximum(root[one], root[other]), np.minimum(root[one], root[other]))
        while (root[root] != root).any():
            root = root[root]


def _boxed(pixels: Int32, label: Int32, stride: int, *, min_area_px: int, min_extent_px: float) -> Components:
    rows, columns = np.divmod(pixels, stride)
    order = np.argsort(label, kind="stable")
    area = np.bincount(label)
    starts = np.cumsum(area) - area
    top, bottom = rows[order][starts], rows[order][starts + area - 1]  # pixels ascend, so rows do
    left, right = np.minimum.reduceat(columns[order], starts), np.maximum.reduceat(columns[order], starts)
    box = np.stack([left - 1, top - 1, right - left + 1, bottom - top + 1], axis=1)
    keep = np.flatnonzero((area >= min_area_px) & (np.hypot(box[:, 2], box[:, 3]) >= min_extent_px))
    keep = keep[np.lexsort((box[keep, 2], box[keep, 3], box[keep, 0], box[keep, 1]))]
    renamed = np.full(len(area), -1, np.int32)
    renamed[keep] = np.arange(len(keep))
    label = renamed[label]
    kept = label >= 0
    return Components(
        pixels=pixels[kept],
        label=label[kept],
        bbox_xywh=box[keep].astype(np.int32),
        area=area[keep].astype(np.int32),
        stride=stride,
    )
