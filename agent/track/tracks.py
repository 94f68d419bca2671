"""One crack over frames: its centre line on the surface, what was seen of it, and what was last said about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from agent.contract.arrays import Bool, Float64, Int64
from agent.contract.reports import CrackEvent, Kind
from agent.track.kind import Evidence
from agent.track.lines import ALONG, Line, joined, pairs, remapped

LEAST_RUN: Final = 3  # points in a row that lie on nothing known: a shorter run is the network's trembling
REFRESH: Final = 0.5  # of the way that a line follows its newest sighting: pictures are placed a little differently


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The sighting that shows a crack best."""

    frame: int
    number: int  # among the frame's cracks
    rank: tuple[bool, float, float]
    width_px: float | None
    width_mm: float | None
    gradable: bool
    mm_per_px: float | None
    unit_per_px: float  # of its frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The figures of the last report."""

    length: float
    width: float | None
    gradable: bool
    kind: Kind

    def differs(self, other: Told, change: float) -> bool:
        """Whether a reader would want to know of the other figures."""
        if (self.gradable, self.kind, self.width is None) != (other.gradable, other.kind, other.width is None):
            return True
        if abs(other.length - self.length) > change * max(self.length, 1e-9):
            return True
        return (
            self.width is not None
            and other.width is not None
            and abs(other.width - self.width) > change * max(self.width, 1e-9)
        )


@dataclass(slots=True, kw_only=True, eq=False)
class Track:
    """A crack. Coordinates and lengths are its patch's: mm, or px of the patch's latest frame."""

    crack_id: str
    camera: str
    line: Line
    first_frame: int
    last_frame: int
    longest: float  # of its length in a single frame
    best: Best
    sightings: int = 1  # frames that showed it
    in_view: int = 1  # frames that showed its place
    last_in_view: int = 0
    revision: int = -1  # of the last report; -1: none yet
    told: Told | None = None
    ended: CrackEvent | None = None  # final or retracted; a later sighting takes that back
    parents: tuple[str, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    kind: Kind = "crack"

    @property
    def length(self) -> float:
        """Of all that was seen of it, every stretch once."""
        return max(self.line.length, self.longest)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the line."""
        (left, top), (right, bottom) = self.line.xy.min(axis=0), self.line.xy.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    def figures(self) -> Told:
        """Return what a report would say now."""
        best = self.best
        return Told(
            length=self.length / best.unit_per_px if best.mm_per_px is None else self.length,
            width=best.width_px if best.width_mm is None else best.width_mm,
            gradable=best.gradable,
            kind=self.kind,
        )

    def see(self, seen: Line, *, nearest: float, spacing: float) -> float:
        """Grow by what a sighting shows beyond what is known, and follow it where it is.

        Args:
            seen: on the surface.
            nearest: up to this distance it is the same line.
            spacing: of the points.

        Returns:
            How far the line lay beside itself, the mean along it, with its sign.
        """
        found = pairs(seen, self.line, max(nearest, spacing) * 1.5)
        same = (np.abs(found.across) <= nearest) & (found.along <= ALONG * spacing)
        known = np.zeros(len(seen), np.bool_)
        known[found.one[same]] = True
        shift = self._follow(seen, found.one[same & found.agree], found.two[same & found.agree])
        fresh = _long_runs(~known, seen.stretch)
        if fresh.any():
            self.line = joined([self.line, seen.part(fresh)])
        return shift

    def absorb(self, other: Track, *, nearest: float, spacing: float) -> None:
        """Become one with another track; what both had seen counts once."""
        self.see(other.line, nearest=nearest, spacing=spacing)
        self.first_frame = min(self.first_frame, other.first_frame)
        self.last_frame = max(self.last_frame, other.last_frame)
        self.last_in_view = max(self.last_in_view, other.last_in_view)
        self.longest = max(self.longest, other.longest)
        self.sightings = max(self.sightings, other.sightings)
        self.in_view = max(self.in_view, other.in_view)
        self.best = max(self.best, other.best, key=lambda one: one.rank)
        self.evidence.merge(other.evidence)

    def remap(self, matrix: Float64) -> None:
        """Take on new coordinates of the patch."""
        before = self.line.length
        self.line = remapped(self.line, matrix)
        factor = self.line.length / max(before, 1e-12)
        self.longest *= factor
        self.best = Best(
            frame=self.best.frame,
            number=self.best.number,
            rank=self.best.rank,
            width_px=self.best.width_px,
            width_mm=self.best.width_mm,
            gradable=self.best.gradable,
            mm_per_px=self.best.mm_per_px,
            unit_per_px=self.best.unit_per_px * factor,
        )

    def _follow(self, seen: Line, one: Int64, two: Int64) -> float:
        """Move the points that were seen again part of the way, across the line only."""
        if not len(one):
            return 0.0
        direction = self.line.along[two]
        gap = seen.xy[one] - self.line.xy[two]
        across = gap[:, 1] * direction[:, 0] - gap[:, 0] * direction[:, 1]
        count = np.bincount(two, minlength=len(self.line))
        mean = np.bincount(two, across, minlength=len(self.line)) / np.maximum(count, 1)
        normal = np.column_stack([-self.line.along[:, 1], self.line.along[:, 0]])
        self.line = Line(
            self.line.xy + REFRESH * mean[:, None] * normal, self.line.along, self.line.weight, self.line.stretch
        )
        hit = count > 0
        # one sign for the whole crack: the normal that points down, or right where the line is upright
        sign = np.where((normal[:, 1] > 1e-6) | ((np.abs(normal[:, 1]) <= 1e-6) & (normal[:, 0] > 0)), 1.0, -1.0)
        return float((mean * sign)[hit].mean())


def _long_runs(chosen: Bool, stretch: Int64) -> Bool:
    """Return the chosen points that stand in runs of LEAST_RUN or more, or fill their whole stretch."""
    kept = np.zeros(len(chosen), np.bool_)
    borders = np.flatnonzero((np.diff(chosen.astype(np.int8)) != 0) | (np.diff(stretch) != 0)) + 1
    for run in np.split(np.arange(len(chosen)), borders):
        if len(run) and chosen[run[0]] and len(run) >= LEAST_RUN:
            kept[run] = True
    return kept
