"""What the page says, gathered in one pass over a record; however long the flight, it keeps little of it."""

from __future__ import annotations

import bisect
import heapq
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from agent.contract.flight import Coverage, CrackRow, FlightHeader, FrameRow
from agent.contract.reports import Kind, Severity
from agent.record import FlightRecord
from agent.record.ledger import without_lines
from agent.report.figures import SEVERITIES, Rank, badness, number

MOST_ROWS: Final = 2000  # of the table; the CSV has all
MOST_OTHERS: Final = 200
MOST_SKIPPED: Final = 200
MOST_REASONS: Final = 20
SINCE_2000_NS: Final = 946_684_800_000_000_000
OTHER_REASONS: Final = "other reasons"
WIDTH_MM: Final = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
WIDTH_PX: Final = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
LENGTH_MM: Final = (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
LENGTH_PX: Final = (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


@dataclass(slots=True)
class Histogram:
    """Counts between fixed edges, so that two flights can be laid side by side."""

    title: str
    unit: str
    edges: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    missing: int = 0  # values that were not measured

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.edges) + 1)

    def add(self, value: float | None) -> None:
        """Count a value; one on an edge belongs above it."""
        if value is None:
            self.missing += 1
        else:
            self.counts[bisect.bisect_right(self.edges, value)] += 1

    @property
    def bars(self) -> list[tuple[str, int]]:
        """A label and a count for each bar; empty ends are left out."""
        edges = [f"{edge:g}" for edge in self.edges]
        labels = [f"< {edges[0]}", *map("{}–{}".format, edges, edges[1:]), f"≥ {edges[-1]}"]  # noqa: RUF001 - a range
        filled = [index for index, count in enumerate(self.counts) if count]
        part = slice(filled[0], filled[-1] + 1) if filled else slice(0)
        return list(zip(labels[part], self.counts[part], strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class SeenCrack:
    """A crack and its frame, without the crack's lines and mask."""

    frame: FrameRow
    crack: CrackRow


@dataclass(slots=True)
class Summary:
    """Counts, totals and the worst of a flight."""

    header: FlightHeader
    torn_lines: int
    coverage: Coverage | None
    kinds: Counter[Kind] = field(default_factory=Counter)  # of what is no crack
    others: list[SeenCrack] = field(default_factory=list)  # the first MOST_OTHERS
    severities: Counter[Severity] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)  # of the standard, by its own name
    class_length_mm: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    severity_length_mm: defaultdict[Severity, float] = field(default_factory=lambda: defaultdict(float))
    first_ms: int | None = None  # since 1970, UTC: when the first and last frame were taken, where they say
    last_ms: int | None = None
    length_mm: float = 0.0  # of the cracks whose scale is known
    length_px: float = 0.0  # of the others
    seen_mm2: float = 0.0  # of the pictures whose scale is known; what two of them show counts twice
    ungraded: Counter[str] = field(default_factory=Counter)  # why, although a standard was given
    cracks_without_scale: int = 0
    frames_without_scale: int = 0
    frames_with_cracks: int = 0
    not_gradable: Counter[str] = field(default_factory=Counter)
    skipped: list[FrameRow] = field(default_factory=list)  # the first MOST_SKIPPED
    reasons: Counter[str] = field(default_factory=Counter)  # of all that were skipped
    histograms: list[Histogram] = field(default_factory=list)
    _worst: list[tuple[Rank, int, SeenCrack]] = field(default_factory=list)

    @classmethod
    def of(cls, record: FlightRecord) -> Summary:
        """Read a record once.

        Raises:
            InputError: the record was altered.
        """
        summary = cls(record.header, record.torn_lines, record.coverage())
        summary._see_frames(record)
        in_mm = [Histogram("Width", "mm", WIDTH_MM), Histogram("Length", "mm", LENGTH_MM)]
        in_px = [
            Histogram("Width, where the scale is unknown", "px", WIDTH_PX),
            Histogram("Length, where the scale is unknown", "px", LENGTH_PX),
        ]
        for turn, (frame, whole) in enumerate(record.whole_cracks()):
            crack = without_lines(whole)
            if crack.kind != "crack":
                summary.kinds[crack.kind] += 1
                if len(summary.others) < MOST_OTHERS:
                    summary.others.append(SeenCrack(frame, crack))
                continue
            known = crack.scale_mm_px is not None
            for histogram, value in zip(
                in_mm if known else in_px,
                (crack.width_mm, crack.length_mm) if known else (crack.width_px, crack.length_px),
                strict=True,
            ):
                histogram.add(value)
            summary._count(crack)
            item = (badness(crack), -turn, SeenCrack(frame, crack))
            (heapq.heappush if len(summary._worst) < MOST_ROWS else heapq.heappushpop)(summary._worst, item)
        summary.histograms = [histogram for histogram in [*in_mm, *in_px] if any(histogram.counts)]
        return summary

    @property
    def worst(self) -> list[SeenCrack]:
        """The worst cracks, at most MOST_ROWS, the worst first."""
        return [seen for *_, seen in sorted(self._worst, key=lambda item: item[:2], reverse=True)]

    @property
    def by_severity(self) -> list[tuple[Severity, int]]:
        """Counts, the worst first, of the classes that occur."""
        return [(severity, self.severities[severity]) for severity in SEVERITIES if self.severities[severity]]

    @property
    def total_length(self) -> list[str]:
        """The length of all cracks: in m, and in px of those whose scale is unknown."""
        in_m = [f"{number(self.length_mm / 1000)} m"] if self.length_mm else []
        return [*in_m, f"{number(self.length_px)} px"] if self.length_px or not in_m else in_m

    @property
    def density(self) -> str | None:
        """Length of cracks per area: of the surface that was seen where frames had a pose, else of all pictures."""
        surface = self.coverage
        area = self.seen_mm2 / 1e6
        if surface is not None and surface.inspected_m2 is not None:
            area = surface.inspected_m2 + (surface.not_gradable_m2 or 0.0)
        return f"{number(self.length_mm / 1e3 / area)} m/m²" if area else None

    def _see_frames(self, record: FlightRecord) -> None:
        for frame, cracks in record.sightings():
            if frame.status == "skipped":
                self._skip(frame)
                continue
            self.frames_without_scale += frame.scale_mm_px is None
            self._date(frame)
            self.seen_mm2 += frame.width * frame.height * (frame.scale_mm_px or 0) ** 2
            self.frames_with_cracks += any(crack.kind == "crack" for crack in cracks)

    def _date(self, frame: FrameRow) -> None:
        taken = frame.captured_ms
        if taken is None and frame.media_time_ns is not None and frame.media_time_ns > SINCE_2000_NS:
            taken = frame.media_time_ns // 1_000_000  # of a photo; a video counts from its own start
        if taken is not None:
            self.first_ms = taken if self.first_ms is None else min(self.first_ms, taken)
            self.last_ms = taken if self.last_ms is None else max(self.last_ms, taken)

    def _skip(self, frame: FrameRow) -> None:
        if len(self.skipped) < MOST_SKIPPED:
            self.skipped.append(frame)
        _count_reason(self.reasons, frame.reason)

    def _count(self, crack: CrackRow) -> None:
        self.severities[crack.severity] += 1
        self.severity_length_mm[crack.severity] += crack.length_mm or 0.0
        if crack.severity_class is not None:
            self.classes[crack.severity_class] += 1
            self.class_length_mm[crack.severity_class] += crack.length_mm or 0.0
        if crack.length_mm is None:
            self.cracks_without_scale += 1
            self.length_px += crack.length_px
        else:
            self.length_mm += crack.length_mm
        if crack.severity_reason is not None:
            _count_reason(self.ungraded, crack.severity_reason)
        if not crack.gradable:
            _count_reason(self.not_gradable, crack.not_gradable_reason)


def _count_reason(reasons: Counter[str], reason: str | None) -> None:
    """Count a reason; when there are many, as where each names its file, the later ones count as others."""
    known = reason or "no reason given"
    reasons[known if known in reasons or len(reasons) < MOST_REASONS else OTHER_REASONS] += 1
