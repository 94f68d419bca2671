"""What the device itself can check of what is handed on; with the tools of the readers: tests/hand_on."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import sqlite3
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.contract.flight import CrackRow, FrameRow, PoseRow
from agent.errors import ConfigError, InputError
from agent.record import FlightRecord, FlightRecorder, read_flight
from agent.record.reviews import Reviews
from agent.report import charts, report_again
from agent.report.bare import bare_picture
from agent.report.developed import Developed
from agent.report.figures import round_length
from agent.report.formats import DEFAULT, FORMATS, parse_formats
from agent.report.html import TEMPLATES
from agent.report.plan import Places
from agent.report.unplaced import UnplacedRecord
from tests.support import flights

PLACE = {"lat": 46.98765, "lon": 7.43219, "alt_m": 543.5}


def _record(folder: Path, rows: list[tuple[FrameRow, list[CrackRow]]], **header: object) -> FlightRecord:
    with FlightRecorder.open(folder, flights.header(**header)) as recorder:
        for row, cracks in rows:
            recorder.add(row, cracks)
    return read_flight(folder)


def _placed(index: int, **places: object) -> tuple[FrameRow, list[CrackRow]]:
    row, cracks = flights.rows(index)
    known = {key: value for key, value in places.items() if key != "position_of"}
    return row.model_copy(update=known), [crack.model_copy(update=places) for crack in cracks]


class TestFormats:
    def test_by_default_it_needs_nothing_that_may_be_missing(self) -> None:
        assert parse_formats([]) == (DEFAULT, "keep")
        assert {"pdf", "dxf", "coco", "video"}.isdisjoint(DEFAULT)

    def test_names_stand_alone_or_with_commas(self) -> None:
        assert parse_formats(["csv,gpkg", "HTML"], pdf=True)[0] == {"csv", "gpkg", "html", "pdf"}
        assert parse_formats(["all"])[0] == set(FORMATS)
        chosen, positions = parse_formats(["all"], positions="none")
        assert chosen == set(FORMATS) - {"dxf"}
        assert positions == "none"

    @pytest.mark.parametrize(
        ("names", "positions", "told"),
        [
            (["pfd"], "keep", "--format pfd: there are html, pdf"),
            (["dxf"], "none", "--format dxf is made of positions"),
            ([], "hidden", "--position hidden: there are keep, none"),
        ],
    )
    def test_what_does_not_fit_is_named(self, names: list[str], positions: str, told: str) -> None:
        with pytest.raises(ConfigError, match=re.escape(told)):
            parse_formats(names, positions=positions)


class TestGeoPackage:
    def test_its_header_and_geometries_are_the_standards(self, tmp_path: Path) -> None:
        _record(tmp_path / "run", [_placed(0, **PLACE, position_of="camera"), flights.rows(1)])
        report_again(tmp_path / "run", tmp_path / "out", formats=["gpkg"])
        content = (tmp_path / "out/cracks.gpkg").read_bytes()
        assert content[68:72] == b"GPKG"
        assert struct.unpack(">I", content[60:64]) == (10300,)
        base = sqlite3.connect(tmp_path / "out/cracks.gpkg")
        rows = base.execute("SELECT geom, crack_id, width_p95_mm, gradable FROM cracks ORDER BY fid").fetchall()
        systems = base.execute("SELECT srs_id FROM gpkg_spatial_ref_sys ORDER BY 1").fetchall()
        extent = base.execute("SELECT min_x, min_y, max_x, max_y, srs_id FROM gpkg_contents").fetchone()
        base.close()
        assert systems == [(-1,), (0,), (4326,)]
        assert extent == (PLACE["lon"], PLACE["lat"], PLACE["lon"], PLACE["lat"], 4326)
        assert [row[0] is None for row in rows] == [False, False, True, True]
        magic, version, flags, srs, order, kind, x, y = struct.unpack("<2sBBiBI2d", rows[0][0])
        assert (magic, version, flags, srs, order, kind) == (b"GP", 0, 1, 4326, 1, 1)
        assert (x, y) == (PLACE["lon"], PLACE["lat"])
        assert [row[2:] for row in rows[:2]] == [(1.5, 1), (None, 0)]

    def test_a_hostile_name_is_a_cell(self, tmp_path: Path) -> None:
        _record(tmp_path / "run", [flights.rows(0, flights.HOSTILE), flights.rows(1, "x'); DROP TABLE cracks; --")])
        report_again(tmp_path / "run", tmp_path / "out", formats=["gpkg"])
        base = sqlite3.connect(tmp_path / "out/cracks.gpkg")
        names = [name for (name,) in base.execute("SELECT frame_name FROM cracks ORDER BY fid")]
        base.close()
        assert names[0].startswith("<img src=x onerror=alert(1)>\"'&\\u{a}")
        assert names[2] == "x'); DROP TABLE cracks; --"


class TestWithoutPositions:
    def test_rows_settings_and_outlines_lose_theirs(self, tmp_path: Path) -> None:
        pose = PoseRow(x_mm=1.0, y_mm=2.0, rotation_deg=0.0)
        row, cracks = _placed(0, **PLACE, chainage_m=12.25, clock_deg=33.0, position_of="surface")
        settings = {
            "place": {"tunnel": {"start_m": 98.5, "radius_m": 2.5}},
            "cameras": [{"place": {"tunnel": {"clock_deg": 7.5}}}],
            "coverage": {"target_m": [[0, 1], [2, 3], [4, 5]], "cell_mm": 10.0},
        }
        kept = _record(tmp_path, [(row.model_copy(update={"pose": pose}), cracks)], settings=settings)
        bare = UnplacedRecord.of(kept)
        frame, crack = next(bare.whole_cracks())
        assert (frame.lat, frame.lon, frame.alt_m, frame.chainage_m, frame.clock_deg, frame.pose) == (None,) * 6
        assert (crack.lat, crack.lon, crack.alt_m, crack.chainage_m, crack.clock_deg, crack.position_of) == (None,) * 6
        assert crack.width_mm == cracks[0].width_mm
        assert bare.header.settings == {
            "place": {"tunnel": {"start_m": "removed", "radius_m": 2.5}},
            "cameras": [{"place": {"tunnel": {"clock_deg": "removed"}}}],
            "coverage": {"target_m": "removed", "cell_mm": 10.0},
        }
        assert next(kept.frames()).lat == PLACE["lat"]  # the record itself stays

    def test_pictures_lose_all_but_their_pixels(self) -> None:
        image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
        secret = b"Exif\0\0 47.1234, 8.5678"
        done, jpeg = cv2.imencode(".jpg", image)
        assert done
        parts = b"".join(
            bytes([0xFF, marker]) + struct.pack(">H", 2 + len(secret)) + secret for marker in (0xE1, 0xE2, 0xED, 0xFE)
        )
        content = jpeg.tobytes()
        told = content[:2] + parts + content[2:] + content[:2] + parts + content[2:]
        bare, suffix = bare_picture(told, (40, 60))
        assert (suffix, bare) == (".jpg", content)
        done, png = cv2.imencode(".png", image)
        text = struct.pack(">I", len(secret)) + b"tEXt" + secret + b"\0\0\0\0"
        bare, suffix = bare_picture(png.tobytes()[:33] + text + png.tobytes()[33:], (40, 60))
        assert (suffix, bare) == (".png", png.tobytes())

    def test_other_kinds_become_pngs_of_the_same_pixels(self) -> None:
        image = np.random.default_rng(1).integers(0, 255, (40, 60, 3), np.uint8)
        _, tiff = cv2.imencode(".tiff", image)
        bare, suffix = bare_picture(tiff.tobytes(), (40, 60))
        read = cv2.imdecode(np.frombuffer(bare, np.uint8), cv2.IMREAD_COLOR)
        assert suffix == ".png"
        assert read is not None
        assert (read == image).all()

    @pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"no picture at all"])
    def test_what_is_no_picture_is_an_error(self, content: bytes) -> None:
        with pytest.raises(InputError):
            bare_picture(content, (40, 60))

    def test_a_picture_of_another_size_is_an_error(self) -> None:
        _, png = cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))
        with pytest.raises(InputError, match="altered"):
            bare_picture(png.tobytes(), (40, 60))


class TestDeveloped:
    def test_poses_lay_sightings_over_each_other_once(self, tmp_path: Path) -> None:
        rows = []
        for index in range(3):  # the camera moves 20 px a frame; the line is drawn at the same px: three true lines
            pose = PoseRow(x_mm=10.0 * index, y_mm=0.0, rotation_deg=0.0)
            row, (crack, _) = flights.rows(index)
            same = crack.model_copy(update={"crack_id": "a"})
            rows.append((row.model_copy(update={"cracks": 1, "pose": pose}), [same]))
        found = Developed.of(_record(tmp_path, rows)).stretches["a"]
        first = np.array(rows[0][1][0].branches[0].line_px) * 0.5 + 0.25  # the pose is the corner of pixel (0, 0)
        assert np.allclose(found[0].xy_mm, first * (1, -1))

    def test_in_a_tunnel_lines_lie_around_their_own_place(self, tmp_path: Path) -> None:
        tunnel = {"radius_m": 2.0, "along": "x", "reverse": False}
        row, (crack, other) = _placed(0, chainage_m=10.0, clock_deg=350.0, position_of="surface")
        record = _record(tmp_path, [(row, [crack, other])], settings={"place": {"tunnel": tunnel}})
        developed = Developed.of(record)
        assert developed.radius_mm == 2000.0
        line = developed.stretches[crack.crack_id][0].xy_mm
        x, y = crack.branches[0].line_px[0]
        middle = crack.bbox_x + crack.bbox_w / 2, crack.bbox_y + crack.bbox_h / 2
        assert line[0, 0] == pytest.approx(10_000 + 0.5 * (x - middle[0]))
        assert line[0, 1] == pytest.approx(math.radians(-10) * 2000 - 0.5 * (y - middle[1]))


class TestPlans:
    def test_without_a_place_cracks_stand_along_the_flight(self, tmp_path: Path) -> None:
        record = _record(tmp_path, [flights.rows(index) for index in range(4)])
        cracks = [(crack, turn) for turn, (_, crack) in enumerate(record.whole_cracks(), start=1)]
        (plan,) = Places(cracks).plans(record, Developed.of(record), None)
        assert plan.title == "Along the flight"
        assert [len(bar.parts) for bar in plan.bars] == [1, 1, 1, 1]
        assert len({part[2] for bar in plan.bars for part in bar.parts}) == 1  # two cracks in each

    def test_a_map_has_north_up_and_its_bar_is_true(self, tmp_path: Path) -> None:
        rows = [_placed(0, **PLACE), _placed(1, **{**PLACE, "lat": PLACE["lat"] + 0.001})]
        record = _record(tmp_path, rows)
        cracks = [(crack, turn) for turn, (_, crack) in enumerate(record.whole_cracks(), start=1)]
        (plan,) = Places(cracks).plans(record, Developed.of(record), None)
        south, north = max(pin.y for pin in plan.pins), min(pin.y for pin in plan.pins)
        worst = next(pin for pin in plan.pins if pin.number == 1)
        assert worst.y == south  # y grows downwards
        assert plan.scale_bar is not None
        px, text = plan.scale_bar
        metres = float(text.removesuffix(" m"))
        assert (south - north) / px * metres == pytest.approx(111.2, rel=0.01)  # 0.001 degrees of latitude

    def test_a_scale_bar_is_round(self) -> None:
        assert [round_length(value) for value in (0.99, 1.0, 4.9, 5.0, 73.0)] == [0.5, 1, 2, 5, 50]


class TestCharts:
    def test_the_profile_keeps_peaks_and_gaps(self) -> None:
        crack = flights.rows(0)[1][0]
        line = tuple((float(x), 10.0) for x in range(1001))
        width = [2.0] * 1001
        width[617] = 9.0  # one point only
        for at in range(300, 400):
            width[at] = None  # type: ignore[call-overload]
        branch = crack.branches[0].model_copy(update={"line_px": line, "width_px": tuple(width)})
        chart = charts.profile(crack.model_copy(update={"branches": (branch,), "width_mm": 1.0}))
        assert chart is not None
        assert len(chart.lines) == 2
        ys = [float(point.split(",")[1]) for line_ in chart.lines for point in line_.split()]
        share = (charts.HEIGHT - charts.BOTTOM - min(ys)) / (charts.HEIGHT - charts.BOTTOM - max(ys))
        assert share == pytest.approx(4.5, rel=0.02)
        assert chart.level == pytest.approx(max(ys), abs=0.2)  # 2 px of half a mm

    def test_without_a_measured_point_there_is_none(self) -> None:
        assert charts.profile(flights.rows(0)[1][1]) is None
        assert charts.history([charts.Sighting(0, 1.0, gradable=True, best=True)]) is None


class TestReviews:
    def test_they_stand_in_the_page_and_the_tables(self, tmp_path: Path) -> None:
        record = _record(tmp_path / "run", [flights.rows(0)])
        first, second = (crack.crack_id for crack in record.cracks())
        reviews = Reviews(tmp_path / "run")
        reviews.verdict(first, "confirmed", reviewer="<b>A</b>\u202e", note="seen by rope")
        taken_back = reviews.verdict(second, "rejected", reviewer="B")
        reviews.undo(taken_back.id or "")
        page = report_again(tmp_path / "run", tmp_path / "out").page.read_text(encoding="utf-8")
        assert "<strong>confirmed</strong> by <bdi>&lt;b&gt;A&lt;/b&gt;\\u{202e}</bdi>" in page
        assert "seen by rope" in page
        assert "1 confirmed" in page
        assert "rejected</strong>" not in page
        with (tmp_path / "out/cracks.csv").open(newline="") as file:
            assert [line["review"] for line in csv.DictReader(file)] == ["confirmed", ""]
        features = json.loads((tmp_path / "out/cracks.geojson").read_text())["features"]
        assert [feature["properties"]["review"] for feature in features] == ["confirmed", None]

    def test_what_a_person_rejected_is_no_training_example(self, tmp_path: Path) -> None:
        record = _record(tmp_path / "run", [flights.rows(0)])
        first = next(record.cracks()).crack_id
        Reviews(tmp_path / "run").verdict(first, "rejected")
        made = report_again(tmp_path / "run", tmp_path / "out", formats=["coco"])
        found = json.loads((tmp_path / "out/coco/annotations.json").read_text())
        assert [one["attributes"]["crack_id"] == first for one in found["annotations"]] == [False]
        assert any("1 x sightings that a person rejected" in line for line in made.told)


def test_the_page_names_the_files_that_it_was_made_from(tmp_path: Path) -> None:
    _record(tmp_path / "run", [flights.rows(0)])
    page = report_again(tmp_path / "run", tmp_path / "out").page.read_text(encoding="utf-8")
    for name in ("flight.json", "frames.jsonl", "cracks.jsonl", "tracks.jsonl"):
        assert hashlib.sha256((tmp_path / "run" / name).read_bytes()).hexdigest() in page


def test_every_text_of_the_page_has_contrast() -> None:
    """WCAG 2.1 AA, 4.5 : 1, light, dark and on paper."""
    style = (TEMPLATES / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\n? *\}", style, re.DOTALL)
    palettes = [dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in blocks]
    assert len(palettes) == 3
    for colours in palettes:
        pairs = [("ink", "page"), ("ink", "sheet"), ("quiet", "page"), ("quiet", "sheet"), ("bar", "sheet")]
        pairs += [("bar", "page"), ("note-ink", "note")]
        for ink, paper in pairs:
            assert _contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
    for fill in re.findall(r"\.(?:severe|high|moderate|low|none|ungraded) \{ fill: (#\w+);", style):
        assert _contrast("#16191d", fill) >= 4.5, fill  # numbers on pins and badges


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
