"""Pictures of a record: whole frames, and cracks with their surroundings at the pixels that were measured."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np

from agent.capture.decode import decode_image
from agent.contract.arrays import UInt8
from agent.contract.flight import CrackRow, FrameRow
from agent.dashboard.flight import FlightView
from agent.errors import InputError
from agent.record.layout import OVERLAYS_FOLDER, inside
from agent.report.outlines import SUBPIXEL_BITS, Marked, View, outlines
from agent.report.overlay import draw_overlay, reduced
from agent.report.pictures import jpeg

FRAME_EDGE_PX: Final = 1280
CROP_EDGE_PX: Final = 1600  # of an evidence picture; a longer crack is reduced
MARGIN: Final = 0.3  # of the crack's longer side, on each side
MARGIN_MIN_PX: Final = 48
QUALITY: Final = 92
MOST_PIXELS: Final = 120_000_000  # of a picture that is opened

_one_at_a_time = threading.Lock()  # a decoded photo takes up to 360 MB


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of a frame that an evidence picture shows, px of the frame."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def around(cls, crack: CrackRow, frame: FrameRow) -> Crop:
        """Return the part around a crack."""
        margin = max(MARGIN_MIN_PX, round(MARGIN * max(crack.bbox_w, crack.bbox_h)))
        x, y = max(0, crack.bbox_x - margin), max(0, crack.bbox_y - margin)
        right = min(frame.width, crack.bbox_x + crack.bbox_w + margin)
        bottom = min(frame.height, crack.bbox_y + crack.bbox_h + margin)
        return cls(x, y, max(1, right - x), max(1, bottom - y))


def kept(view: FlightView, frame: FrameRow) -> tuple[Path, Literal["frame", "overlay"]] | None:
    """Return what there is of a frame's picture: itself, else the report's drawing; None where neither was kept.

    Raises:
        InputError: the row names a place outside the record.
    """
    folder = view.folder.resolve()
    names: list[tuple[str | None, Literal["frame", "overlay"]]] = [
        (frame.file, "frame"), (f"{OVERLAYS_FOLDER}/{frame.name}.jpg", "overlay"),
    ]  # fmt: skip
    for name, kind in names:
        path = None if name is None else inside(folder, name)
        if path is not None and len(path.name.encode(errors="replace")) <= 255 and path.is_file():
            if not path.resolve().is_relative_to(folder):
                raise InputError(f"{frame.name!r}: its picture lies outside the record")
            return path, kind
    return None


def frame_picture(view: FlightView, frame: FrameRow, *, marked: bool) -> bytes | None:
    """Return a frame as a JPEG of at most 1280 px; None where it was not kept.

    Args:
        view: of the record.
        frame: its row.
        marked: draw what was found in it.

    Raises:
        InputError: the picture is not the one that was recorded.
    """
    found = kept(view, frame)
    if found is None:
        return None
    path, kind = found
    with _one_at_a_time:
        image = _read(path, frame, kind)
        if kind == "overlay" or not marked:
            return jpeg(reduced(image, edge_px=FRAME_EDGE_PX), quality=85)
        cracks = [Marked.of(row) for row in view.in_frame(frame.index)]
        return jpeg(
            draw_overlay(reduced(image, edge_px=FRAME_EDGE_PX), frame, cracks, edge_px=FRAME_EDGE_PX), quality=85
        )


def crack_picture(view: FlightView, frame: FrameRow, crack: CrackRow) -> bytes | None:
    """Return a crack and its surroundings as a JPEG, nothing drawn over it if the frame itself was kept; None if not.

    Raises:
        InputError: the picture is not the one that was recorded.
    """
    found = kept(view, frame)
    if found is None:
        return None
    path, kind = found
    crop = Crop.around(crack, frame)
    with _one_at_a_time:
        image = _read(path, frame, kind)
        zoom = 1.0 if kind == "frame" else image.shape[1] / frame.width
        top, left = round(crop.y * zoom), round(crop.x * zoom)
        part = image[top : top + max(1, round(crop.height * zoom)), left : left + max(1, round(crop.width * zoom))]
        return jpeg(_at_most(np.ascontiguousarray(part), CROP_EDGE_PX), quality=QUALITY)


def described(view: FlightView, frame: FrameRow, crack: CrackRow) -> dict[str, Any]:
    """Return what the page needs to lay lines over `crack_picture`: the part, where it is from, and the outlines."""
    crop = Crop.around(crack, frame)
    try:
        found = kept(view, frame)
    except InputError:
        found = None
    whole = View(x=0, y=0, width=frame.width, height=frame.height, zoom=1)
    lines = [
        (line.reshape(-1, 2) / 2**SUBPIXEL_BITS).round(2).tolist()
        for line in outlines(Marked.of(crack), whole, gap_px=1)
    ]
    return {
        "source": None if found is None else found[1],
        "x": crop.x,
        "y": crop.y,
        "width": crop.width,
        "height": crop.height,
        "frame_width": frame.width,
        "frame_height": frame.height,
        "outlines": lines,
        "lines": [branch.line_px for branch in crack.branches],
    }


def _read(path: Path, frame: FrameRow, kind: Literal["frame", "overlay"]) -> UInt8:
    if frame.width * frame.height > MOST_PIXELS:
        raise InputError(f"{frame.name!r}: {frame.width} x {frame.height} px are more than the page opens")
    try:
        image = decode_image(path.read_bytes())
    except OSError as exc:
        raise InputError(f"{frame.name!r}: its picture cannot be read ({exc.strerror})") from exc
    if kind == "frame" and image.shape[:2] != (frame.height, frame.width):
        raise InputError(f"{frame.name!r}: its picture is not the one that was recorded")
    return image


def _at_most(image: UInt8, edge_px: int) -> UInt8:
    factor = edge_px / max(image.shape[:2])
    if factor >= 1:
        return image
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
