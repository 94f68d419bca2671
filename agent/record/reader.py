"""Reads a flight record row by row, also one whose run was killed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from agent.contract.flight import (
    COVERAGE_FILE,
    CRACKS_FILE,
    FLIGHT_FILE,
    FRAMES_FILE,
    TRACKS_FILE,
    Coverage,
    CrackRow,
    FlightHeader,
    FrameRow,
    TrackRow,
)
from agent.errors import InputError
from agent.record.layout import inside
from agent.record.ledger import Ledger, whole_crack

FLIGHT_SCHEMA = FlightHeader.model_fields["schema_"].default
Row = TypeVar("Row", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class FlightRecord:
    """A record on disk. Rows are read as they are asked for, so a long flight costs no memory."""

    folder: Path
    header: FlightHeader  # of a run that was killed: with the counts of what is there
    torn_lines: int  # at the ends of the files: begun, but not finished before the run was killed

    def frames(self) -> Iterator[FrameRow]:
        """Yield the frames in the order of the run.

        Raises:
            InputError: a line in the middle is not a frame.
        """
        return finished_rows(self.folder / FRAMES_FILE, FrameRow)

    def cracks(self) -> Iterator[CrackRow]:
        """Yield the cracks of all finished frames, in the order of the run.

        Raises:
            InputError: a line is not a crack, or not of the frame whose turn it is.
        """
        for _, cracks in self.sightings():
            yield from cracks

    def sightings(self) -> Iterator[tuple[FrameRow, tuple[CrackRow, ...]]]:
        """Yield each frame with its cracks.

        Raises:
            InputError: a line is not a frame or crack, or a crack is missing or not of the frame whose turn it is.
        """
        rows = finished_rows(self.folder / CRACKS_FILE, CrackRow)
        for frame in self.frames():
            cracks = tuple(itertools.islice(rows, frame.cracks))
            if len(cracks) != frame.cracks or any(crack.frame != frame.index for crack in cracks):
                raise InputError(
                    f"{self.folder / CRACKS_FILE}: frame {frame.index} should have {frame.cracks} cracks here, "
                    f"got cracks of frames {[crack.frame for crack in cracks]}; the record was altered"
                )
            yield frame, cracks

    def tracks(self) -> Iterator[TrackRow]:
        """Yield what happened to cracks, in the order of the run; nothing in a record of before they were followed.

        Raises:
            InputError: a line is not an event.
        """
        last = max((frame.index for frame in self.frames()), default=-1)
        for row in finished_rows(self.folder / TRACKS_FILE, TrackRow):
            if row.frame <= last:  # else its frame was not finished before the run was killed
                yield row

    def whole_cracks(self) -> Iterator[tuple[FrameRow, CrackRow]]:
        """Yield each crack once, with the frame that shows it best: what it is at the end, and the length of all of it.

        Cracks come in the order of those frames. A sighting that no event names is a crack of its own.

        Raises:
            InputError: the record was altered.
        """
        final: dict[str, TrackRow] = {}
        named: set[str] = set()
        for row in self.tracks():
            named.add(row.crack_id)
            if row.event == "retracted":
                final.pop(row.crack_id, None)
            else:
                final[row.crack_id] = row
        best = {row.best_id: row for row in final.values()}
        for frame, cracks in self.sightings():
            for crack in cracks:
                if (track := best.get(crack.id)) is not None:
                    yield frame, whole_crack(track, crack)
                elif crack.crack_id not in named:
                    yield frame, crack

    def coverage(self) -> Coverage | None:
        """Return what was inspected, or None if the run did not come so far.

        Raises:
            InputError: `coverage.json` is not one.
        """
        path = self.folder / COVERAGE_FILE
        try:
            raw = json.loads(path.read_bytes())
        except OSError:
            return None
        except ValueError as exc:
            raise InputError(f"{path}: not JSON ({exc}); the record was altered") from exc
        return validated(Coverage, raw, where=str(path))

    def picture(self, frame: FrameRow) -> Path | None:
        """Return where a frame's picture lies, or None if it was not kept.

        Raises:
            InputError: the row names a place outside the record.
        """
        return None if frame.file is None else inside(self.folder, frame.file)


def read_header(folder: Path) -> FlightHeader:
    """Return `flight.json` as it stands; the counts of a run that goes on or was killed are not up to date.

    Raises:
        InputError: there is no record, or one of a schema that this version does not read.
    """
    path = folder / FLIGHT_FILE
    try:
        raw = json.loads(path.read_bytes())
    except OSError as exc:
        raise InputError(f"{folder}: no flight record here ({FLIGHT_FILE}: {exc.strerror})") from exc
    except ValueError as exc:
        raise InputError(f"{path}: not JSON ({exc})") from exc
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != FLIGHT_SCHEMA:
        raise InputError(f"{path}: schema {schema!r}, but this version reads {FLIGHT_SCHEMA!r}; update crackscout")
    return validated(FlightHeader, raw, where=str(path))


def read_flight(folder: Path) -> FlightRecord:
    """Open a record; its rows are read later.

    Raises:
        InputError: see `read_header`; or the lines of its frames cannot be read.
    """
    header = read_header(folder)
    frames = skipped = cracks = 0
    for row in finished_rows(folder / FRAMES_FILE, FrameRow):
        skipped += row.status == "skipped"
        frames += row.status != "skipped"
        cracks += row.cracks
    torn = _lines(folder / CRACKS_FILE) - cracks + _lines(folder / FRAMES_FILE) - frames - skipped
    counts = {"frames": frames, "skipped": skipped, "sightings": cracks}
    if torn > 0 or not header.complete:  # killed before it could count, or cut afterwards
        counts = {**_recounted(FlightRecord(folder, header, 0)), **counts}
    return FlightRecord(folder, header.model_copy(update=counts), max(torn, 0))


def _recounted(record: FlightRecord) -> dict[str, int]:
    """Count cracks from the rows, as far as these can be read; what cannot is told when they are."""
    ledger = Ledger()
    with suppress(InputError):
        for event in record.tracks():
            ledger.note(event)
        for crack in record.cracks():
            ledger.see(crack)
    return ledger.counts


def finished_rows(path: Path, model: type[Row]) -> Iterator[Row]:
    """Yield the finished lines of a file; a missing file has none.

    Raises:
        InputError: a line is none of the model.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, content in enumerate(file, start=1):
            if not content.endswith(b"\n"):
                return  # the run was killed while it wrote this line
            try:
                raw = json.loads(content)
            except ValueError as exc:
                raise InputError(f"{path}:{number}: not JSON ({exc}); the record was altered") from exc
            yield validated(model, raw, where=f"{path}:{number}")


def validated(model: type[Row], raw: object, *, where: str) -> Row:
    """Return what JSON holds as the model.

    Raises:
        InputError: it is none; the text begins with `where` and says what is wrong.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in exc.errors())
        raise InputError(f"{where}: {faults}") from exc


def _lines(path: Path) -> int:
    """Count the lines, a torn last one included."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)
