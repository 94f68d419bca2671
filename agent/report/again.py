"""Makes the report of a record again, in every form in which it can be handed on."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from agent.capture.decode import decode_image
from agent.contract.arrays import UInt8
from agent.contract.flight import FrameRow
from agent.errors import InputError, OutputError
from agent.record import FlightRecord, read_flight
from agent.record.layout import HTML_FILE, OVERLAYS_FOLDER, VIDEO_FILES, inside, writing
from agent.record.reviews import fold, read_reviews
from agent.report.documents import COCO_FOLDER, NAMES, write_documents
from agent.report.dxf import needs_ezdxf
from agent.report.formats import DEFAULT, Format, Positions
from agent.report.overlay import without_footer
from agent.report.pdf import browser
from agent.report.unplaced import UnplacedRecord
from agent.report.writer import ReportWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOn:
    """What was made."""

    page: Path  # or the folder, if no page was asked for
    told: tuple[str, ...]  # what there is to know about it


def report_again(
    folder: Path,
    out: Path,
    *,
    overwrite: bool = False,
    formats: Collection[Format] = DEFAULT,
    positions: Positions = "keep",
) -> HandedOn:
    """Make the report of a record again, with pictures as far as the record kept its frames or its overlays.

    Args:
        folder: the record.
        out: is made if it is not there; may be the record itself.
        overwrite: replace the report that is there.
        formats: what to make.
        positions: `none` takes them out of everything that is written.

    Raises:
        ConfigError: something is missing on this machine that a format needs.
        InputError: no record, one of another schema, or one that was altered.
        OutputError: the folder holds a report already, or cannot be written to.
    """
    record = read_flight(folder)
    wanted = frozenset(formats)
    if "pdf" in wanted:
        browser()
    if "dxf" in wanted:
        needs_ezdxf()
    _make_ready(out, wanted, overwrite=overwrite, own=out.resolve() == folder.resolve())
    shown = UnplacedRecord.of(record) if positions == "none" else record
    with ReportWriter(out, video="video" in wanted, overlays="overlays" in wanted) as report:
        if wanted & {"html", "pdf", "overlays", "video"}:
            for frame, cracks in shown.sightings():
                if (image := _kept(record, frame)) is not None:
                    report.add(frame, cracks, image_rgb=image)
                elif (overlay := _overlay(record, frame)) is not None:
                    report.add_drawn(
                        frame, cracks, overlay=overlay, image_rgb=without_footer(decode_image(overlay), frame)
                    )
        report.close()
        told = write_documents(
            shown,
            out,
            wanted,
            gallery=report.gallery,
            reviews=fold(read_reviews(folder)),
            bare=positions == "none",
        )
    page = out / HTML_FILE
    return HandedOn(page=page if wanted & {"html", "pdf"} else out, told=tuple(told))


def _make_ready(out: Path, wanted: frozenset[Format], *, overwrite: bool, own: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; name a folder for the report")
    names = [name for one in wanted for name in NAMES.get(one, ())]
    names += VIDEO_FILES if "video" in wanted else ()
    # the record's own overlays are what a report into the record is made from
    names += (OVERLAYS_FOLDER,) if "overlays" in wanted and not own else ()
    there = sorted({name for name in names if (out / name).exists()})
    if there and not overwrite:
        raise OutputError(
            f"{out}: already holds {', '.join(there)}; choose another folder, or --overwrite to replace them"
        )
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        # pictures of another record must not stay among those of this one
        if COCO_FOLDER in there and "coco" in wanted:
            shutil.rmtree(out / COCO_FOLDER)


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


def _overlay(record: FlightRecord, frame: FrameRow) -> bytes | None:
    """Return the overlay that the run left of a frame, if there is one that can be read."""
    if not frame.width or not frame.height:
        return None
    try:
        content = inside(record.folder, f"{OVERLAYS_FOLDER}/{frame.name}.jpg").read_bytes()
        decode_image(content)
    except (OSError, ValueError, InputError):  # a name with half characters is no file's
        return None
    return content
