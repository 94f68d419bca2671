"""Makes a folder ready for a run: never mixes two runs, and never removes what no run wrote."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from agent.contract.flight import (
    COVERAGE_FILE,
    CRACKS_FILE,
    FLIGHT_FILE,
    FRAMES_FILE,
    REVIEWS_FILE,
    TRACKS_FILE,
    FrameRow,
)
from agent.errors import InputError, OutputError
from agent.record.layout import (
    OVERLAYS_FOLDER,
    PARTIAL_FILE,
    PARTIAL_VIDEO,
    PROBABILITIES_FOLDER,
    REPORT_FILES,
    RUN_FOLDERS,
    RUN_NAMES,
    inside,
    writing,
)
from agent.record.reader import read_flight


def claim(folder: Path, *, overwrite: bool) -> None:
    """Make `folder` ready for a run to be written into it.

    Args:
        folder: is made if it is not there.
        overwrite: remove the files of the run that is there. Anything else stays, also what people said of its cracks:
            the same run again has cracks of the same ids.

    Raises:
        OutputError: it is a file, cannot be written to, or holds a run (without `overwrite`) or something else.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder for the results")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in folder.iterdir()}
    if not there:
        return
    if not overwrite:
        held = "already holds a run" if FLIGHT_FILE in there else "is not empty"
        raise OutputError(f"{folder}: {held}; choose another folder, or --overwrite to replace the results in it")
    if FLIGHT_FILE in there:
        with writing(folder):
            _remove_run(folder)
    elif taken := sorted(there.intersection(RUN_NAMES)):
        raise OutputError(
            f"{folder}: holds {', '.join(taken)}, which no run wrote and --overwrite does not remove; "
            "choose another folder"
        )


def remove_run(folder: Path) -> None:
    """Remove a run with its reviews, and its folder unless somebody put something of their own into it.

    Raises:
        OutputError: it cannot be told what its run wrote, or that cannot be removed.
    """
    with writing(folder):
        _remove_run(folder)
        (folder / REVIEWS_FILE).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _remove_run(folder: Path) -> None:
    """Remove the files that the run's rows name, then the run's own files, `flight.json` last."""
    try:
        record = read_flight(folder)
        for row in record.frames():
            for name in _pictures(row):
                _remove(folder, name)
    except InputError as exc:
        raise OutputError(f"{folder}: cannot tell which files its run wrote ({exc}); choose another folder") from exc
    for name in RUN_FOLDERS:
        _remove_empty(folder / name)
    rows = (COVERAGE_FILE, TRACKS_FILE, CRACKS_FILE, FRAMES_FILE)
    for name in (*REPORT_FILES, PARTIAL_FILE, PARTIAL_VIDEO, *rows, FLIGHT_FILE):
        (folder / name).unlink(missing_ok=True)


def _pictures(row: FrameRow) -> list[str]:
    named = [f"{OVERLAYS_FOLDER}/{row.name}.jpg", f"{PROBABILITIES_FOLDER}/{row.name}.png"]
    return named if row.file is None else [*named, row.file]


def _remove(folder: Path, name: str) -> None:
    """Remove a file of the run; one behind a link that leads out of the folder is not the run's."""
    path = inside(folder, name)
    if path.parent.resolve().is_relative_to(folder.resolve()):
        path.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    """Remove a folder, and the folders in it, as far as nothing is left in them."""
    if folder.is_symlink() or not folder.is_dir():
        return
    (folder / PARTIAL_FILE).unlink(missing_ok=True)
    for child in folder.iterdir():
        _remove_empty(child)
    with suppress(OSError):  # not empty: holds what no run wrote
        folder.rmdir()
