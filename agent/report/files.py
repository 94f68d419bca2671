"""The record's files with their sha256, so that a report can be laid beside the record that it was made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.contract.flight import COVERAGE_FILE, CRACKS_FILE, FLIGHT_FILE, FRAMES_FILE, REVIEWS_FILE, TRACKS_FILE

ROW_FILES: Final = (FLIGHT_FILE, FRAMES_FILE, CRACKS_FILE, TRACKS_FILE, COVERAGE_FILE, REVIEWS_FILE)
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file as it was when the report was made."""

    name: str
    size: int  # bytes
    sha256: str


def digests(folder: Path) -> list[FileDigest]:
    """Return the record's own files that are there; those of pictures stand in frames.jsonl, which is among them."""
    return [_digest(folder / name) for name in ROW_FILES if (folder / name).is_file()]


def _digest(path: Path) -> FileDigest:
    found, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            found.update(piece)
            size += len(piece)
    return FileDigest(path.name, size, found.hexdigest())
