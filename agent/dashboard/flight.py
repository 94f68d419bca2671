"""A flight record as the page sees it, whether it is finished or still being written.

What was read once is not read again: `refresh` takes the lines that were added. Rows are applied as `FlightRecord`
reads them: a frame that has its line has all its cracks, and events of a frame that is not finished wait for it. Lines
that do not fit are counted, and the rest is shown.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from agent.contract.flight import (
    COVERAGE_FILE,
    CRACKS_FILE,
    FLIGHT_FILE,
    FRAMES_FILE,
    REVIEWS_FILE,
    TRACKS_FILE,
    CrackRow,
    FlightHeader,
    FrameRow,
    ReviewRow,
    TrackRow,
)
from agent.contract.frame import Pose, Scale
from agent.dashboard.cursor import Cursor, key_of
from agent.dashboard.reviews import as_json
from agent.dashboard.tail import Tail
from agent.errors import InputError
from agent.record.ledger import whole_crack, without_lines
from agent.record.reviews import Reviewed, fold
from agent.track.placement import Placement, outline, placed

MOST_REASONS: Final = 20
OTHER_REASONS: Final = "other reasons"
MOST_BRANCHES: Final = 40  # of a crack, that are drawn on the wall
MOST_POINTS: Final = 24  # of a branch
MOST_FOOTPRINTS: Final = 5000  # of a flight, evenly chosen where there are more
Row = TypeVar("Row", bound=BaseModel)
_ID: Final = re.compile(rb'^\{"id":"([^"\\]{1,64})","crack_id":"([^"\\]{1,64})"')


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
    faults: int = 0  # lines that do not fit
    frames: int = 0
    skipped: int = 0
    with_cracks: int = 0
    without_scale: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # why frames were skipped
    reviews: list[ReviewRow] = field(default_factory=list)
    _cracks: dict[str, Seen] = field(default_factory=dict)
    _removed: dict[str, int] = field(default_factory=dict)  # crack id -> the line of tracks.jsonl that retracted it
    _named: set[str] = field(default_factory=set)
    _rows: dict[int, tuple[int, int]] = field(default_factory=dict)  # frame index -> its line's place and length
    _places: dict[str, tuple[int, int]] = field(default_factory=dict)  # sighting id -> place of its line, frame
    _sightings: dict[str, list[str]] = field(default_factory=dict)  # crack id -> sighting ids
    _in_frame: dict[int, list[str]] = field(default_factory=dict)  # frame index -> sighting ids
    _frame: FrameRow | None = None
    _prints: list[tuple[int, Any]] = field(default_factory=list)
    _print_step: int = 1
    _header_stat: tuple[int, int] = (0, 0)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _tails: tuple[Tail, Tail, Tail, Tail] = field(init=False)
    _reviewed: dict[str, Reviewed] = field(default_factory=dict)
    _review_line: dict[str, int] = field(default_factory=dict)  # crack id -> the review that told it last

    def __post_init__(self) -> None:
        names = (FRAMES_FILE, CRACKS_FILE, TRACKS_FILE, REVIEWS_FILE)
        frames, cracks, tracks, reviews = (Tail(self.folder / name) for name in names)
        self._tails = frames, cracks, tracks, reviews
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
                self._take_reviews(reviews)
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
                if seen.by_track > since.tracks
                or seen.by_frame > since.frames
                or self._review_line.get(id_, 0) > since.reviews
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
            return seen, self._sighting(seen.at)

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
            return [self._places[id_][1] for id_ in self._sightings.get(crack_id, [])]

    def sighting(self, crack_id: str, frame: int) -> CrackRow | None:
        """Return a crack as one frame shows it; None if that frame does not."""
        with self._lock:
            places = (self._places[id_] for id_ in self._sightings.get(crack_id, []))
            at = next((at for at, index in places if index == frame), None)
            return None if at is None else self._sighting(at)

    def in_frame(self, frame: int) -> list[CrackRow]:
        """Return what was found in a frame."""
        with self._lock:
            return [self._sighting(self._places[id_][0]) for id_ in self._in_frame.get(frame, [])]

    def events(self, crack_id: str) -> Iterator[TrackRow]:
        """Yield what happened to a crack."""
        path = self.folder / TRACKS_FILE
        needle = json.dumps(crack_id).encode()
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    if needle in line and line.endswith(b"\n"):
                        row = _parsed(TrackRow, line)
                        if row is not None and row.crack_id == crack_id:
                            yield row

    def frame(self, index: int) -> FrameRow:
        """Return a frame's row.

        Raises:
            KeyError: there is none of this index.
            InputError: the record was altered.
        """
        with self._lock:
            at, length = self._rows[index]
        with (self.folder / FRAMES_FILE).open("rb") as file:
            file.seek(at)
            row = _parsed(FrameRow, file.read(length))
        if row is None:
            raise InputError(f"{self.folder / FRAMES_FILE}: the line of frame {index} was altered")
        return row

    @property
    def last_frame(self) -> FrameRow | None:
        """The newest frame that was inferred."""
        return self._frame

    def pictured(self) -> list[list[Any]]:
        """Return index, name and number of finds of each frame that may have a picture, in their order."""
        found = []
        with (self.folder / FRAMES_FILE).open("rb") as file:
            for line in file:
                row = _parsed(FrameRow, line) if line.endswith(b"\n") else None
                if row is not None and row.status != "skipped" and (row.cracks or row.file is not None):
                    found.append([row.index, row.name, row.cracks])
        return found

    def footprints(self) -> list[Any]:
        """Return where frames looked: index, then outline on the surface in mm, camera's lat, lon, chainage, clock."""
        with self._lock:
            return [where for _, where in self._prints]

    def lines(self) -> dict[str, Any]:
        """Return the cracks' centre lines on the surface, mm, by crack id."""
        with self._lock:
            return {id_: seen.lines_mm for id_, seen in self._cracks.items() if seen.lines_mm}

    def coverage(self) -> dict[str, Any] | None:
        """Return `coverage.json`, or None where there is none that can be read."""
        try:
            raw = json.loads((self.folder / COVERAGE_FILE).read_bytes())
        except (OSError, ValueError):
            return None
        return raw if isinstance(raw, dict) else None

    def review_of(self, crack_id: str) -> Reviewed | None:
        """Return what people said of a crack; None if nothing."""
        with self._lock:
            return self._reviewed.get(crack_id)

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
        row = _parsed(FrameRow, line)
        if row is None:
            self.faults += 1
            return
        self._rows[row.index] = at, len(line)
        if row.status == "skipped":
            self.skipped += 1
            reason = row.reason or "no reason given"
            self.reasons[reason if reason in self.reasons or len(self.reasons) < MOST_REASONS else OTHER_REASONS] += 1
            return
        self.frames += 1
        self.with_cracks += row.cracks > 0
        self.without_scale += row.scale_mm_px is None
        self._frame = row
        self._note_print(row, _placement(row))
        for _ in range(row.cracks):
            crack_line = cracks.peek()
            if crack_line is None:
                self.faults += 1
                return
            self._take_sighting(crack_line, cracks.take(), row)

    def _take_sighting(self, line: bytes, at: int, frame: FrameRow) -> None:
        found = _ID.match(line)
        if found is not None:
            id_, crack_id = found[1].decode("utf-8", "replace"), found[2].decode("utf-8", "replace")
        else:
            row = _parsed(CrackRow, line)
            if row is None:
                self.faults += 1
                return
            id_, crack_id = row.id, row.crack_id
        self._places[id_] = at, frame.index
        self._sightings.setdefault(crack_id, []).append(id_)
        self._in_frame.setdefault(frame.index, []).append(id_)
        if crack_id not in self._named and crack_id not in self._cracks:
            self._show(crack_id, id_, frame)

    def _show(self, crack_id: str, id_: str, frame: FrameRow) -> None:
        """List a sighting that no event names: a crack of its own, as long as none does."""
        at = self._places[id_][0]
        try:
            row = self._sighting(at)
        except InputError:
            self.faults += 1
            return
        self._cracks[crack_id] = replace(
            _seen(row, id_, at, frame),
            first_frame=frame.index,
            last_frame=frame.index,
            by_frame=self._tails[0].taken,
        )

    def _take_tracks(self, tracks: Tail) -> None:
        while (line := tracks.peek()) is not None:
            row = _parsed(TrackRow, line)
            if row is None:
                self.faults += 1
                tracks.take()
                continue
            if row.frame not in self._rows:
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
            self.faults += 1
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
        at, index = self._places.get(track.best_id, (None, 0))
        if at is None:
            return None
        try:
            return _seen(self._sighting(at), track.best_id, at, self.frame(index))
        except (InputError, KeyError):
            return None

    def _take_reviews(self, reviews: Tail) -> None:
        before = reviews.taken
        while (line := reviews.peek()) is not None:
            reviews.take()
            row = _parsed(ReviewRow, line)
            if row is None:
                self.faults += 1
                continue
            self.reviews.append(row)
            undone = next((one.merge_into for one in self.reviews if one.id == row.undo), None) if row.undo else None
            for id_ in filter(None, (row.crack_id, row.merge_into, undone)):
                self._review_line[id_] = reviews.taken
        if reviews.taken > before:
            self._reviewed = fold(self.reviews)

    def _note_print(self, row: FrameRow, placement: Placement | None) -> None:
        """Keep where the frame looked; of a long flight every second, then every fourth, and so on."""
        if placement is None and row.lat is None and row.chainage_m is None:
            return
        if row.index % self._print_step:
            return
        quad = None
        if placement is not None:
            quad = np.round(outline(placement, (row.height, row.width)), 1).tolist()
        self._prints.append((row.index, [row.index, quad, row.lat, row.lon, row.chainage_m, row.clock_deg]))
        if len(self._prints) > MOST_FOOTPRINTS:
            self._print_step *= 2
            self._prints = [kept for kept in self._prints if kept[0] % self._print_step == 0]

    def _sighting(self, at: int) -> CrackRow:
        path = self.folder / CRACKS_FILE
        with path.open("rb") as file:
            file.seek(at)
            row = _parsed(CrackRow, file.readline())
        if row is None:
            raise InputError(f"{path}: the line at byte {at} was altered")
        return row

    def _listed(self, crack_id: str, seen: Seen) -> dict[str, Any]:
        return {
            **seen.row.model_dump(mode="json", exclude={"branches", "mask", "id", "area_px", "alt_m"}),
            "frame_name": seen.frame_name,
            "x_mm": seen.x_mm,
            "y_mm": seen.y_mm,
            "in_view": seen.in_view,
            "first_frame": seen.first_frame,
            "last_frame": seen.last_frame,
            "review": as_json(self._reviewed.get(crack_id)),
        }


def _parsed(model: type[Row], line: bytes) -> Row | None:
    try:
        return model.model_validate(json.loads(line))
    except (ValueError, RecursionError):
        return None


def _placement(frame: FrameRow) -> Placement | None:
    """Return where a frame lies on the surface, as its telemetry says."""
    pose = frame.pose
    if pose is None or frame.scale_mm_px is None or frame.scale_mm_px <= 0:
        return None
    return placed(
        Pose(**pose.model_dump()),
        Scale(mm_per_px=frame.scale_mm_px, source="telemetry"),
        (frame.height, frame.width),
    )


def _seen(row: CrackRow, id_: str, at: int, frame: FrameRow) -> Seen:
    placement = _placement(frame)
    lines: tuple[Any, ...] = ()
    if placement is not None:
        lines = tuple(_on_surface(branch.line_px, placement) for branch in row.branches[:MOST_BRANCHES])
    return Seen(without_lines(row), id_, at, frame.name, *_middle(row, placement), tuple(filter(None, lines)))


def _on_surface(line_px: Sequence[tuple[float, float]], placement: Placement) -> list[list[float]]:
    """Return a few points of a line on the surface, mm; none where it cannot be placed."""
    every = max(1, -(-len(line_px) // MOST_POINTS))
    points = [*line_px[::every], line_px[-1]] if line_px else []
    if len(points) < 2:
        return []
    placed_mm = placement.to_surface(np.array(points, np.float64))
    return np.round(placed_mm, 1).tolist() if np.isfinite(placed_mm).all() else []


def _middle(row: CrackRow, placement: Placement | None) -> tuple[float | None, float | None]:
    """Return where on the surface the middle of a crack's box lies, mm."""
    if placement is None:
        return None, None
    middle = np.array([[row.bbox_x + (row.bbox_w - 1) / 2, row.bbox_y + (row.bbox_h - 1) / 2]])
    x, y = placement.to_surface(middle)[0]
    return (round(float(x), 1), round(float(y), 1)) if np.isfinite((x, y)).all() else (None, None)
