"""What is handed on is read by the tools that people read it with, and says what the flight was."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
from pathlib import Path

import ezdxf
import numpy as np
import pandas as pd
import pypdf
import pytest
from pycocotools.coco import COCO

from agent.record import FlightRecorder, read_flight
from agent.record.reviews import Reviews
from agent.simulate.write import read_truth
from tests.hand_on.conftest import LAT, LON, Flown, pixels
from tests.support import flights
from tests.support.commands import crack


@pytest.fixture(scope="module")
def handed(flown: Flown, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("handed") / "out"
    formats = "html,geojson,gpkg,csv,coco,dxf"
    done = crack("crack-agent", "report", flown.record, "--out", out, "--format", formats)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out / "report.html")
    return out


def _layers(ogrinfo: str, path: Path) -> dict[str, str]:
    done = subprocess.run(
        [ogrinfo, "-al", str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OGR_WKT_PRECISION": "15"},
    )
    assert "Warning" not in done.stderr + done.stdout
    parts = re.split(r"^Layer name: (.*)$", done.stdout, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _points(layer: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"^ +POINT \((\S+) (\S+)\)", layer, flags=re.MULTILINE)]


class TestPlacesOnEarth:
    @pytest.mark.parametrize(("file", "layer"), [("cracks.geojson", "cracks"), ("cracks.gpkg", "cracks")])
    def test_cracks_lie_where_the_camera_was(
        self, handed: Path, flown: Flown, ogrinfo: str, file: str, layer: str
    ) -> None:
        found = _layers(ogrinfo, handed / file)[layer]
        best = [frame.index for frame, _ in read_flight(flown.record).whole_cracks()]
        true = [flown.place(index)[::-1] for index in best]
        assert np.allclose(_points(found), true, rtol=0, atol=2e-8)
        extent = re.search(r"Extent: \((\S+), (\S+)\) - \((\S+), (\S+)\)", found)
        assert extent is not None
        low, high = np.min(true, axis=0), np.max(true, axis=0)
        assert np.allclose([float(one) for one in extent.groups()], [*low, *high], rtol=0, atol=1e-6)
        assert low[0] < high[0]
        assert 'GEOGCRS["WGS 84"' in found
        assert 'ID["EPSG",4326]]' in found

    def test_the_way_of_the_camera_is_a_layer(self, handed: Path, flown: Flown, ogrinfo: str) -> None:
        found = _points(_layers(ogrinfo, handed / "cracks.gpkg")["frames"])
        assert np.allclose(found, [flown.place(index)[::-1] for index in range(len(flown.flight))], rtol=0, atol=2e-8)


class TestDevelopedView:
    def test_geopackage_has_lines_and_coverage_in_metres(self, handed: Path, flown: Flown, ogrinfo: str) -> None:
        layers = _layers(ogrinfo, handed / "cracks.gpkg")
        assert set(layers) == {"cracks", "frames", "crack_lines", "coverage"}
        assert "Undefined Cartesian SRS" in layers["crack_lines"]
        x = [
            float(one) for one in re.findall(r"[(,](-?[\d.]+) -?[\d.]+", layers["crack_lines"].split("MULTILINE", 1)[1])
        ]
        length, _ = flown.flight.wall_mm
        assert min(x) > -0.05
        assert max(x) < length / 1000 + 0.05

    def test_drawn_lines_lie_on_the_true_cracks(self, handed: Path, flown: Flown) -> None:
        drawing = ezdxf.readfile(handed / "cracks.dxf")
        assert drawing.header["$INSUNITS"] == 4  # mm
        assert not drawing.audit().has_errors
        lines = [line for line in drawing.modelspace().query("LWPOLYLINE") if line.dxf.layer.startswith("CRACK_")]
        drawn = np.array([(x, -y) for line in lines for x, y, *_ in line.get_points()])
        truth = read_truth(flown.record.parent / "flight")
        true = np.array([xy for one in truth.cracks for branch in one.branches for xy in branch.line_mm])
        apart = np.min(np.hypot(*(drawn[:, None] - true[None])[..., :].transpose(2, 0, 1)), axis=1)
        assert len(drawn) > 100
        # mm; a px is 0.5 mm, and a few of what is drawn are false alarms
        assert np.quantile(apart, 0.8) < 5
        widths = [width for line in lines for *_, width, _, _ in line.get_points()]
        assert 0.2 < np.median([width for width in widths if width]) < 6

    def test_the_drawing_says_what_it_leaves_out(self, handed: Path, flown: Flown) -> None:
        texts = [text.dxf.text for text in ezdxf.readfile(handed / "cracks.dxf").modelspace().query("TEXT")]
        cracks = read_flight(flown.record).header.cracks
        assert any("units: mm" in text for text in texts)
        assert f"{cracks} cracks drawn, 0 without a place on the surface not drawn" in texts

    def test_another_reader_reads_the_drawing(self, handed: Path, ogrinfo: str) -> None:
        assert "LINESTRING" in _layers(ogrinfo, handed / "cracks.dxf")["entities"]


# pycocotools 2.0.11 under numpy 2
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
class TestCoco:
    def test_masks_are_the_records(self, handed: Path, flown: Flown) -> None:
        coco = COCO(str(handed / "coco/annotations.json"))
        record = read_flight(flown.record)
        kept = {crack.crack_id for _, crack in record.whole_cracks()}
        sightings = {
            (frame.index, crack.bbox_x, crack.bbox_y): crack for frame, cracks in record.sightings() for crack in cracks
        }
        annotations = coco.loadAnns(coco.getAnnIds())
        assert len(coco.getImgIds()) == len(flown.flight)
        assert len(annotations) >= len(kept)
        for one in annotations:
            crack_row = sightings[one["image_id"], one["bbox"][0], one["bbox"][1]]
            mask = coco.annToMask(one)
            ys, xs = np.nonzero(mask)
            assert mask.sum() == one["area"] == crack_row.area_px
            assert [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1] == one["bbox"]
            assert one["category_id"] in {1, 2, 3, 4, 5, 6}
        assert coco.loadCats([1])[0]["name"] == "crack"

    def test_its_pictures_are_those_that_were_inferred(self, handed: Path, flown: Flown) -> None:
        coco = COCO(str(handed / "coco/annotations.json"))
        for one in coco.loadImgs(coco.getImgIds()):
            picture = handed / "coco" / one["file_name"]
            kept = flown.record / "frames" / picture.name
            assert picture.read_bytes() == kept.read_bytes()
            assert pixels(picture).shape[:2] == (one["height"], one["width"])

    def test_photos_on_their_side_are_turned_as_their_masks_are(self, photographed: Path, tmp_path: Path) -> None:
        done = crack("crack-agent", "report", photographed, "--out", tmp_path / "out", "--format", "coco")
        assert done.returncode == 0, done.stderr
        coco = COCO(str(tmp_path / "out/coco/annotations.json"))
        sizes = {one["file_name"]: (one["height"], one["width"]) for one in coco.loadImgs(coco.getImgIds())}
        assert set(sizes) == {"images/a.jpg", "images/b.png", "images/c.png"}
        for name, size in sizes.items():
            assert pixels(tmp_path / "out/coco" / name).shape[:2] == size


class TestTable:
    def test_pandas_reads_the_figures(self, handed: Path, flown: Flown) -> None:
        table = pd.read_csv(handed / "cracks.csv")
        cracks = [crack_row for _, crack_row in read_flight(flown.record).whole_cracks()]
        assert list(table["crack_id"]) == [one.crack_id for one in cracks]
        assert np.allclose(table["length_mm"], np.array([one.length_mm for one in cracks], float), rtol=0, atol=1e-9)
        assert table["gradable"].dtype == np.bool_
        assert table["lat"].between(LAT - 1e-6, LAT + 1e-3).all()
        assert table["lon"].between(LON - 1e-6, LON + 1e-3).all()

    def test_the_geopackage_holds_the_same_table(self, handed: Path) -> None:
        import sqlite3

        with (handed / "cracks.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        with sqlite3.connect(handed / "cracks.gpkg") as base:
            rows = base.execute("SELECT crack_id, length_mm, severity, frame FROM cracks ORDER BY fid").fetchall()
        base.close()
        assert rows == [
            (line["crack_id"], float(line["length_mm"]), line["severity"], int(line["frame"])) for line in lines
        ]


def test_the_page_is_below_its_limit_and_names_the_standard(handed: Path) -> None:
    page = handed / "report.html"
    assert page.stat().st_size < 20_000_000
    assert "AASHTO Manual for Bridge Element Inspection" in page.read_text()


def test_a_person_s_tools_find_the_geojson_valid(handed: Path) -> None:
    collection = json.loads((handed / "cracks.geojson").read_text())
    assert "crs" not in collection
    for feature in collection["features"]:
        lon, lat = feature["geometry"]["coordinates"]
        assert -180 <= lon <= 180
        assert -90 <= lat <= 90


def test_hostile_names_are_text_in_every_format(tmp_path: Path, chromium: str, ogrinfo: str) -> None:
    assert chromium
    with FlightRecorder.open(tmp_path / "run", flights.header(mission_id=flights.HOSTILE, device="x" * 10_000)) as run:
        run.add(*flights.rows(0, flights.HOSTILE))
    reviews = Reviews(tmp_path / "run")
    reviews.verdict(next(read_flight(tmp_path / "run").cracks()).crack_id, "confirmed", note=flights.HOSTILE)
    done = crack("crack-agent", "report", tmp_path / "run", "--out", tmp_path / "out", "--format", "all")
    assert done.returncode == 0, done.stderr
    shown = "<img src=x onerror=alert(1)>\"'&\\u{a}\\u{202e}gnp.exe"
    paper = "".join(page.extract_text() for page in pypdf.PdfReader(tmp_path / "out/report.pdf").pages)
    assert shown.replace(" ", "") in re.sub(r"\s", "", paper)
    texts = [text.dxf.text for text in ezdxf.readfile(tmp_path / "out/cracks.dxf").modelspace().query("TEXT")]
    assert any(shown in text for text in texts)
    assert shown in _layers(ogrinfo, tmp_path / "out/cracks.gpkg")["cracks"]
    coco = json.loads((tmp_path / "out/coco/annotations.json").read_text())
    assert coco["info"]["mission_id"] == flights.HOSTILE
    table = pd.read_csv(tmp_path / "out/cracks.csv")
    assert str(table["frame_name"][0]).startswith("<img src=x")
