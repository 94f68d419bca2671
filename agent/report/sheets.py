"""A sheet per crack: everything that the record knows of it, gathered in one more pass over the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.contract.flight import CrackRow, FrameRow, TrackRow
from agent.record import FlightRecord
from agent.report.charts import Chart, Sighting, history, profile
from agent.report.developed import heirs
from agent.report.gallery import Gallery, Portrait
from agent.report.summary import SeenCrack

MOST_SHEETS: Final = 300  # the worst; the table has more, the CSV all
MOST_EVENTS: Final = 10  # of a crack's history; what lies between the first and the last ones is counted
MOST_SIGHTINGS: Final = 2000  # of a crack's history


@dataclass(slots=True)
class Sheet:
    """A crack's own page."""

    number: int  # in the table, from 1
    frame: FrameRow  # that shows it best
    crack: CrackRow
    portrait: Portrait | None
    profile: Chart | None
    history: Chart | None
    events: list[TrackRow]  # the first and the last
    events_between: int
    first_frame: int
    last_frame: int
    box: tuple[float, float, float, float] | None  # x, y, width, height in the overview, shares of the frame


@dataclass(slots=True)
class _Gathered:
    frame: FrameRow | None = None
    best: CrackRow | None = None
    seen: list[Sighting] = field(default_factory=list)
    events: list[TrackRow] = field(default_factory=list)


def sheets_of(record: FlightRecord, worst: Sequence[SeenCrack], gallery: Gallery) -> list[Sheet]:
    """Return the sheets of the worst cracks, in their order, at most MOST_SHEETS.

    Args:
        record: to be read again, for the lines of these cracks.
        worst: the table's cracks, the worst first.
        gallery: their pictures.

    Raises:
        InputError: the record was altered.
    """
    chosen = {seen.crack.crack_id: _Gathered() for seen in worst[:MOST_SHEETS]}
    owner = heirs(record)
    best_ids: dict[str, str] = {}
    for row in record.tracks():
        if (gathered := chosen.get(owner.get(row.crack_id, row.crack_id))) is not None:
            gathered.events.append(row)
            if row.crack_id in chosen:
                best_ids[row.crack_id] = row.best_id
    names: dict[str, list[str]] = {crack_id: [crack_id] for crack_id in chosen}
    for part, whole in owner.items():
        names.get(whole, []).append(part)
    in_mm = {seen.crack.crack_id: seen.crack.scale_mm_px is not None for seen in worst[:MOST_SHEETS]}
    for frame, cracks in record.sightings():
        for crack in cracks:
            crack_id = owner.get(crack.crack_id, crack.crack_id)
            if (gathered := chosen.get(crack_id)) is None:
                continue
            best = best_ids.get(crack_id, crack.id) == crack.id
            if best:
                gathered.frame, gathered.best = frame, crack
            if len(gathered.seen) < MOST_SIGHTINGS or best:
                width = crack.width_mm if in_mm[crack_id] else crack.width_px
                gathered.seen.append(Sighting(frame.index, width, crack.gradable, best))
    return [
        _sheet(number, seen, chosen[seen.crack.crack_id], gallery.of(names[seen.crack.crack_id]))
        for number, seen in enumerate(worst[:MOST_SHEETS], start=1)
    ]


def _sheet(number: int, seen: SeenCrack, gathered: _Gathered, portrait: Portrait | None) -> Sheet:
    frames = [one.frame for one in gathered.seen] or [seen.frame.index]
    half = MOST_EVENTS // 2
    events = gathered.events
    between = max(0, len(events) - MOST_EVENTS)
    box = None if portrait is None else _box(portrait.crack)
    return Sheet(
        number=number,
        frame=seen.frame,
        crack=seen.crack,
        portrait=portrait,
        profile=None if gathered.best is None else profile(gathered.best),
        history=history(gathered.seen, "mm" if seen.crack.scale_mm_px is not None else "px"),
        events=events if not between else [*events[:half], *events[-half:]],
        events_between=between,
        first_frame=min(frames),
        last_frame=max(frames),
        box=box,
    )


def _box(crack: CrackRow) -> tuple[float, float, float, float] | None:
    """Return the crack's box with some room around it, as shares of a frame of its size."""
    height, width = crack.mask.size
    if not width or not height:
        return None
    room = 0.015 * max(width, height)
    left, top = max(0.0, crack.bbox_x - room), max(0.0, crack.bbox_y - room)
    right, bottom = min(width, crack.bbox_x + crack.bbox_w + room), min(height, crack.bbox_y + crack.bbox_h + room)
    return left / width, top / height, (right - left) / width, (bottom - top) / height
