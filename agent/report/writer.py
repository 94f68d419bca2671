"""Draws the pictures of a run while its frames pass, and then writes what its record says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Final

import numpy as np
from typing_extensions import Self

from agent.capture.photos import SUFFIXES as PHOTO_SUFFIXES
from agent.contract.arrays import Bool, UInt8
from agent.contract.flight import CrackRow, FrameRow
from agent.record import FlightRecord
from agent.record.layout import HTML_FILE, OVERLAYS_FOLDER, inside, write_atomically
from agent.record.ledger import without_lines
from agent.record.reviews import fold, read_reviews
from agent.report import video
from agent.report.documents import write_documents
from agent.report.formats import Format
from agent.report.gallery import CROP_QUALITY, OVERVIEW_QUALITY, Gallery, Picture
from agent.report.outlines import Marked
from agent.report.overlay import draw_crop, draw_overlay, draw_overview, reduced
from agent.report.pictures import jpeg
from agent.report.probabilities import save_probability
from agent.report.video import OverlayVideo

# As base64 well under the 20 MB that a page may have; the rest is its text.
PICTURES_BUDGET: Final = 11_500_000  # bytes
MOST_PORTRAITS: Final = 150  # cracks with pictures
OVERVIEW_EDGE_PX: Final = 800
CROP_EDGE_PX: Final = 480
REPLAY_FORMATS: Final[tuple[Format, ...]] = ("geojson", "csv", "html")


class ReportWriter:
    """Draws the pictures of a run as its frames pass; `finish` writes the tables and the page from the record.

    Args:
        folder: of the run; made ready by its recorder.
        probabilities: save each frame's map.
        video: make the overlay video.
        overlays: write the overlays.

    Raises:
        OutputError: there is no encoder for the video.
    """

    def __init__(
        self, folder: Path, *, probabilities: bool = False, video: bool = False, overlays: bool = True
    ) -> None:
        self._folder = folder
        self._probabilities = probabilities
        self._overlays = overlays
        self._video = OverlayVideo(folder) if video else None
        self.gallery = Gallery(budget=PICTURES_BUDGET, most=MOST_PORTRAITS)

    def add(
        self,
        frame: FrameRow,
        cracks: Sequence[CrackRow],
        *,
        image_rgb: UInt8,
        probability: UInt8 | None = None,
        masks: Sequence[Bool] | None = None,
    ) -> None:
        """Draw a frame that was inferred: its overlay, and what video and page need of it.

        Photos always get an overlay; frames of a video only if a crack was found in them, since hours of video would
        fill the disk with pictures of nothing.

        Args:
            frame: as recorded.
            cracks: as recorded.
            image_rgb: (H, W, 3).
            probability: (H, W), x 255.
            masks: of the cracks, each (bbox_h, bbox_w); None: they are unrolled from the rows.

        Raises:
            InputError: two frames have the same name.
            OutputError: the disk is full or gone.
        """
        if self._probabilities and probability is not None:
            save_probability(self._folder, frame.name, probability)
        if masks is None:
            marked = [Marked.of(crack) for crack in cracks]
        else:
            marked = [Marked(crack, mask.view(np.uint8)) for crack, mask in zip(cracks, masks, strict=True)]
        small = reduced(image_rgb)  # once: every picture of the whole frame is drawn from it
        photo = frame.media_time_ns is None or PurePath(frame.source).suffix.lower() in PHOTO_SUFFIXES
        if self._overlays and (cracks or photo):
            self._write_overlay(frame, jpeg(draw_overlay(small, frame, marked)))
        if self._video is not None:
            self._video.add(frame, draw_overlay(small, frame, marked, edge_px=video.EDGE_PX))
        self._portray(frame, marked, image_rgb, small, drawn=False)

    def add_drawn(self, frame: FrameRow, cracks: Sequence[CrackRow], *, overlay: bytes, image_rgb: UInt8) -> None:
        """Take a frame of which only the overlay is left.

        Args:
            frame: as recorded.
            cracks: as recorded.
            overlay: its file.
            image_rgb: (H, W, 3), what it shows of the frame, in the frame's size.

        Raises:
            OutputError: the disk is full or gone.
        """
        if self._overlays:
            self._write_overlay(frame, overlay)
        small = reduced(image_rgb)
        if self._video is not None:
            self._video.add(frame, reduced(image_rgb, edge_px=video.EDGE_PX))
        self._portray(frame, [Marked.of(crack) for crack in cracks], image_rgb, small, drawn=True)

    def _write_overlay(self, frame: FrameRow, content: bytes) -> None:
        write_atomically(inside(self._folder, f"{OVERLAYS_FOLDER}/{frame.name}.jpg"), content)

    def _portray(
        self, frame: FrameRow, marked: Sequence[Marked], image_rgb: UInt8, small: UInt8, *, drawn: bool
    ) -> None:
        """Offer the cracks' pictures to the gallery; the frame is drawn once, and only if it takes one."""
        overview: list[Picture] = []

        def whole() -> Picture:
            if not overview:
                picture = draw_overview(small, frame, [] if drawn else marked, edge_px=OVERVIEW_EDGE_PX)
                overview.append(Picture.of(picture, quality=OVERVIEW_QUALITY))
            return overview[0]

        pieces: dict[str, list[Marked]] = {}
        for one in marked:
            if one.crack.kind == "crack":
                pieces.setdefault(one.crack.crack_id, []).append(one)
        for of_one in pieces.values():  # shown by its longest piece, wanted for the length of all: as tracks do it
            longest = max(of_one, key=lambda one: one.crack.length_px)
            length = sum(one.crack.length_px for one in of_one)
            sighting = without_lines(longest.crack).model_copy(update={"length_px": length})
            self.gallery.put(sighting, _crop(image_rgb, longest, drawn=drawn), whole)

    def finish(self, record: FlightRecord) -> Path:
        """Write what the record says as GeoJSON, CSV and HTML, end the video, and return the page.

        Raises:
            InputError: the record was altered.
            OutputError: the disk is full or gone.
        """
        self.close()
        write_documents(
            record, self._folder, REPLAY_FORMATS, gallery=self.gallery, reviews=fold(read_reviews(record.folder))
        )
        return self._folder / HTML_FILE

    def close(self) -> None:
        """End the video, so that what there is of it can be watched."""
        if self._video is not None:
            self._video.close()
            self._video = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _crop(image_rgb: UInt8, marked: Marked, *, drawn: bool) -> Callable[[], Picture]:
    """Return what draws a crack's close view."""
    return lambda: Picture.of(draw_crop(image_rgb, marked, edge_px=CROP_EDGE_PX, drawn=drawn), quality=CROP_QUALITY)
