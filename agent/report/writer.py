"""Makes the report of a run while its frames pass, and again from a record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final

from typing_extensions import Self

from agent.capture.decode import decode_image
from agent.capture.photos import SUFFIXES as PHOTO_SUFFIXES
from agent.contract.arrays import UInt8
from agent.contract.flight import CrackRow, FrameRow
from agent.errors import InputError, OutputError
from agent.record import FlightRecord, read_flight
from agent.record.layout import (
    COVERAGE_GEOJSON_FILE,
    CSV_FILE,
    GEOJSON_FILE,
    HTML_FILE,
    OVERLAYS_FOLDER,
    REPORT_FILES,
    inside,
    write_atomically,
    writing,
)
from agent.report import video
from agent.report.figures import badness
from agent.report.geojson import write_coverage, write_geojson
from agent.report.html import write_html
from agent.report.outlines import Marked
from agent.report.overlay import draw_crop, draw_overlay, reduced
from agent.report.pictures import Shelf, jpeg
from agent.report.probabilities import save_probability
from agent.report.table import write_csv
from agent.report.video import OverlayVideo

# Together, as base64, well under the 20 MB that a page may have; the rest is its text.
CARDS_BUDGET: Final = 10_000_000  # bytes
CROPS_BUDGET: Final = 1_500_000
CARD_EDGE_PX: Final = 960
MOST_CARDS: Final = 100
MOST_CROPS: Final = 12


class ReportWriter:
    """Draws the pictures of a run as its frames pass; `finish` writes the tables and the page from the record.

    Args:
        folder: of the run; made ready by its recorder.
        probabilities: save each frame's map.
        video: make the overlay video.

    Raises:
        OutputError: there is no encoder for the video.
    """

    def __init__(self, folder: Path, *, probabilities: bool = False, video: bool = False) -> None:
        self._folder = folder
        self._probabilities = probabilities
        self._video = OverlayVideo(folder) if video else None
        self._cards = Shelf(budget=CARDS_BUDGET, most=MOST_CARDS, quality=80)
        self._crops = Shelf(budget=CROPS_BUDGET, most=MOST_CROPS, quality=85)

    def add(
        self,
        frame: FrameRow,
        cracks: Sequence[CrackRow],
        *,
        image_rgb: UInt8,
        probability: UInt8 | None = None,
    ) -> None:
        """Draw a frame that was inferred: its overlay, and what video and page need of it.

        Photos always get an overlay; frames of a video only if a crack was found in them, since hours of video would
        fill the disk with pictures of nothing.

        Args:
            frame: as recorded.
            cracks: as recorded.
            image_rgb: (H, W, 3).
            probability: (H, W), x 255.

        Raises:
            InputError: two frames have the same name.
            OutputError: the disk is full or gone.
        """
        if self._probabilities and probability is not None:
            save_probability(self._folder, frame.name, probability)
        marked = [Marked.of(crack) for crack in cracks]
        small = reduced(image_rgb)  # once: every picture of the whole frame is drawn from it
        if cracks or frame.media_time_ns is None or PurePath(frame.source).suffix.lower() in PHOTO_SUFFIXES:
            overlay = draw_overlay(small, frame, marked)
            write_atomically(inside(self._folder, f"{OVERLAYS_FOLDER}/{frame.name}.jpg"), jpeg(overlay))
        if self._video is not None:
            self._video.add(frame, draw_overlay(small, frame, marked, edge_px=video.EDGE_PX))
        real = [one for one in marked if one.crack.kind == "crack"]
        if real:
            worst = max((one.crack for one in real), key=badness)
            if self._cards.wants(badness(worst), of=worst.crack_id):
                picture = draw_overlay(small, frame, marked, edge_px=CARD_EDGE_PX)
                self._cards.put(str(frame.index), badness(worst), picture, of=worst.crack_id)
        for one in real:
            if self._crops.wants(rank := badness(one.crack), of=one.crack.crack_id):
                self._crops.put(one.crack.crack_id, rank, draw_crop(image_rgb, one))

    def finish(self, record: FlightRecord) -> Path:
        """Write what the record says as GeoJSON, CSV and HTML, end the video, and return the page.

        Raises:
            InputError: the record was altered.
            OutputError: the disk is full or gone.
        """
        self.close()
        write_geojson(record, self._folder / GEOJSON_FILE)
        write_coverage(record, self._folder / COVERAGE_GEOJSON_FILE)
        write_csv(record, self._folder / CSV_FILE)
        page = self._folder / HTML_FILE
        write_html(record, page, cards=self._cards, crops=self._crops)
        return page

    def close(self) -> None:
        """End the video, so that what there is of it can be watched."""
        if self._video is not None:
            self._video.close()
            self._video = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def report_again(folder: Path, out: Path, *, overwrite: bool = False, video: bool = False) -> Path:
    """Make the report of a record again, with pictures as far as the record kept its frames, and return the page.

    Args:
        folder: the record.
        out: is made if it is not there; may be the record itself.
        overwrite: replace the report that is there.
        video: make the overlay video of the frames that were kept.

    Raises:
        InputError: no record, one of another schema, or one that was altered.
        OutputError: the folder holds a report already, or cannot be written to.
    """
    record = read_flight(folder)
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; name a folder for the report")
    there = [name for name in (*REPORT_FILES, OVERLAYS_FOLDER) if (out / name).exists()]
    if there and not overwrite:
        raise OutputError(
            f"{out}: already holds {', '.join(there)}; choose another folder, or --overwrite to replace them"
        )
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    with ReportWriter(out, video=video) as report:
        for frame, cracks in record.sightings():
            if (image := _kept(record, frame)) is not None:
                report.add(frame, cracks, image_rgb=image)
        return report.finish(record)


def _kept(record: FlightRecord, frame: FrameRow) -> UInt8 | None:
    """Return the frame's picture if the record kept it and it is still the one that was inferred."""
    path = record.picture(frame)
    if path is None or frame.status == "skipped":
        return None
    try:
        image = decode_image(path.read_bytes())
    except (OSError, InputError):
        return None
    return image if image.shape[:2] == (frame.height, frame.width) else None
