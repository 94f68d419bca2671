"""Draws what was found over the picture it was found in: thin lines around each crack, so that the crack stays seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.flight import CrackRow, FrameRow
from agent.contract.masks import set_yx
from agent.report import figures
from agent.report.labels import LabelRoom, Spot
from agent.report.outlines import SUBPIXEL_BITS, Marked, View, outlines

LARGEST_EDGE_PX: Final = 2560  # larger photos are reduced: their full size stays with the photo itself
SMALL_EDGE_PX: Final = 640  # below it a picture is enlarged, by a whole factor, to about READABLE_EDGE_PX
READABLE_EDGE_PX: Final = 960
LARGEST_ZOOM: Final = 4
MOST_LABELS: Final = 24  # the worst cracks get one
CROP_EDGE_PX: Final = (96, 320)  # of the frame
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_FONT_HEIGHT_PX: Final = 22  # of capital letters at scale 1
_INK: Final = (240, 242, 245)
_PAPER: Final = (22, 25, 30)
_TINT: Final = 0.25  # of an overlay's crack pixels
_GAP_LINES: Final = 2.5  # between a crack and its outline, in thicknesses of the line


def reduced(image_rgb: UInt8, *, edge_px: int = LARGEST_EDGE_PX) -> UInt8:
    """Return the picture with its longer edge at most `edge_px`: the copy that all pictures of a frame are drawn from.

    A whole factor, since means over whole pixels cost a fifth of means over parts of them.

    Args:
        image_rgb: (H, W, 3), the frame.
        edge_px: px.
    """
    height, width = image_rgb.shape[:2]
    factor = -(-max(height, width) // edge_px)
    if factor == 1:
        return image_rgb
    size = max(1, width // factor), max(1, height // factor)
    return np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def draw_overlay(
    image_rgb: UInt8, frame: FrameRow, cracks: Sequence[Marked], *, edge_px: int = LARGEST_EDGE_PX
) -> UInt8:
    """Return the picture with its cracks outlined and labelled, above a strip with scale bar and legend.

    Args:
        image_rgb: (H, W, 3), the frame, or what `reduced` made of it.
        frame: its row, with the size in which the cracks were found.
        cracks: those found in it.
        edge_px: the longer edge is reduced to this if it is longer.
    """
    height, width = frame.height or image_rgb.shape[0], frame.width or image_rgb.shape[1]
    longest = max(height, width)
    whole = 1 if longest >= SMALL_EDGE_PX else min(LARGEST_ZOOM, math.ceil(READABLE_EDGE_PX / longest))
    zoom = min(float(whole), edge_px / longest)
    if zoom < 1 <= edge_px // max(image_rgb.shape[:2]):
        zoom = max(image_rgb.shape[:2]) / longest  # as it was reduced
    view = View(x=0, y=0, width=width, height=height, zoom=zoom)
    picture = _outlined(_resized(image_rgb, view, cracks), view, cracks)
    pen = _Pen.of(picture)
    _label(
        picture,
        view,
        sorted(cracks, key=lambda marked: (marked.crack.kind == "crack", figures.badness(marked.crack)), reverse=True),
        pen,
    )
    return np.vstack([picture, _footer(picture.shape[1], view, frame, [marked.crack for marked in cracks], pen)])


def draw_overview(image_rgb: UInt8, frame: FrameRow, cracks: Sequence[Marked], *, edge_px: int) -> UInt8:
    """Return the whole picture with its cracks outlined and no word on it, for where one crack is pointed at.

    Args:
        image_rgb: (H, W, 3), the frame, or what `reduced` made of it.
        frame: its row.
        cracks: those found in it.
        edge_px: the longer edge, at most.
    """
    height, width = frame.height or image_rgb.shape[0], frame.width or image_rgb.shape[1]
    view = View(x=0, y=0, width=width, height=height, zoom=min(1.0, edge_px / max(width, height)))
    return _outlined(_resized(image_rgb, view, cracks), view, cracks)


def without_footer(overlay_rgb: UInt8, frame: FrameRow) -> UInt8:
    """Return what `draw_overlay` drew without its strip, in the frame's own size."""
    rows = min(overlay_rgb.shape[0], round(frame.height * overlay_rgb.shape[1] / frame.width))
    return np.asarray(
        cv2.resize(overlay_rgb[:rows], (frame.width, frame.height), interpolation=cv2.INTER_LINEAR), np.uint8
    )


def draw_crop(image_rgb: UInt8, marked: Marked, *, edge_px: int = 480, drawn: bool = False) -> UInt8:
    """Return a close view of a crack at its widest place, with a scale bar where the scale is known.

    Args:
        image_rgb: (H, W, 3), the frame.
        marked: a crack found in it.
        edge_px: the picture's longer edge, at most.
        drawn: the frame's cracks are outlined in it already.
    """
    crack = marked.crack
    view = _around(crack, (image_rgb.shape[0], image_rgb.shape[1]), edge_px)
    part = image_rgb[view.y : view.y + view.height, view.x : view.x + view.width]
    picture = _outlined(_resized(part, view), view, [] if drawn else [marked])
    pen = _Pen.of(picture)
    margin = pen.height
    if (bar := _scale_bar(view, crack.scale_mm_px, picture.shape[1] // 3, pen)) is not None:
        at = (margin, picture.shape[0] - margin - bar.shape[0])
        if at[1] > 0 and margin + bar.shape[1] < picture.shape[1]:
            picture[at[1] : at[1] + bar.shape[0], at[0] : at[0] + bar.shape[1]] = bar
    return picture


@dataclass(frozen=True, slots=True)
class _Pen:
    """How thick lines and how high letters are in a picture, px."""

    line: int
    height: int

    @classmethod
    def of(cls, picture: UInt8) -> _Pen:
        longest = max(picture.shape[:2])
        return cls(_line(longest), max(11, round(longest / 95)))

    @property
    def stroke(self) -> int:
        return max(1, round(self.height / 11))

    @property
    def scale(self) -> float:
        return self.height / _FONT_HEIGHT_PX

    def width_of(self, text: str) -> int:
        return int(cv2.getTextSize(text, _FONT, self.scale, self.stroke)[0][0])

    def write(self, picture: UInt8, text: str, x: int, base: int, colour: tuple[int, int, int] = _INK) -> None:
        cv2.putText(picture, text, (x, base), _FONT, self.scale, colour, self.stroke, cv2.LINE_AA)


def _line(longest_px: int) -> int:
    return max(1, round(longest_px / 1400))


def _resized(part_rgb: UInt8, view: View, tinted: Sequence[Marked] = ()) -> UInt8:
    """Return a copy of the part at the view's zoom, the pixels of the cracks given tinted."""
    width, height = view.picture_wh
    if part_rgb.shape[:2] == (height, width):
        picture = part_rgb.copy()
    elif view.picture_wh[0] < part_rgb.shape[1]:
        picture = np.asarray(cv2.resize(part_rgb, view.picture_wh, interpolation=cv2.INTER_AREA), np.uint8)
    else:  # tinted before it is enlarged, so that the tint ends as softly as the crack
        small = _tinted(part_rgb.copy(), 1.0, tinted)
        return np.asarray(cv2.resize(small, view.picture_wh, interpolation=cv2.INTER_CUBIC), np.uint8)
    return _tinted(picture, view.zoom, tinted)


def _outlined(picture: UInt8, view: View, cracks: Sequence[Marked]) -> UInt8:
    """Draw an outline around each crack into the picture, and return it."""
    line = _line(max(picture.shape[:2]))
    for marked in cracks:
        lines = outlines(marked, view, gap_px=_GAP_LINES * line)
        colour = figures.colour(marked.crack)
        cv2.polylines(picture, lines, True, colour, line, cv2.LINE_AA, SUBPIXEL_BITS)
    return picture


def _tinted(picture: UInt8, zoom: float, cracks: Sequence[Marked]) -> UInt8:
    """Tint every pixel of the picture, `zoom` <= 1 times the frame's size, that holds some of a crack; return it."""
    height, width = picture.shape[:2]
    for marked in cracks:
        crack = marked.crack
        y, x = marked.yx
        at_y = ((y + crack.bbox_y) * zoom).astype(np.intp).clip(0, height - 1)
        at_x = ((x + crack.bbox_x) * zoom).astype(np.intp).clip(0, width - 1)
        top, left = at_y.min(initial=height), at_x.min(initial=width)
        once = np.zeros((at_y.max(initial=top) - top + 1, at_x.max(initial=left) - left + 1), np.bool_)
        once[at_y - top, at_x - left] = True  # though several fall on one
        at_y, at_x = set_yx(once)
        at_y, at_x = at_y + top, at_x + left
        colour = np.array(figures.colour(crack))
        picture[at_y, at_x] = np.rint(picture[at_y, at_x] * (1 - _TINT) + colour * _TINT)
    return picture


def _label(picture: UInt8, view: View, worst_first: Sequence[Marked], pen: _Pen) -> None:
    """Label the worst cracks where there is room."""
    cell = max(4, pen.height // 2)
    rows, columns = -(-picture.shape[0] // cell), -(-picture.shape[1] // cell)
    cells = [_cells(marked, view, rows, columns, cell) for marked in worst_first]
    taken = np.zeros((rows, columns), np.uint8)
    for own in cells:
        taken |= cv2.dilate(own, np.ones((3, 3), np.uint8))
    # The last row and column may reach over the edge.
    taken[-1], taken[:, -1] = 1, 1
    room = LabelRoom(taken, cell)
    labels = []
    for marked, own in list(zip(worst_first, cells, strict=True))[:MOST_LABELS]:
        crack = marked.crack
        ends = f" ({figures.interval(crack)})" if figures.interval(crack) else ""
        text = f"{figures.short_id(crack)}  W {figures.width(crack)}{ends}  L {figures.length(crack)}"
        text += "" if crack.severity == "ungraded" else f"  {crack.severity}"
        if crack.kind != "crack":
            text = f"{figures.short_id(crack)}  {crack.kind}"
        wide, high = pen.width_of(text) + 2 * pen.height, 2 * pen.height
        if spot := room.take(own.astype(bool), width_px=wide, height_px=high):
            labels.append(_Label(spot, wide, high, cell, text, figures.colour(crack)))
    for label in labels:  # the lines first: none may cross another's text
        cv2.line(picture, *label.pointer_xy, label.colour, pen.line, cv2.LINE_AA)
    for label in labels:
        label.draw(picture, pen)


@dataclass(frozen=True, slots=True)
class _Label:
    spot: Spot
    width: int  # px
    height: int
    distance: int  # px, that the line to the crack keeps from its cell's middle, so as not to cover the crack
    text: str
    colour: tuple[int, int, int]

    @property
    def pointer_xy(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The ends of the line from the label towards the crack."""
        (x, y), spot = self.spot.crack_xy, self.spot
        near_x, near_y = min(max(x, spot.x), spot.x + self.width), min(max(y, spot.y), spot.y + self.height)
        share = min(1.0, self.distance / max(1.0, math.hypot(near_x - x, near_y - y)))
        return (near_x, near_y), (round(x + share * (near_x - x)), round(y + share * (near_y - y)))

    def draw(self, picture: UInt8, pen: _Pen) -> None:
        x, y = self.spot.x, self.spot.y
        box = picture[y : y + self.height, x : x + self.width]
        box[:] = np.rint(box * 0.2 + np.array(_PAPER) * 0.8)
        box[:, : max(2, pen.height // 4)] = self.colour
        pen.write(picture, self.text, x + pen.height, y + self.height - pen.height // 2)


def _cells(marked: Marked, view: View, rows: int, columns: int, cell_px: int) -> UInt8:
    """Return the grid's cells that the crack touches, (rows, columns), 0 or 1; at least one."""
    crack = marked.crack
    y, x = marked.yx
    zoom = view.zoom / cell_px
    cells = np.zeros((rows, columns), np.uint8)
    at_y = ((y + crack.bbox_y - view.y + 0.5) * zoom).astype(np.intp).clip(0, rows - 1)
    at_x = ((x + crack.bbox_x - view.x + 0.5) * zoom).astype(np.intp).clip(0, columns - 1)
    cells[at_y, at_x] = 1
    return cells


def _footer(width: int, view: View, frame: FrameRow, cracks: Sequence[CrackRow], pen: _Pen) -> UInt8:
    """Return the strip under the picture; what does not fit into its width is left out."""
    strip = np.full((3 * pen.height, width, 3), _PAPER, np.uint8)
    x = pen.height
    if (bar := _scale_bar(view, frame.scale_mm_px, width // 4, pen)) is not None and bar.shape[1] + x < width:
        top = (strip.shape[0] - bar.shape[0]) // 2
        strip[top : top + bar.shape[0], x : x + bar.shape[1]] = bar
        x += bar.shape[1] + 2 * pen.height
    labelled = f", {MOST_LABELS} labelled" if len(cracks) > MOST_LABELS else ""
    real = [crack for crack in cracks if crack.kind == "crack"]
    count = f"{len(real)} crack{'' if len(real) == 1 else 's'}{labelled}" if real else "no crack found"
    texts: list[tuple[str, tuple[int, int, int] | None]] = [(count, None)]
    texts += [
        (severity, figures.SEVERITY_RGB[severity])
        for severity in figures.SEVERITIES
        if any(crack.severity == severity for crack in real)
    ]
    kinds = sorted({crack.kind for crack in cracks} - {"crack"})
    texts += [(f"{sum(c.kind == kind for c in cracks)} {kind}", figures.KIND_RGB[kind]) for kind in kinds]
    if real:
        texts.append(("W width, L length", None))
    if frame.scale_mm_px is None:
        texts.append(("scale unknown", None))
    texts.append((figures.plain(frame.name).encode("ascii", "replace").decode(), None))
    base = strip.shape[0] // 2 + pen.height // 2
    for text, colour in texts:
        swatch = 0 if colour is None else 2 * pen.height
        if x + swatch + pen.width_of(text) > width - pen.height:
            break
        if colour is not None:
            strip[base - pen.height : base, x : x + pen.height] = colour
        pen.write(strip, text, x + swatch, base)
        x += swatch + pen.width_of(text) + 2 * pen.height
    return strip


def _scale_bar(view: View, mm_per_px: float | None, longest_px: int, pen: _Pen) -> UInt8 | None:
    """Return a bar of 1, 2 or 5 times a power of ten mm with its length beside it, or None if the scale is unknown."""
    if mm_per_px is None or longest_px < 1:
        return None
    mm = figures.round_length(longest_px / view.zoom * mm_per_px)
    bar = max(1, round(mm / mm_per_px * view.zoom))
    text = f"{mm / 1000:g} m" if mm >= 1000 else f"{mm:g} mm"
    picture = np.full((2 * pen.height, bar + pen.width_of(text) + 3 * pen.height, 3), _PAPER, np.uint8)
    middle, left = pen.height, pen.height // 2
    thick = max(1, pen.height // 6)
    picture[middle - thick : middle + thick, left : left + bar] = _INK
    for x in (left, left + bar - 1):
        picture[middle - pen.height // 2 : middle + pen.height // 2, x - thick // 2 : x + thick - thick // 2] = _INK
    pen.write(picture, text, left + bar + pen.height, middle + pen.height // 2)
    return picture


def _around(crack: CrackRow, frame_hw: tuple[int, int], edge_px: int) -> View:
    """Return a view of the crack's widest place, or of the middle of its box if its width was not measured."""
    widths = [
        (width, point)
        for branch in crack.branches
        for point, width in zip(branch.line_px, branch.width_px, strict=True)
        if width is not None
    ]
    middle = (crack.bbox_x + crack.bbox_w / 2, crack.bbox_y + crack.bbox_h / 2)
    x, y = max(widths)[1] if widths else middle
    smallest, largest = CROP_EDGE_PX
    edge = min(max(round(1.3 * max(crack.bbox_w, crack.bbox_h)), smallest), largest)
    height, width = min(edge, frame_hw[0]), min(edge, frame_hw[1])
    left = min(max(round(x) - width // 2, 0), frame_hw[1] - width)
    top = min(max(round(y) - height // 2, 0), frame_hw[0] - height)
    return View(x=left, y=top, width=width, height=height, zoom=edge_px / max(width, height))
