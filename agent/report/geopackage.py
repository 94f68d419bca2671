"""Cracks as a GeoPackage (OGC 12-128r18), for GIS: points in WGS 84, centre lines and coverage on the surface."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, Literal

from agent.contract.flight import FLIGHT_FILE
from agent.errors import OutputError
from agent.record import FlightRecord
from agent.record.layout import partial
from agent.report.developed import Developed
from agent.report.figures import plain
from agent.report.table import COLUMNS, ROUTE_COLUMNS, Cell, sql_type

APPLICATION_ID: Final = 0x47504B47  # "GPKG"
USER_VERSION: Final = 10300  # 1.3.0
WGS84: Final = 4326
ON_SURFACE: Final = -1  # undefined Cartesian: metres on the facade or the unrolled lining
_BATCH: Final = 1000
Xy = tuple[float, float]
Kind = Literal["POINT", "MULTILINESTRING", "POLYGON"]
_CODES: Final[dict[Kind, int]] = {"POINT": 1, "MULTILINESTRING": 5, "POLYGON": 3}
_WKT: Final = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
    'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],'
    'UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],AUTHORITY["EPSG","4326"]]'
)
_TABLES: Final = """
CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
  description TEXT DEFAULT '', last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL,
  geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
  CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name), CONSTRAINT uk_gc_table_name UNIQUE (table_name),
  CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id));
"""
_SYSTEMS: Final = (
    ("Undefined Cartesian SRS", -1, "NONE", -1, "undefined", "undefined Cartesian coordinate reference system"),
    ("Undefined geographic SRS", 0, "NONE", 0, "undefined", "undefined geographic coordinate reference system"),
    ("WGS 84 geodetic", WGS84, "EPSG", WGS84, _WKT, "longitude, latitude, degrees"),
)


def write_geopackage(record: FlightRecord, path: Path, *, developed: Developed, reviews: Mapping[str, str]) -> None:
    """Write the layers `cracks` and `frames` and, where the surface is known, `crack_lines` and `coverage`.

    The first two are points in WGS 84, without a geometry where there is no position; the others are in m on the
    surface, x to the right or along the tunnel, y up or along the arc from the crown.

    Args:
        record: all figures come from it.
        path: of the file.
        developed: the record's cracks on the surface.
        reviews: what people said last, by crack id.

    Raises:
        InputError: the record was altered.
        OutputError: the file cannot be written.
    """
    with partial(path) as beside:
        beside.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(beside)) as base:
                _Package(base, _changed(record)).fill(record, developed, reviews)
        except sqlite3.OperationalError as exc:
            raise OutputError(f"{path}: cannot be written ({exc}); choose another folder, or make room there") from exc
        finally:
            for end in ("-journal", "-wal"):
                with suppress(OSError):
                    beside.with_name(beside.name + end).unlink(missing_ok=True)


class _Package:
    """A GeoPackage that is being filled."""

    def __init__(self, base: sqlite3.Connection, changed: str) -> None:
        self._base = base
        self._changed = changed
        base.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        base.execute(f"PRAGMA user_version = {USER_VERSION}")
        base.execute("PRAGMA journal_mode = MEMORY")
        base.executescript(_TABLES)
        base.executemany("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, ?)", _SYSTEMS)

    def fill(self, record: FlightRecord, developed: Developed, reviews: Mapping[str, str]) -> None:
        points = {name: sql_type(name) for name in COLUMNS}
        self._layer("cracks", "POINT", WGS84, {**points, "review": "TEXT"}, _cracks(record, reviews))
        self._layer("frames", "POINT", WGS84, {name: sql_type(name) for name in ROUTE_COLUMNS}, _frames(record))
        if developed.stretches:
            columns = {"crack_id": "TEXT", "kind": "TEXT", "severity": "TEXT", "width_p95_mm": "REAL"}
            self._layer("crack_lines", "MULTILINESTRING", ON_SURFACE, columns, _lines(record, developed))
        areas = developed.areas(record.coverage())
        if areas:
            columns = {"camera": "TEXT", "state": "TEXT", "reason": "TEXT", "area_m2": "REAL"}
            rows = (
                (
                    (area.camera, area.state, area.reason, area.area_m2),
                    [[(x / 1e3, -y / 1e3) for x, y in o] for o in area.outlines_mm],
                )
                for area in areas
            )
            self._layer("coverage", "POLYGON", ON_SURFACE, columns, rows)
        self._base.commit()

    def _layer(
        self,
        name: str,
        kind: Kind,
        system: int,
        columns: Mapping[str, str],
        rows: Iterable[tuple[Sequence[Cell], list[list[Xy]]]],
    ) -> None:
        """Write a table of features: their cells and their rings, lines or one point; none is no geometry."""
        named = ", ".join(f'"{column}" {of}' for column, of in columns.items())
        self._base.execute(f'CREATE TABLE "{name}" (fid INTEGER PRIMARY KEY AUTOINCREMENT, geom {kind}, {named})')
        marks = ", ".join("?" * (len(columns) + 1))
        listed = ", ".join(f'"{column}"' for column in columns)
        insert = f'INSERT INTO "{name}" (geom, {listed}) VALUES ({marks})'  # noqa: S608 - names of ours
        box: list[float] | None = None
        for cells, parts in rows:
            self._base.execute(insert, (_geometry(kind, system, parts), *map(_storable, cells)))
            for x, y in (xy for part in parts for xy in part):
                box = [x, y, x, y] if box is None else [min(box[0], x), min(box[1], y), max(box[2], x), max(box[3], y)]
        contents = (name, "features", name, "", self._changed, *(box or (None, None, None, None)), system)
        self._base.execute("INSERT INTO gpkg_contents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", contents)
        self._base.execute("INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', ?, ?, 0, 0)", (name, kind, system))


def _cracks(record: FlightRecord, reviews: Mapping[str, str]) -> Iterator[tuple[list[Cell], list[list[Xy]]]]:
    for frame, crack in record.whole_cracks():
        cells = [*(value(frame, crack) for value in COLUMNS.values()), reviews.get(crack.crack_id)]
        yield cells, _point(crack.lon, crack.lat)


def _frames(record: FlightRecord) -> Iterator[tuple[list[Cell], list[list[Xy]]]]:
    for frame in record.frames():
        yield [value(frame) for value in ROUTE_COLUMNS.values()], _point(frame.lon, frame.lat)


def _lines(record: FlightRecord, developed: Developed) -> Iterator[tuple[list[Cell], list[list[Xy]]]]:
    for _, crack in record.whole_cracks():
        found = developed.stretches.get(crack.crack_id)
        if found:
            lines = [[(x / 1e3, y / 1e3) for x, y in stretch.xy_mm.tolist()] for stretch in found]
            cells = [crack.crack_id, crack.kind, crack.severity, crack.width_mm]
            yield cells, [line if len(line) > 1 else line * 2 for line in lines]


def _point(lon: float | None, lat: float | None) -> list[list[Xy]]:
    return [] if lon is None or lat is None else [[(lon, lat)]]


def _storable(cell: Cell) -> Cell:
    """Half characters of undecodable file names are no UTF-8, and would stop the whole file."""
    return plain(cell) if isinstance(cell, str) and not cell.isprintable() else cell


def _geometry(kind: Kind, system: int, parts: list[list[Xy]]) -> bytes | None:
    """Return GeoPackage's binary geometry: its header without an envelope, then WKB, little-endian."""
    if not parts:
        return None
    header = b"GP\0\x01" + struct.pack("<i", system)
    if kind == "POINT":
        return header + struct.pack("<BI2d", 1, 1, *parts[0][0])
    body = [struct.pack("<BII", 1, _CODES[kind], len(parts))]
    for part in parts:
        ring = part if kind == "MULTILINESTRING" or part[0] == part[-1] else [*part, part[0]]
        body.append(struct.pack("<BI", 1, 2) if kind == "MULTILINESTRING" else b"")
        body.append(struct.pack(f"<I{2 * len(ring)}d", len(ring), *(value for xy in ring for value in xy)))
    return header + b"".join(body)


def _changed(record: FlightRecord) -> str:
    """Return when the record was last written, as GeoPackage wants it."""
    when = datetime.fromtimestamp((record.folder / FLIGHT_FILE).stat().st_mtime, timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"
