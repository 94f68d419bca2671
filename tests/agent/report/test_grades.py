"""A grade and an interval on their way through the record into every report."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.contract.flight import CrackRow
from agent.deliver.reporter import Reporter
from agent.record import FlightRecorder, crack_row, frame_row, read_flight
from agent.report import ReportWriter
from agent.report.figures import grade, interval
from agent.severity.grading import Grader
from agent.severity.settings import SeveritySettings
from tests.support import flights

CHOSEN = {"standard": "aashto-mbei", "category": "reinforced"}  # CS3 from 1.27 mm on


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a record with a crack of 1.5 mm (1.2 to 1.9) and one that is not gradable."""
    picture = flights.frame(0)
    cracks = [
        replace(crack, width_lo_px=2.4, width_hi_px=3.8, pattern="branched", branch_points=2)
        if crack.gradable
        else crack
        for crack in flights.cracks_of()
    ]
    graded = Grader(SeveritySettings(**CHOSEN)).graded(cracks)
    with FlightRecorder.open(tmp_path, flights.header(settings={"severity": CHOSEN})) as recorder:
        report = ReportWriter(tmp_path)
        rows = [crack_row(crack, picture, number=number, mission_id="m") for number, crack in enumerate(graded)]
        row = frame_row(picture, cracks=len(rows))
        recorder.add(row, rows)
        report.add(row, rows, image_rgb=picture.image_rgb, probability=picture.image_rgb[:, :, 0])
    report.finish(read_flight(tmp_path))
    return tmp_path


def rows_of(folder: Path) -> list[CrackRow]:
    return list(read_flight(folder).cracks())


def test_the_record_keeps_interval_and_grade(folder: Path) -> None:
    first, second = rows_of(folder)
    assert (first.width_lo_mm, first.width_hi_mm) == pytest.approx((1.2, 1.9))
    assert (first.severity, first.severity_class) == ("high", "CS3")
    assert first.severity_p is not None
    assert 0.5 < first.severity_p < 0.95
    assert (first.pattern, first.branch_points) == ("branched", 2)
    assert (second.severity, second.severity_reason) == ("ungraded", "narrower than the blur")


def test_the_page_names_the_standard_its_value_and_that_it_is_from_memory(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "AASHTO Manual for Bridge Element Inspection" in page
    assert "from memory, check before quoting" in page
    assert "CS3 (" in page
    assert "1.20 to 1.90" in page
    assert "Ungraded: 1 (narrower than the blur)" in page
    assert "m/m²" in page


def test_the_tables_hold_the_same_figures(folder: Path) -> None:
    with (folder / "cracks.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    first = rows_of(folder)[0]
    assert float(lines[0]["width_p95_lo_mm"]) == first.width_lo_mm
    assert float(lines[0]["width_p95_hi_px"]) == first.width_hi_px
    assert lines[0]["severity_standard"] == "aashto-mbei r1 reinforced"
    assert lines[1]["severity_reason"] == "narrower than the blur"
    feature = json.loads((folder / "cracks.geojson").read_bytes())["features"][0]["properties"]
    assert feature["severity_p"] == first.severity_p
    assert feature["width_hi_mm"] == first.width_hi_mm


def test_the_report_over_mqtt_says_it_too(folder: Path) -> None:
    record = read_flight(folder)
    first = rows_of(folder)[0]
    report = Reporter(record.header).crack(first, media_time_ns=0)
    assert report.severity_class == "CS3"
    assert report.severity_clause == "Defect 1130"
    assert report.severity_p == first.severity_p
    assert (report.width_lo_mm, report.width_hi_mm) == (first.width_lo_mm, first.width_hi_mm)
    assert report.pattern == "branched"


def test_without_an_interval_or_a_class_nothing_is_shown(folder: Path) -> None:
    second = rows_of(folder)[1]
    assert (interval(second), grade(second)) == ("", "")
