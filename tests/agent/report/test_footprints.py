"""What frames saw, on the map, against the pinhole by hand and degrees from tables."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest

from agent.contract.flight import FrameRow, SightRow
from agent.record import FlightRecorder, read_flight
from agent.report.footprints import footprint
from agent.report.geojson import write_coverage
from agent.report.unplaced import UnplacedRecord
from tests.support import flights
from tests.support.told import told

LAT_M, LON_M = 111_267.0, 68_678.0  # of a degree at 52 N, from tables


def row(pitch: float, *, yaw: float = 0.0, ground: bool = True, index: int = 0, **changed: Any) -> FrameRow:
    """30 m from the ground or a wall, through 1000 px of focal length, 640 x 480 px."""
    slant = pitch + 90 if ground else pitch
    sight = SightRow(
        focal_px=(1000, 1000),
        principal_px=(319.5, 239.5),
        distance_mm=30_000,
        tilt_deg=abs(slant),
        toward_deg=90 if slant > 0 else 270,
        attitude_deg=(yaw, pitch, 0),
    )
    known = {"lat": 52.0, "lon": 13.0, "sight": sight, "width": 640, "height": 480, "cracks": 0, **changed}
    return flights.rows(index)[0].model_copy(update=known)


def by_map(ring: tuple[tuple[float, float], ...]) -> float:
    """Signed area, m2, > 0 counter-clockwise with north up and east right."""
    metres = [((lon - 13) * LON_M, (lat - 52) * LAT_M) for lon, lat in ring]
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(metres)) / 2


@pytest.mark.parametrize("yaw", [0.0, 77.0, 200.0])
def test_straight_down_it_is_the_picture_times_its_scale(yaw: float) -> None:
    seen = footprint(row(-90, yaw=yaw))
    assert seen is not None
    assert seen.area_m2 == pytest.approx(640 * 480 * 0.03**2)
    assert seen.ring is not None
    assert seen.ring[0] == seen.ring[-1]
    assert by_map(seen.ring) == pytest.approx(640 * 480 * 0.03**2, rel=1e-3)


def test_at_a_slant_it_is_the_trapezium_ahead_of_the_camera() -> None:
    seen = footprint(row(-60))
    height = 30 * math.sin(math.radians(60))
    half = math.degrees(math.atan(240 / 1000))
    reach = [height / math.tan(math.radians(60 + off)) for off in (half, -half)]  # from below the camera, northwards
    slant = [height / math.sin(math.radians(60 + off)) * math.cos(math.radians(half)) for off in (half, -half)]
    breadth = [0.64 * one for one in slant]
    want = sum(breadth) / 2 * (reach[1] - reach[0])
    assert seen is not None
    assert seen.area_m2 == pytest.approx(want, rel=1e-6)
    assert seen.ring is not None
    assert by_map(seen.ring) == pytest.approx(want, rel=1e-3)
    north = [(lat - 52) * LAT_M for _, lat in seen.ring]
    assert told(min(north), max(north)) == (pytest.approx(reach[0], rel=1e-3), pytest.approx(reach[1], rel=1e-3))


def test_an_upright_wall_has_an_area_and_is_a_line_on_the_map() -> None:
    seen = footprint(row(0, ground=False))
    assert seen is not None
    assert (seen.ring, round(seen.area_m2, 3)) == (None, 276.48)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"lat": None, "lon": None}, id="no position"),
        pytest.param({"sight": None}, id="no scale"),
        pytest.param({"status": "skipped"}, id="not inferred"),
    ],
)
def test_what_is_not_known_is_not_made_up(changed: dict[str, Any]) -> None:
    assert footprint(row(-90, **changed)) is None


def test_without_attitude_or_with_the_horizon_in_view_there_is_none() -> None:
    known = row(-90)
    assert known.sight is not None
    assert footprint(row(-90, sight=known.sight.model_copy(update={"attitude_deg": None}))) is None
    assert footprint(row(-10)) is None


def test_the_file_has_a_polygon_for_each_frame_and_none_without_positions(tmp_path: Path) -> None:
    with FlightRecorder.open(tmp_path / "r", flights.header()) as recorder:
        recorder.add(row(-90))
        recorder.add(row(0, ground=False, index=1))
        recorder.add(row(-90, index=2, sight=None))
    record = read_flight(tmp_path / "r")
    write_coverage(record, tmp_path / "c.geojson")
    features = json.loads((tmp_path / "c.geojson").read_bytes())["features"]
    assert [(one["properties"]["frame"], one["geometry"] and one["geometry"]["type"]) for one in features] == [
        (0, "Polygon"),
        (1, None),
    ]
    assert len(features[0]["geometry"]["coordinates"][0]) == 33
    write_coverage(UnplacedRecord.of(record), tmp_path / "c.geojson")
    assert json.loads((tmp_path / "c.geojson").read_bytes())["features"] == []
