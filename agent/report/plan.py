"""Where the cracks are: maps and strips, drawn by us, since a page that is handed on loads nothing.

By the surface where frames have a pose or a tunnel its radius (strip of chainage and clock angle, or wall plane), by
position on earth, and else along the flight, frame by frame.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from agent.contract.arrays import Float64
from agent.contract.flight import Coverage, CrackRow
from agent.contract.reports import Severity
from agent.record import FlightRecord
from agent.report.charts import Tick, steps
from agent.report.developed import Developed
from agent.report.figures import SEVERITIES, round_length

WIDTH: Final = 1000.0  # of every drawing, px
TALLEST: Final = 620.0
MOST_ROWS: Final = 8  # that a long strip is broken into
MOST_PINS: Final = 40  # cracks with their number; the others have a dot or a line
GRAIN_PX: Final = 0.5  # points nearer to each other are one
MOST_BARS: Final = 120
MOST_ROUTE: Final = 2000
ROW_GAP: Final = 30.0
SMALLEST_M: Final = 1.0  # of a map by position: below it positions are all but one


@dataclass(frozen=True, slots=True)
class Pin:
    """A crack's number at its place."""

    x: float
    y: float
    number: int  # in the table; 0: not numbered
    severity: Severity


@dataclass(frozen=True, slots=True)
class Path:
    """Lines of one kind."""

    name: str  # a severity, a coverage state, or other
    d: str


@dataclass(frozen=True, slots=True)
class Row:
    """A part of the surface, left to right; a long strip has several below each other."""

    y: float  # px
    height: float
    view: str  # of the surface, in its own mm
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """Frames that follow each other, and the cracks that they show best."""

    x: float
    width: float
    parts: tuple[tuple[Severity, float, float], ...]  # y and height, the worst at the bottom


@dataclass(slots=True)
class Plan:
    """A drawing."""

    title: str
    note: str
    height: float
    rows: list[Row] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    pins: list[Pin] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    route: str = ""
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    scale_bar: tuple[float, str] | None = None  # px, and what it stands for
    unit: str = ""  # of the ticks
    missing: int = 0  # cracks that have no place in it

    @property
    def legend(self) -> list[str]:
        """Names of the lines and areas that are no crack, each once."""
        return [name for name in dict.fromkeys(path.name for path in self.paths) if name not in SEVERITIES]


@dataclass(slots=True)
class Places:
    """What a map needs of the cracks, gathered while the record is read."""

    cracks: list[tuple[CrackRow, int]] = field(default_factory=list)  # without lines; and the number in the table

    def plans(self, record: FlightRecord, developed: Developed, coverage: Coverage | None) -> list[Plan]:
        """Return the maps that the record allows, the most telling first; the strip by frames if there is no other.

        Raises:
            InputError: the record was altered.
        """
        found = [
            on_surface(self.cracks, developed, coverage),
            on_earth(self.cracks, record),
            *([in_tunnel(self.cracks)] if developed.radius_mm is None else []),
        ]
        plans = [plan for plan in found if plan is not None]
        return plans or [plan for plan in [along_flight(self.cracks, record)] if plan is not None]


def on_surface(cracks: Sequence[tuple[CrackRow, int]], developed: Developed, coverage: Coverage | None) -> Plan | None:
    """Draw centre lines and coverage on the wall plane or the unrolled lining."""
    lines = {crack_id: [stretch.xy_mm for stretch in found] for crack_id, found in developed.stretches.items()}
    areas = developed.areas(coverage)
    outlines = [np.array(line, np.float64).reshape(-1, 2) * (1, -1) for area in areas for line in area.outlines_mm]
    points = [line for of in lines.values() for line in of] + outlines
    if not points:
        return None
    every = np.concatenate(points)
    low, high = every.min(axis=0), every.max(axis=0)
    margin = np.array([0.01, 0.08]) * (high - low) + 20.0
    low, high = low - margin, high + margin
    rows, scale = _rows(low, high)
    tunnel = developed.radius_mm is not None
    plan = Plan(
        title="The lining, unrolled" if tunnel else "The surface",
        note="Left to right: chainage, m. Upwards: the arc to the right of the crown, m."
        if tunnel
        else "Left to right and upwards, m, in the flight's own wall plane.",
        height=rows[-1].y + rows[-1].height + 26,
        rows=rows,
        unit="m",
        missing=sum(crack.crack_id not in lines for crack, _ in cracks),
    )
    grain = GRAIN_PX / scale
    plan.paths += [
        Path(area.state, " ".join(_path(np.array(o, np.float64).reshape(-1, 2), grain) + "Z" for o in area.outlines_mm))
        for area in areas
    ]
    by_name: dict[str, list[str]] = {}
    known = {crack.crack_id for crack, _ in cracks}
    for crack_id, of in lines.items():
        if crack_id not in known:
            by_name.setdefault("other", []).extend(_path(line * (1, -1), grain) for line in of)
    for crack, _ in reversed(cracks):  # the worst last, on top
        by_name.setdefault(crack.severity, []).extend(
            _path(line * (1, -1), grain) for line in lines.get(crack.crack_id, [])
        )
    order = ["other", *reversed(SEVERITIES)]
    plan.paths += [Path(name, " ".join(by_name[name])) for name in order if by_name.get(name)]
    for crack, turn in cracks[:MOST_PINS]:
        if own := lines.get(crack.crack_id):
            longest = max(own, key=len)
            plan.pins.append(_pin(longest[len(longest) // 2], crack, turn, rows, scale))
    plan.pins = _apart(plan.pins)
    return plan


def on_earth(cracks: Sequence[tuple[CrackRow, int]], record: FlightRecord) -> Plan | None:
    """Draw cracks and the camera's way by their positions, north up."""
    placed = [(crack, turn) for crack, turn in cracks if crack.lat is not None and crack.lon is not None]
    way = [(f.lon, f.lat) for f in record.frames() if f.lat is not None and f.lon is not None]
    every = np.array([(crack.lon, crack.lat) for crack, _ in placed] + way, np.float64).reshape(-1, 2)
    if len(every) < 2 or not np.ptp(every, axis=0).any():
        return None  # one place: a map shows no more than its coordinates
    middle = (every.min(axis=0) + every.max(axis=0)) / 2
    metres = np.array([111_320 * math.cos(math.radians(float(middle[1]))), 110_574])  # good enough to draw by
    spread = max(float(((every.max(axis=0) - every.min(axis=0)) * metres).max()) * 1.15, SMALLEST_M)
    extent = np.maximum((every.max(axis=0) - every.min(axis=0)) * metres * 1.15, spread * np.array([0.8, 0.25]))
    scale = min(WIDTH / extent[0], TALLEST / extent[1])
    height = float(extent[1] * scale)

    def at(lon: float | None, lat: float | None) -> tuple[float, float]:
        x, y = (np.array([lon, lat], np.float64) - middle) * metres * scale
        return round(WIDTH / 2 + float(x), 1), round(height / 2 - float(y), 1)

    thin = way[:: max(1, math.ceil(len(way) / MOST_ROUTE))]
    bar_m = round_length(WIDTH / 4 / scale)
    camera_only = any(crack.position_of == "camera" for crack, _ in placed)
    return Plan(
        title="The map",
        note="North is up; the line is the camera's way. WGS 84, middle "
        f"{middle[1]:.6f}, {middle[0]:.6f}."
        + (" Positions are those of the camera that saw the crack, not the crack's own." if camera_only else ""),
        missing=len(cracks) - len(placed),
        height=height,
        pins=_apart([Pin(*at(crack.lon, crack.lat), turn, crack.severity) for crack, turn in placed[:1000]]),
        route=" ".join("{:g},{:g}".format(*at(lon, lat)) for lon, lat in thin),
        scale_bar=(round(bar_m * scale, 1), _metres(bar_m)),
    )


def in_tunnel(cracks: Sequence[tuple[CrackRow, int]]) -> Plan | None:
    """Draw cracks by chainage and clock angle, the crown in the middle."""
    placed = [(crack, turn) for crack, turn in cracks if crack.chainage_m is not None and crack.clock_deg is not None]
    if not placed:
        return None
    along = [crack.chainage_m or 0.0 for crack, _ in placed]
    low, high = min(along), max(along)
    margin = max(0.03 * (high - low), 0.5)
    low, high, height = low - margin, high + margin, 320.0

    def y(clock_deg: float) -> float:
        return round(height * (0.5 - ((clock_deg + 180) % 360 - 180) / 360), 1)

    return Plan(
        title="The tunnel, unrolled",
        note="Left to right: chainage, m. Upwards: clock angle, the crown (0°) in the middle, 90° right.",
        missing=len(cracks) - len(placed),
        height=height + 26,
        pins=_apart(
            [
                Pin(round((x - low) / (high - low) * WIDTH, 1), y(crack.clock_deg or 0.0), turn, crack.severity)
                for (crack, turn), x in zip(placed[:1000], along, strict=False)
            ]
        ),
        x_ticks=tuple(Tick((v - low) / (high - low) * WIDTH, f"{v:g}") for v in steps(low, high, 8)),
        y_ticks=tuple(Tick(y(v), f"{v % 360:g}°") for v in (-90, 0, 90)),
        unit="m",
    )


def along_flight(cracks: Sequence[tuple[CrackRow, int]], record: FlightRecord) -> Plan | None:
    """Draw how many cracks are seen best where in the flight, by their severity."""
    last = max((frame.index for frame in record.frames()), default=-1)
    if last < 1 or not cracks:
        return None
    bars = min(MOST_BARS, last + 1)
    counts: dict[int, Counter[Severity]] = {}
    for crack, _ in cracks:
        counts.setdefault(crack.frame * bars // (last + 1), Counter())[crack.severity] += 1
    most = max(sum(of.values()) for of in counts.values())
    left, bottom, height = 30.0, 180.0, 206.0
    wide = (WIDTH - left) / bars
    drawn = []
    for place, of in sorted(counts.items()):
        parts, base = [], bottom
        for severity in SEVERITIES:
            if of[severity]:
                tall = of[severity] / most * (bottom - 12)
                base -= tall
                parts.append((severity, round(base, 1), round(tall, 1)))
        drawn.append(Bar(round(left + place * wide, 1), round(max(wide - 1.5, wide * 0.6), 1), tuple(parts)))
    return Plan(
        title="Along the flight",
        note="No way is known: how many cracks are seen best in which frame, in the order of the flight.",
        height=height,
        bars=drawn,
        x_ticks=tuple(
            Tick(left + (v + 0.5) / (last + 1) * (WIDTH - left), f"{v:g}") for v in steps(0, last, 10) if v == int(v)
        ),
        y_ticks=tuple(Tick(bottom - v / most * (bottom - 12), f"{v:g}") for v in steps(0, most, 4) if v == int(v)),
        unit="frame",
    )


def _rows(low: Float64, high: Float64) -> tuple[list[Row], float]:
    """Break a strip into rows that fit a page; return them and px per mm."""
    length, height = (high - low).tolist()
    count = min(MOST_ROWS, max(1, math.floor(math.sqrt(0.6 * length / height))))
    part = length / count
    scale = min(WIDTH / part, (TALLEST - count * ROW_GAP) / count / height)
    part = WIDTH / scale if count == 1 else part  # a tall wall stands in the middle of its row
    left = low[0] - (part - length) / 2 if count == 1 else low[0]
    rows = []
    for turn in range(count):
        x = left + turn * part
        top = turn * (height * scale + ROW_GAP)
        view = f"{x:.1f} {-high[1]:.1f} {part:.1f} {height:.1f}"
        ticks = tuple(Tick(round((v * 1000 - x) * scale, 1), f"{v:g}") for v in steps(x / 1000, (x + part) / 1000, 8))
        rows.append(Row(round(top, 1), round(height * scale, 1), view, ticks))
    return rows, scale


def _pin(at: Float64, crack: CrackRow, turn: int, rows: list[Row], scale: float) -> Pin:
    """Put a number beside a point of the surface, in the row that shows it."""
    views = [[float(value) for value in row.view.split()] for row in rows]
    place = next((n for n, view in enumerate(views) if view[0] <= at[0] <= view[0] + view[2]), 0)
    x = (float(at[0]) - views[place][0]) * scale
    y = rows[place].y + (-float(at[1]) - views[place][1]) * scale
    return Pin(round(x, 1), round(y, 1), turn, crack.severity)


def _apart(pins: Sequence[Pin]) -> list[Pin]:
    """Take the number from pins that would cover that of a worse crack; the pin stays."""
    kept: list[Pin] = []
    numbered: list[tuple[float, float]] = []
    for turn, pin in enumerate(pins):
        free = all(abs(pin.x - x) > 26 or abs(pin.y - y) > 18 for x, y in numbered)
        if turn < MOST_PINS and free:
            numbered.append((pin.x, pin.y))
            kept.append(pin)
        else:
            kept.append(Pin(pin.x, pin.y, 0, pin.severity))
    return kept[::-1]  # the worst are drawn last


def _path(line: Float64, grain_mm: float) -> str:
    """Return a line in SVG's words, mm, y downwards; points nearer to each other than the grain are one."""
    cells = np.rint(line / grain_mm)
    fresh = np.concatenate([[True], (np.diff(cells, axis=0) != 0).any(axis=1)])
    points = line[fresh]
    if len(points) == 1:
        points = np.vstack([points, points + grain_mm])
    return "M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in points.tolist())


def _metres(value: float) -> str:
    return f"{value / 1000:g} km" if value >= 1000 else f"{value:g} m" if value >= 1 else f"{value * 100:g} cm"
