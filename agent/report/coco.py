"""Sightings as COCO annotations with their pictures: a flight that people reviewed becomes training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, get_args

from agent.capture.photos import SUFFIXES as PHOTO_SUFFIXES
from agent.contract.flight import CrackRow, FrameRow
from agent.contract.reports import Kind
from agent.errors import InputError
from agent.record import FlightRecord
from agent.record.jsonl import encode
from agent.record.layout import inside, partial, write_atomically
from agent.report.bare import bare_picture, upright_picture
from agent.report.developed import heirs

ANNOTATIONS_FILE: Final = "annotations.json"
IMAGES_FOLDER: Final = "images"
CATEGORIES: Final[dict[Kind, int]] = {kind: number for number, kind in enumerate(get_args(Kind), start=1)}
REJECTED: Final = "rejected"


@dataclass(slots=True)
class CocoWriter:
    """Writes `annotations.json` and the pictures that the record kept.

    Args:
        record: its frames and sightings.
        folder: is made.
        reviews: what people said last, by crack id; what they rejected gets no annotation, so that its picture
            becomes a hard example of none.
        bare: take place, time and previews out of the pictures' files.
    """

    record: FlightRecord
    folder: Path
    reviews: Mapping[str, str]
    bare: bool
    annotations: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # pictures and sightings, by reason
    _files: dict[int, str] = field(default_factory=dict)  # of the pictures that are listed, by frame

    def write(self) -> None:
        """Write everything.

        Raises:
            InputError: the record was altered.
            OutputError: the folder cannot be written.
        """
        with partial(self.folder / ANNOTATIONS_FILE) as beside, beside.open("wb") as file:
            file.write(b'{"images":[')
            self._write_images(file)
            file.write(b'],\n"annotations":[')
            self._write_annotations(file)
            categories = [{"id": n, "name": kind, "supercategory": "line"} for kind, n in CATEGORIES.items()]
            file.write(b'],\n"categories":' + encode(categories) + b',\n"licenses":[],\n"info":' + encode(self._info()))
            file.write(b"}\n")

    def _info(self) -> dict[str, Any]:
        return {
            "description": "Crackscout: masks as its network found them, not checked by hand unless reviewed",
            "mission_id": self.record.header.mission_id,
            "version": self.record.header.version,
            "images": len(self._files),
            "annotations": self.annotations,
            "left_out": dict(self.left_out),
        }

    def _write_images(self, file: BinaryIO) -> None:
        separator = b"\n"
        for frame in self.record.frames():
            name = self._picture(frame)
            if name is None:
                continue
            self._files[frame.index] = name
            row = {"id": frame.index, "file_name": name, "width": frame.width, "height": frame.height}
            file.write(separator + encode({**row, "frame_name": frame.name, "sha256": frame.sha256}))
            separator = b",\n"

    def _picture(self, frame: FrameRow) -> str | None:
        """Return where a frame's picture lies for the reader of the annotations; None, counted, if nowhere."""
        if frame.status == "skipped":
            self.left_out["pictures that were skipped"] += 1
            return None
        path = self.record.picture(frame)
        if path is None:
            if Path(frame.source).suffix.lower() in PHOTO_SUFFIXES:
                self.left_out["photos that the record did not keep: named as their own file, to be put beside"] += 1
                return frame.source
            self.left_out["frames that the record did not keep (record.frames)"] += 1
            return None
        try:
            content, size = path.read_bytes(), (frame.height, frame.width)
            content, suffix = bare_picture(content, size) if self.bare else upright_picture(content, path.suffix, size)
        except (OSError, ValueError, InputError):
            self.left_out["pictures that are gone or altered"] += 1
            return None
        name = f"{IMAGES_FOLDER}/{frame.name}{suffix}"
        write_atomically(inside(self.folder, name), content)
        return name

    def _write_annotations(self, file: BinaryIO) -> None:
        owner = heirs(self.record)
        kinds = {crack.crack_id: crack.kind for _, crack in self.record.whole_cracks()}
        separator = b"\n"
        for frame, cracks in self.record.sightings():
            if frame.index not in self._files:
                self.left_out["sightings in pictures that are left out"] += len(cracks)
                continue
            for crack in cracks:
                crack_id = owner.get(crack.crack_id, crack.crack_id)
                verdict = self.reviews.get(crack_id)
                if crack_id not in kinds or verdict == REJECTED:
                    why = "retracted: found in few of the frames that showed the place"
                    self.left_out["sightings that a person rejected" if crack_id in kinds else f"sightings {why}"] += 1
                    continue
                self.annotations += 1
                row = _annotation(self.annotations, crack, crack_id, kinds[crack_id], verdict)
                file.write(separator + encode(row))
                separator = b",\n"


def _annotation(number: int, crack: CrackRow, crack_id: str, kind: Kind, verdict: str | None) -> dict[str, Any]:
    return {
        "id": number,  # from 1: pycocotools takes 0 for none
        "image_id": crack.frame,
        "category_id": CATEGORIES[kind],
        "bbox": [crack.bbox_x, crack.bbox_y, crack.bbox_w, crack.bbox_h],
        "area": crack.area_px,
        "iscrowd": 0,
        "segmentation": {"size": list(crack.mask.size), "counts": list(crack.mask.counts)},
        "score": crack.confidence,
        "attributes": {
            "crack_id": crack_id,
            "width_px": crack.width_px,
            "length_px": crack.length_px,
            "gradable": crack.gradable,
            "severity": crack.severity,
            "review": verdict,
        },
    }
