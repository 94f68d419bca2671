"""A flight record as the page sees it, whether it is finished or still being written.

What was read once is not read again: `refresh` takes the lines that were added. Rows are applied as `FlightRecord`
reads them: a frame that has its line has all its cracks, and events of a frame that is not finished wait for it. Lines
that do not fit are counted, and the rest is shown.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.contract.flight import (
    COVERAGE_FILE,
    CRACKS_FILE,
    FLIGHT_FILE,
    FRAMES_FILE,
    REVIEWS_FILE,
    TRACKS_FILE,
    Coverage,
    CrackRow,
    FlightHeader,
    FrameRow,
    ReviewRow,
    TrackRow,
)
from agent.dashboard.cursor import Cursor, key_of
from agent.dashboard.frames import Frames
from agent.dashboard.ground import Footprints, lines_of, middle_of, placement_of
from agent.dashboard.reviews import as_json
from agent.dashboard.said import Said
from agent.dashboard.sightings import Sightings
from agent.dashboard.tail import Tail, parsed
from agent.errors import InputError
from agent.record.ledger import whole_crack, without_lines
from agent.record.reviews import Reviewed


@dataclass(slots=True)
class Seen:
    """A crack, as far as it is known."""

    row: CrackRow  # as a whole, without its lines
    best_id: str  # of the sighting that shows it best
    at: int  # where its line begins in cracks.jsonl, bytes
    frame_name: str
    x_mm: float | None
    y_mm: float | None
    lines_mm: tuple[Any, ...] = ()  # its centre line on the surface, thinned out
    in_view: int = 1
    first_frame: int = 0
    last_frame: int = 0
    by_track: int = 0  # the line of tracks.jsonl that told it last
    by_frame: int = 0  # of frames.jsonl, where no event names it


@dataclass(slots=True)
class FlightView:
    """A record, read as it grows. Safe to call from several threads.

    Args:
        folder: of the record.
    """

    folder: Path
    header: FlightHeader = field(init=False)
    _faults: int = 0
    frames: Frames = field(init=False)
    _cracks: dict[str, Seen] = field(default_factory=dict)
    _removed: dict[str, int] = field(default_factory=dict)  # crack id -> the line of tracks.jsonl that retracted it
    _named: set[str] = field(default_factory=set)
    _sightings: Sightings = field(init=False)
    _prints: Footprints = field(default_factory=Footprints)
    _said: Said = field(default_factory=Said)
    _header_stat: tuple[int, int] = (0, 0)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _tails: tuple[Tail, Tail, Tail, Tail] = field(init=False)

    def __post_init__(self) -> None:
        names = (FRAMES_FILE, CRACKS_FILE, TRACKS_FILE, REVIEWS_FILE)
        frames, cracks, tracks, reviews = (Tail(self.folder / name) for name in names)
        self._tails = frames, cracks, tracks, reviews
        self.frames = Frames(self.folder)
        self._sightings = Sightings(self.folder)
        self._read_header()

    @property
    def key(self) -> str:
        """What the flight is called in addresses."""
        return key_of(self.header.mission_id)

    @property
    def cursor(self) -> Cursor:
        """How far the record was read."""
        frames, _, tracks, reviews = self._tails
        return Cursor(self.key, frames.taken, tracks.taken, reviews.taken)

    @property
    def replaced(self) -> bool:
        """Whether another record took this one's place."""
        return any(tail.cut for tail in self._tails)

    def refresh(self) -> Cursor:
        """Read what was added, and return how far that is.

        Raises:
            InputError: the record is gone, or none.
        """
        with self._lock:
            self._read_header()
            frames, cracks, tracks, reviews = self._tails
            with frames, cracks, tracks, reviews:
                self._take_tracks(tracks)
                while (line := frames.peek()) is not None:
                    self._take_frame(line, frames.take(), cracks)
                    self._take_tracks(tracks)
                self._said.take(reviews)
            return self.cursor

    def cracks(self, since: Cursor | None = None) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the cracks that changed, as the page lists them, and the ids of those that are none any more.

        Args:
            since: what the reader has; None or of another flight: nothing.
        """
        with self._lock:
            if since is None or since.flight != self.key:
                return [self._listed(id_, seen) for id_, seen in self._cracks.items()], []
            changed = [
                self._listed(id_, seen)
                for id_, seen in self._cracks.items()
                if seen.by_track > since.tracks or seen.by_frame > since.frames or self._said.line(id_) > since.reviews
            ]
            return changed, [id_ for id_, line in self._removed.items() if line > since.tracks]

    def crack(self, crack_id: str) -> tuple[Seen, CrackRow]:
        """Return a crack and its best sighting, with lines and mask.

        Raises:
            KeyError: there is no such crack.
            InputError: the record was altered.
        """
        with self._lock:
            seen = self._cracks[crack_id]
            return seen, self._sightings.read(seen.at)

    @property
    def reviews(self) -> list[ReviewRow]:
        """What people said, in its order."""
        return self._said.rows

    @property
    def faults(self) -> int:
        """Lines that do not fit."""
        return self._faults + self._said.faults

    def knows(self, crack_id: str) -> bool:
        """Whether there is a crack of this id."""
        return crack_id in self._cracks

    def listed(self, crack_id: str) -> dict[str, Any]:
        """Return a crack as the page lists it.

        Raises:
            KeyError: there is no such crack.
        """
        with self._lock:
            return self._listed(crack_id, self._cracks[crack_id])

    def sightings(self, crack_id: str) -> list[int]:
        """Return the frames in which a crack was found."""
        with self._lock:
            return self._sightings.frames(crack_id)

    def sighting(self, crack_id: str, frame: int) -> CrackRow | None:
        """Return a crack as one frame shows it; None if that frame does not."""
        with self._lock:
            return self._sightings.of(crack_id, frame)

    def in_frame(self, frame: int) -> list[CrackRow]:
        """Return what was found in a frame."""
        with self._lock:
            return self._sightings.in_frame(frame)

    def events(self, crack_id: str) -> Iterator[TrackRow]:
        """Yield what happened to a crack."""
        path = self.folder / TRACKS_FILE
        needle = json.dumps(crack_id).encode()
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    if needle in line and line.endswith(b"\n"):
                        row = parsed(TrackRow, line)
                        if row is not None and row.crack_id == crack_id:
                            yield row

    def frame(self, index: int) -> FrameRow:
        """Return a frame's row; see `Frames.row`."""
        with self._lock:
            return self.frames.row(index)

    def place(self) -> dict[str, Any]:
        """Return what was looked at and what was not, and how each view draws it."""
        coverage = self.coverage() or {}
        with self._lock:
            return {
                "footprints": self._prints.listed(),
                "lines": {id_: seen.lines_mm for id_, seen in self._cracks.items() if seen.lines_mm},
                "areas": coverage.get("areas", []),
                "widths": coverage.get("widths", []),
                "onto": self._prints.onto(coverage),
            }

    def coverage(self) -> dict[str, Any] | None:
        """Return `coverage.json`, or None where there is none that can be read."""
        try:
            content = (self.folder / COVERAGE_FILE).read_bytes()
        except OSError:
            return None
        found = parsed(Coverage, content)
        return None if found is None else found.model_dump(mode="json")

    def review_of(self, crack_id: str) -> Reviewed | None:
        """Return what people said of a crack; None if nothing."""
        with self._lock:
            return self._said.of(crack_id)

    def _read_header(self) -> None:
        path = self.folder / FLIGHT_FILE
        try:
            stat = path.stat()
            if (stat.st_mtime_ns, stat.st_size) == self._header_stat:
                return
            self.header = FlightHeader.model_validate(json.loads(path.read_bytes()))
            self._header_stat = stat.st_mtime_ns, stat.st_size
        except OSError as exc:
            raise InputError(f"{self.folder}: no flight record here ({FLIGHT_FILE}: {exc.strerror})") from exc
        except ValueError as exc:
            why = exc.errors()[0]["msg"] if isinstance(exc, ValidationError) else str(exc)
            raise InputError(f"{path}: no flight record that this version reads ({why})") from exc

    def _take_frame(self, line: bytes, at: int, cracks: Tail) -> None:
        row = parsed(FrameRow, line)
        if row is None:
            self._faults += 1
            return
        self.frames.add(row, at, len(line))
        if row.status == "skipped":
            return
        self._prints.note(row, placement_of(row))
        for _ in range(row.cracks):
            crack_line = cracks.peek()
            if crack_line is None:
                self._faults += 1
                return
            self._take_sighting(crack_line, cracks.take(), row)

    def _take_sighting(self, line: bytes, at: int, frame: FrameRow) -> None:
        added = self._sightings.add(line, at, frame.index)
        if added is None:
            self._faults += 1
            return
        id_, crack_id = added
        if crack_id not in self._named and crack_id not in self._cracks:
            self._show(crack_id, id_, at, frame)

    def _show(self, crack_id: str, id_: str, at: int, frame: FrameRow) -> None:
        """List a sighting that no event names: a crack of its own, as long as none does."""
        try:
            row = self._sightings.read(at)
        except InputError:
            self._faults += 1
            return
        self._cracks[crack_id] = replace(
            _seen(row, id_, at, frame),
            first_frame=frame.index,
            last_frame=frame.index,
            by_frame=self._tails[0].taken,
        )

    def _take_tracks(self, tracks: Tail) -> None:
        while (line := tracks.peek()) is not None:
            row = parsed(TrackRow, line)
            if row is None:
                self._faults += 1
                tracks.take()
                continue
            if row.frame not in self.frames:
                return  # of a frame that is not finished
            tracks.take()
            self._apply(row, tracks.taken)

    def _apply(self, track: TrackRow, line: int) -> None:
        crack_id = track.crack_id
        self._named.add(crack_id)
        if track.event == "retracted":
            if self._cracks.pop(crack_id, None) is not None or not track.parents:
                self._removed[crack_id] = line
            return
        self._removed.pop(crack_id, None)
        seen = self._cracks.get(crack_id)
        if seen is None or seen.best_id != track.best_id:
            seen = self._best(track) or seen
        if seen is None:
            self._faults += 1
            return
        self._cracks[crack_id] = replace(
            seen,
            row=whole_crack(track, seen.row),
            in_view=track.in_view,
            first_frame=track.first_frame,
            last_frame=track.last_frame,
            by_track=line,
            by_frame=0,
        )

    def _best(self, track: TrackRow) -> Seen | None:
        """Return a crack with the sighting that shows it best; None if that cannot be read."""
        place = self._sightings.place(track.best_id)
        if place is None:
            return None
        at, index = place
        try:
            return _seen(self._sightings.read(at), track.best_id, at, self.frame(index))
        except (InputError, KeyError):
            return None

    def _listed(self, crack_id: str, seen: Seen) -> dict[str, Any]:
        return {
            **seen.row.model_dump(mode="json", exclude={"branches", "mask", "id", "area_px", "alt_m"}),
            "frame_name": seen.frame_name,
            "x_mm": seen.x_mm,
            "y_mm": seen.y_mm,
            "in_view": seen.in_view,
            "first_frame": seen.first_frame,
            "last_frame": seen.last_frame,
            "review": as_json(self._said.of(crack_id)),
        }


def _seen(row: CrackRow, id_: str, at: int, frame: FrameRow) -> Seen:
    placement = placement_of(frame)
    x_mm, y_mm = middle_of(row, placement)
    return Seen(without_lines(row), id_, at, frame.name, x_mm, y_mm, lines_of(row, placement))
