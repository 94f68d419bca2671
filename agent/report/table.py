"""Cracks as a table, for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from agent.contract.flight import CrackRow, FrameRow
from agent.record import FlightRecord
from agent.record.layout import partial

Cell = str | float | bool | None
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
COLUMNS: Final[dict[str, Callable[[FrameRow, CrackRow], Cell]]] = {
    "frame": lambda frame, _: frame.index,
    "frame_name": lambda frame, _: frame.name,
    "source": lambda frame, _: frame.source,
    "camera": lambda frame, _: frame.camera,
    "media_time_s": lambda frame, _: None if frame.media_time_ns is None else frame.media_time_ns / 1e9,
    "crack_id": lambda _, crack: crack.crack_id,
    "id": lambda _, crack: crack.id,
    "revision": lambda _, crack: crack.revision,
    "kind": lambda _, crack: crack.kind,
    "event": lambda _, crack: crack.event,
    "sightings": lambda _, crack: crack.sightings,
    "severity": lambda _, crack: crack.severity,
    "severity_standard": lambda _, crack: crack.severity_standard,
    "severity_class": lambda _, crack: crack.severity_class,
    "severity_clause": lambda _, crack: crack.severity_clause,
    "severity_p": lambda _, crack: crack.severity_p,
    "severity_reason": lambda _, crack: crack.severity_reason,
    "pattern": lambda _, crack: crack.pattern,
    "branch_points": lambda _, crack: crack.branch_points,
    "confidence": lambda _, crack: crack.confidence,
    "gradable": lambda _, crack: crack.gradable,
    "not_gradable_reason": lambda _, crack: crack.not_gradable_reason,
    "width_p95_mm": lambda _, crack: crack.width_mm,
    "width_p95_lo_mm": lambda _, crack: crack.width_lo_mm,
    "width_p95_hi_mm": lambda _, crack: crack.width_hi_mm,
    "width_p50_mm": lambda _, crack: crack.width_p50_mm,
    "width_max_mm": lambda _, crack: crack.width_max_mm,
    "length_mm": lambda _, crack: crack.length_mm,
    "area_mm2": lambda _, crack: crack.area_mm2,
    "width_p95_px": lambda _, crack: crack.width_px,
    "width_p95_lo_px": lambda _, crack: crack.width_lo_px,
    "width_p95_hi_px": lambda _, crack: crack.width_hi_px,
    "width_p50_px": lambda _, crack: crack.width_p50_px,
    "width_max_px": lambda _, crack: crack.width_max_px,
    "length_px": lambda _, crack: crack.length_px,
    "area_px": lambda _, crack: crack.area_px,
    "orientation_deg": lambda _, crack: crack.orientation_deg,
    "scale_mm_per_px": lambda _, crack: crack.scale_mm_px,
    "scale_source": lambda _, crack: crack.scale_source,
    "lat": lambda _, crack: crack.lat,
    "lon": lambda _, crack: crack.lon,
    "alt_m": lambda _, crack: crack.alt_m,
    "chainage_m": lambda _, crack: crack.chainage_m,
    "clock_deg": lambda _, crack: crack.clock_deg,
    "position_of": lambda _, crack: crack.position_of,
    "bbox_x_px": lambda _, crack: crack.bbox_x,
    "bbox_y_px": lambda _, crack: crack.bbox_y,
    "bbox_width_px": lambda _, crack: crack.bbox_w,
    "bbox_height_px": lambda _, crack: crack.bbox_h,
}

REVIEW: Final = "review"  # the last column, since older readers know the others
ROUTE_COLUMNS: Final[dict[str, Callable[[FrameRow], Cell]]] = {
    "frame": lambda frame: frame.index,
    "frame_name": lambda frame: frame.name,
    "source": lambda frame: frame.source,
    "camera": lambda frame: frame.camera,
    "media_time_s": lambda frame: None if frame.media_time_ns is None else frame.media_time_ns / 1e9,
    "status": lambda frame: frame.status,
    "reason": lambda frame: frame.reason,
    "cracks": lambda frame: frame.cracks,
    "scale_mm_per_px": lambda frame: frame.scale_mm_px,
    "alt_m": lambda frame: frame.alt_m,
    "chainage_m": lambda frame: frame.chainage_m,
    "clock_deg": lambda frame: frame.clock_deg,
}
_INTEGERS: Final = frozenset({"frame", "revision", "sightings", "branch_points", "area_px", "cracks"})
_REALS: Final = ("_mm", "_mm2", "_px", "_m", "_s", "_deg", "_per_px", "_p")
_REAL_NAMES: Final = frozenset({"confidence", "lat", "lon"})


def sql_type(column: str) -> str:
    """Return the type that a column has in a GeoPackage."""
    if column in _INTEGERS or column.startswith("bbox_"):
        return "INTEGER"
    if column == "gradable":
        return "BOOLEAN"
    return "REAL" if column in _REAL_NAMES or column.endswith(_REALS) else "TEXT"


def write_csv(record: FlightRecord, path: Path, *, reviews: Mapping[str, str] | None = None) -> None:
    """Write a line per crack, however many frames show it; frame, box and width are those of its best sighting.

    Joints, cables, shadows, stains and prints have their lines too, told by `kind`. UTF-8, units in the names of the
    columns, unknown figures empty.

    Args:
        record: all figures come from it.
        path: of the file.
        reviews: what people said last, by crack id.

    Raises:
        InputError: the record was altered.
        OutputError: the file cannot be written.
    """
    with partial(path) as beside, beside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        table = csv.writer(file)
        table.writerow([*COLUMNS, REVIEW])
        for frame, crack in record.whole_cracks():
            cells = [value(frame, crack) for value in COLUMNS.values()]
            table.writerow([_harmless(cell) for cell in (*cells, (reviews or {}).get(crack.crack_id))])


def _harmless(cell: Cell) -> Cell:
    """Keep a spreadsheet from running a name as a formula."""
    if isinstance(cell, bool):
        return str(cell).lower()
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
