"""Cracks as GeoJSON, for maps and GIS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from agent.contract.flight import Coverage, CoverageArea, CrackRow, FrameRow
from agent.place import earth
from agent.record import FlightRecord
from agent.record.jsonl import encode
from agent.record.layout import partial
from agent.report.footprints import footprint


def write_geojson(record: FlightRecord, path: Path, *, reviews: Mapping[str, str] | None = None) -> None:
    """Write a FeatureCollection (RFC 7946, WGS 84) with a feature per crack, however many frames show it.

    The geometry is a point where its position is known.

    The property `position_of` says whose position that is: the crack's, or only the camera's that saw it. Without a
    position the geometry is null: pixels or local millimetres would open as degrees near the equator. Centre lines
    stand in the properties, in px of the frame; the masks stay in the record.

    Args:
        record: all figures come from it.
        path: of the file.
        reviews: what people said last, by crack id.

    Raises:
        InputError: the record was altered.
        OutputError: the file cannot be written.
    """
    with partial(path) as beside, beside.open("wb") as file:
        file.write(b'{"type":"FeatureCollection","features":[')
        separator = b"\n"
        for frame, crack in record.whole_cracks():
            file.write(
                separator
                + encode(
                    _feature(record.header.mission_id, frame, crack, (reviews or {}).get(crack.crack_id)), indent=None
                )
            )
            separator = b",\n"
        file.write(b"\n]}\n")


def write_coverage(record: FlightRecord, path: Path) -> None:
    """Write the parts of the surface that were inspected, not gradable and never seen, and what each frame saw.

    Parts of level ground are polygons. Those of walls and linings have a null geometry, for no degrees are known of
    them; the outlines, mm on the surface, stand in the properties of all. Frames of known position, attitude and scale
    are polygons with the state `seen`, one over the other; a wall is a line on the map: then the geometry is null and
    the area stands alone.

    Raises:
        InputError: the record was altered.
        OutputError: the file cannot be written.
    """
    coverage = record.coverage()
    with partial(path) as beside, beside.open("wb") as file:
        file.write(b'{"type":"FeatureCollection","features":[')
        separator = b"\n"
        for area in coverage.areas if coverage else ():
            properties = {"mission_id": record.header.mission_id, **area.model_dump()}
            feature = {"type": "Feature", "geometry": _ground(coverage, area), "properties": properties}
            file.write(separator + encode(feature, indent=None))
            separator = b",\n"
        for seen in _seen(record):
            file.write(separator + encode(seen, indent=None))
            separator = b",\n"
        file.write(b"\n]}\n")


def _ground(coverage: Coverage | None, area: CoverageArea) -> dict[str, object] | None:
    """Return a part of the ground as a polygon; None for one of a wall or a lining."""
    if coverage is None or coverage.ground_lat is None or coverage.ground_lon is None or area.surface != "ground":
        return None
    rings = []
    for number, outline in enumerate(area.outlines_mm):
        points = [
            earth.moved(coverage.ground_lat, coverage.ground_lon, north_m=-y / 1000, east_m=x / 1000)
            for x, y in outline
        ]
        twice = sum(a[1] * b[0] - b[1] * a[0] for a, b in zip(points, [*points[1:], points[0]], strict=True))
        if (twice > 0) != (number == 0):  # RFC 7946: the outer ring counter-clockwise, those of holes clockwise
            points.reverse()
        rings.append([(round(lon, 9), round(lat, 9)) for lat, lon in [*points, points[0]]])
    return {"type": "Polygon", "coordinates": rings}


def _seen(record: FlightRecord) -> Iterator[dict[str, object]]:
    for frame in record.frames():
        seen = footprint(frame)
        if seen is not None:
            properties = {
                "mission_id": record.header.mission_id,
                "camera": frame.camera,
                "state": "seen",
                "frame": frame.index,
                "frame_name": frame.name,
                "area_m2": round(seen.area_m2, 6),
            }
            geometry = None if seen.ring is None else {"type": "Polygon", "coordinates": [seen.ring]}
            yield {"type": "Feature", "geometry": geometry, "properties": properties}


def _feature(mission_id: str, frame: FrameRow, crack: CrackRow, review: str | None) -> dict[str, object]:
    properties = {
        "mission_id": mission_id,
        "frame_name": frame.name,
        "source": frame.source,
        "media_time_ns": frame.media_time_ns,
        "review": review,
        **crack.model_dump(exclude={"id", "mask"}),
    }
    return {"type": "Feature", "id": crack.id, "geometry": _point(crack), "properties": properties}


def _point(crack: CrackRow) -> dict[str, object] | None:
    """Return the crack's place; without its height, which GeoJSON wants above the ellipsoid and cameras seldom tell."""
    if crack.lat is None or crack.lon is None:
        return None
    return {"type": "Point", "coordinates": [round(crack.lon, 8), round(crack.lat, 8)]}
