from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from agent.contract.frame import UNKNOWN_SCALE
from agent.record import FlightRecorder, read_flight
from agent.report.geojson import write_geojson
from agent.report.table import write_csv
from tests.support import flights


def _no_such_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


class TestGeoJson:
    def test_every_crack_is_a_feature_without_a_place(self, tmp_path: Path) -> None:
        flights.write_flight(tmp_path, 2)
        write_geojson(read_flight(tmp_path), tmp_path / "cracks.geojson")
        content = (tmp_path / "cracks.geojson").read_bytes()
        collection = json.loads(content.decode("utf-8"), parse_constant=_no_such_constant)
        assert collection["type"] == "FeatureCollection"
        assert "crs" not in collection  # RFC 7946 knows only WGS 84
        cracks = list(read_flight(tmp_path).cracks())
        assert [feature["id"] for feature in collection["features"]] == [crack.id for crack in cracks]
        for feature, crack in zip(collection["features"], cracks, strict=True):
            assert set(feature) == {"type", "id", "geometry", "properties"}
            assert (feature["type"], feature["geometry"]) == ("Feature", None)
            assert feature["properties"]["branches"][0]["line_px"] == [list(xy) for xy in crack.branches[0].line_px]
            assert feature["properties"]["length_mm"] == crack.length_mm
            assert feature["properties"]["frame_name"] == f"photo{crack.frame}"

    def test_a_flight_without_cracks_is_an_empty_collection(self, tmp_path: Path) -> None:
        flights.write_flight(tmp_path, 0)
        write_geojson(read_flight(tmp_path), tmp_path / "cracks.geojson")
        assert json.loads((tmp_path / "cracks.geojson").read_bytes()) == {"type": "FeatureCollection", "features": []}

    def test_a_hostile_name_is_a_string_in_it(self, tmp_path: Path) -> None:
        with FlightRecorder.open(tmp_path, flights.header()) as recorder:
            recorder.add(*flights.rows(0, flights.HOSTILE))
        write_geojson(read_flight(tmp_path), tmp_path / "cracks.geojson")
        features = json.loads((tmp_path / "cracks.geojson").read_bytes())["features"]
        assert features[0]["properties"]["frame_name"] == flights.HOSTILE


class TestCsv:
    def test_every_crack_is_a_line_with_units_in_the_header(self, tmp_path: Path) -> None:
        flights.write_flight(tmp_path, 2)
        lines = _csv(tmp_path)
        cracks = list(read_flight(tmp_path).cracks())
        assert [line["id"] for line in lines] == [crack.id for crack in cracks]
        assert float(lines[0]["length_mm"]) == cracks[0].length_mm
        assert float(lines[0]["width_p95_px"]) == 3.0
        assert (lines[1]["width_p95_mm"], lines[1]["gradable"]) == ("", "false")
        assert (lines[2]["frame"], lines[2]["frame_name"], lines[2]["media_time_s"]) == ("1", "photo1", "0.04")

    def test_unknown_millimetres_are_empty(self, tmp_path: Path) -> None:
        with FlightRecorder.open(tmp_path, flights.header()) as recorder:
            recorder.add(*flights.rows(0, scale=UNKNOWN_SCALE))
        line = _csv(tmp_path)[0]
        assert {line[name] for name in line if name.endswith(("_mm", "_mm2", "per_px"))} == {""}
        assert line["scale_source"] == "none"

    @pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"])
    def test_a_name_is_never_a_formula(self, tmp_path: Path, name: str) -> None:
        with FlightRecorder.open(tmp_path, flights.header()) as recorder:
            recorder.add(*flights.rows(0, name))
        assert _csv(tmp_path)[0]["frame_name"] == f"'{name}"

    def test_commas_quotes_and_newlines_stay_in_their_cell(self, tmp_path: Path) -> None:
        name = 'a,"b"\nc\u202ed'
        with FlightRecorder.open(tmp_path, flights.header()) as recorder:
            recorder.add(*flights.rows(0, name))
        assert _csv(tmp_path)[0]["frame_name"] == name


def _csv(folder: Path) -> list[dict[str, str]]:
    write_csv(read_flight(folder), folder / "cracks.csv")
    with (folder / "cracks.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))
