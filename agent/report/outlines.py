"""Crack masks from their run lengths, and the outlines that are drawn around them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from agent.contract.arrays import Float64, Int32, Int64, UInt8
from agent.contract.flight import CrackRow
from agent.contract.masks import set_yx

SUBPIXEL_BITS = 4  # of the coordinates that OpenCV draws with
OUTSIDE_PX = 16  # of the picture: lines farther outside it do not reach into it
BAND_PX = 64  # rows that are dilated together


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """A crack with its mask unrolled, which all pictures of a frame share."""

    crack: CrackRow
    mask: UInt8  # (bbox_h, bbox_w), 0 or 1
    yx: tuple[Int64, Int64] = field(init=False)  # where it is 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "yx", set_yx(self.mask))

    @classmethod
    def of(cls, crack: CrackRow) -> Marked:
        """Unroll a crack's mask."""
        return cls(crack, mask_of(crack))


def mask_of(crack: CrackRow) -> UInt8:
    """Return the crack's mask within its box, (bbox_h, bbox_w), 0 or 1.

    Only the crack's own pixels are unrolled: a photo of 16 MP with a hundred cracks costs no hundred photos.
    """
    height = crack.mask.size[0]
    turns = np.cumsum(crack.mask.counts, dtype=np.int64) - crack.bbox_x * height
    turns = np.clip(turns[: len(turns) // 2 * 2], 0, crack.bbox_w * height)
    first, length = turns[0::2], turns[1::2] - turns[0::2]
    pixels = np.repeat(first - np.cumsum(length) + length, length) + np.arange(length.sum())
    x, y = np.divmod(pixels, max(height, 1))
    inside = (y >= crack.bbox_y) & (y < crack.bbox_y + crack.bbox_h)
    mask = np.zeros((crack.bbox_h, crack.bbox_w), np.uint8)
    mask[y[inside] - crack.bbox_y, x[inside]] = 1
    return mask


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

    Of what lies far outside the view nothing is drawn, and nothing returned.

    Returns:
        (K, 1, 2) each, in the picture, times 2 ** SUBPIXEL_BITS.
    """
    crack = marked.crack
    step = max(1, int(0.5 / view.zoom))  # px of the frame that are looked at as one: half a px of the picture at most
    reach = max(1, math.ceil(gap_px / (view.zoom * step)))
    near = 3 * reach * step + math.ceil(OUTSIDE_PX / view.zoom)
    left, top = max(view.x - near - crack.bbox_x, 0), max(view.y - near - crack.bbox_y, 0)
    right, bottom = (
        max(view.x + view.width + near - crack.bbox_x, 0),
        max(view.y + view.height + near - crack.bbox_y, 0),
    )
    y, x = marked.yx
    if left or top or right < crack.bbox_w or bottom < crack.bbox_h:
        inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
        y, x = y[inside], x[inside]
    if not len(y):
        return []
    y, x = (y - top) // step + reach, (x - left) // step + reach
    height, width = (-(-edge // step) for edge in (min(bottom, crack.bbox_h) - top, min(right, crack.bbox_w) - left))
    disc = np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)), np.uint8)
    grown = _dilated(y, x, (height + 2 * reach, width + 2 * reach), disc)
    found, _ = cv2.findContours(grown, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    origin = np.array([crack.bbox_x + left - view.x, crack.bbox_y + top - view.y], np.float64)
    middle = (step - 1) / 2 - reach * step
    return [
        np.rint(_in_picture(line * step + middle + origin, view) * 2**SUBPIXEL_BITS).astype(np.int32) for line in found
    ]


def _dilated(y: Int64, x: Int64, hw: tuple[int, int], disc: UInt8) -> UInt8:
    """Dilate a mask, band after band of its rows, each as far as there is a crack: most of a long crack's box is not.

    Args:
        y: (N,) rows of its pixels, ascending; some may come several times.
        x: (N,) their columns.
        hw: its size, with nothing within the disc's reach of its border.
        disc: (2 * reach + 1, 2 * reach + 1).
    """
    reach = disc.shape[0] // 2
    mask, grown = np.zeros(hw, np.uint8), np.zeros(hw, np.uint8)
    mask[y, x] = 1
    bounds = np.searchsorted(y, np.arange(0, hw[0] + BAND_PX, BAND_PX))
    for number, (first, last) in enumerate(itertools.pairwise(bounds.tolist())):
        if first == last:
            continue
        top, bottom = max(number * BAND_PX - reach, 0), min((number + 1) * BAND_PX + reach, hw[0])
        left, right = int(x[first:last].min()) - reach, int(x[first:last].max()) + reach + 1
        band = mask[top:bottom, left:right].copy()
        band[: number * BAND_PX - top] = 0  # what lies beyond the band is another band's
        band[(number + 1) * BAND_PX - top :] = 0
        grown[top:bottom, left:right] |= np.asarray(cv2.dilate(band, disc), np.uint8)
    return grown


def _in_picture(points: Float64, view: View) -> Float64:
    """Move pixel centres of the frame to where the enlarged picture has them."""
    return (points + 0.5) * view.zoom - 0.5
