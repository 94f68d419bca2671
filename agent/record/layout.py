"""What a run writes into its folder, and how the folder is made ready for it: the one list of names."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

from agent.contract.flight import COVERAGE_FILE, CRACKS_FILE, FLIGHT_FILE, FRAMES_FILE, FRAMES_FOLDER, TRACKS_FILE
from agent.errors import DiskFullError, InputError, OutputError

OVERLAYS_FOLDER: Final = "overlays"
PROBABILITIES_FOLDER: Final = "probabilities"
GEOJSON_FILE: Final = "cracks.geojson"
COVERAGE_GEOJSON_FILE: Final = "coverage.geojson"
CSV_FILE: Final = "cracks.csv"
HTML_FILE: Final = "report.html"
VIDEO_FILES: Final = ("overlay.mp4", "overlay.webm")
REPORT_FILES: Final = (GEOJSON_FILE, COVERAGE_GEOJSON_FILE, CSV_FILE, HTML_FILE, *VIDEO_FILES)
# What is being written, in the folder it is for; short, as names may be long. A video grows while others come and go.
PARTIAL_FILE: Final = ".crackscout.partial"
PARTIAL_VIDEO: Final = ".crackscout-video.partial"

RUN_FOLDERS: Final = (FRAMES_FOLDER, OVERLAYS_FOLDER, PROBABILITIES_FOLDER)
RUN_NAMES: Final = (FLIGHT_FILE, FRAMES_FILE, CRACKS_FILE, TRACKS_FILE, COVERAGE_FILE, *REPORT_FILES, *RUN_FOLDERS)


def inside(folder: Path, name: str) -> Path:
    """Return `folder / name`, where `name` may have folder parts but never leaves the folder.

    Raises:
        InputError: the name is empty or absolute, or climbs out.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InputError(f"{name!r}: a picture of this name would lie outside {folder}; rename it")
    return folder / path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about writing `path` into an OutputError that names it, or a DiskFullError."""
    try:
        yield
    except OSError as exc:
        full = exc.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (DiskFullError if full else OutputError)(
            f"{path}: cannot be written ({exc.strerror}); choose another folder, or make room or rights there"
        ) from exc


@contextmanager
def partial(path: Path) -> Iterator[Path]:
    """Give a place to write to, and move it to `path` when all of it is there: readers see all of a file or none.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    beside = path.with_name(PARTIAL_FILE)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file so that readers see all of it or none.

    Args:
        path: the file; its folder is made if need be.
        content: all of it.
        durable: wait until the disk has it.

    Raises:
        OutputError: it cannot be written.
    """
    with partial(path) as beside, beside.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
