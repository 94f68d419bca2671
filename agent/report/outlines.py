"""Crack masks from their run lengths, and the outlines that are drawn around them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from agent.contract.arrays import Float64, Int32, UInt8
from agent.contract.flight import CrackRow

SUBPIXEL_BITS = 4  # of the coordinates that OpenCV draws with


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """A crack with its mask unrolled, which all pictures of a frame share."""

    crack: CrackRow
    mask: UInt8  # (bbox_h, bbox_w), 0 or 1

    @classmethod
    def of(cls, crack: CrackRow) -> Marked:
        """Unroll a crack's mask."""
        return cls(crack, mask_of(crack))


def mask_of(crack: CrackRow) -> UInt8:
    """Return the crack's mask within its box, (bbox_h, bbox_w), 0 or 1.

    Only the columns of the box are unrolled: a photo of 16 MP with a hundred cracks costs no hundred photos.
    """
    height = crack.mask.size[0]
    cells = crack.bbox_w * height
    turns = np.cumsum(crack.mask.counts, dtype=np.int64) - crack.bbox_x * height
    steps = np.zeros(cells + 1, np.int8)
    steps[np.clip(turns[0::2], 0, cells)] += 1
    steps[np.clip(turns[1::2], 0, cells)] -= 1
    columns = np.cumsum(steps[:-1], dtype=np.int8).reshape(crack.bbox_w, height)
    return np.ascontiguousarray(columns.T[crack.bbox_y : crack.bbox_y + crack.bbox_h]).view(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The part of a frame that a picture shows, and how much it enlarges it."""

    x: int  # px of the frame, of the part's upper left corner
    y: int
    width: int
    height: int
    zoom: float  # px of the picture per px of the frame

    @property
    def picture_wh(self) -> tuple[int, int]:
        """The picture's size, px."""
        return max(1, round(self.width * self.zoom)), max(1, round(self.height * self.zoom))


def outlines(marked: Marked, view: View, *, gap_px: float) -> list[Int32]:
    """Return closed lines around a crack, at `gap_px` of the picture from its pixels, so that none is covered.

    Returns:
        (K, 1, 2) each, in the picture, times 2 ** SUBPIXEL_BITS.
    """
    crack = marked.crack
    reach = max(1, math.ceil(gap_px / view.zoom))
    mask = cv2.copyMakeBorder(marked.mask, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=(0,))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    found, _ = cv2.findContours(cv2.dilate(mask, disc), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    origin = np.array([crack.bbox_x - reach - view.x, crack.bbox_y - reach - view.y], np.float64)
    return [np.rint(_in_picture(line + origin, view) * 2**SUBPIXEL_BITS).astype(np.int32) for line in found]


def _in_picture(points: Float64, view: View) -> Float64:
    """Move pixel centres of the frame to where the enlarged picture has them."""
    return (points + 0.5) * view.zoom - 0.5
