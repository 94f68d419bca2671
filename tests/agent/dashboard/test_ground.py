"""How coverage lies in each view, against places that frames and cracks know by themselves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from agent.contract.flight import FrameRow, PoseRow, SightRow
from agent.dashboard.flight import FlightView
from agent.dashboard.ground import Footprints, placement_of
from agent.place import earth
from tests.support.flights import rows
from tests.support.inspected import coverage, write_inspection
from tests.support.page import page_on


def drawn(onto: dict[str, Any], x_mm: float, y_mm: float) -> tuple[float, float]:
    return onto["x"][0] + onto["x"][1] * x_mm, onto["y"][0] + onto["y"][1] * y_mm


def posed(index: int, sense: int, *, jump_m: float = 0.0) -> FrameRow:
    """A frame in a tunnel of 3 m radius whose chainage grows with x, or falls; every frame somewhat further around."""
    row, _ = rows(index)
    pose = PoseRow(
        x_mm=500.0 * index - row.width / 2,
        y_mm=157.0796 * index - row.height / 2,
        rotation_deg=0.0,
        radius_mm=3000.0,
        standoff_mm=3000.0,
    )
    clock = (358.0 - sense * 3.0 * index) % 360
    chainage = 20.0 + sense * 0.5 * index + (jump_m if index == 3 else 0.0)
    return row.model_copy(update={"pose": pose, "scale_mm_px": 1.0, "chainage_m": chainage, "clock_deg": clock})


def flown(sense: int, **changed: float) -> Footprints:
    prints = Footprints()
    for index in range(6):
        row = posed(index, sense, **changed)
        prints.note(row, placement_of(row))
    return prints


@pytest.mark.parametrize("sense", [1, -1])
def test_poses_along_a_tunnel_are_unrolled_by_what_frames_know_of_it(sense: int) -> None:
    strip = flown(sense).onto({})["strip"]
    assert strip["surface"] == "wall"
    # each frame looks straight at the middle of its outline, where its chainage and clock angle are
    for index in range(6):
        chainage, clock = drawn(strip, 500.0 * index, 157.0796 * index)
        assert chainage == pytest.approx(20.0 + sense * 0.5 * index, abs=0.002)
        assert (clock - (358.0 - sense * 3.0 * index) + 180) % 360 - 180 == pytest.approx(0, abs=0.02)


def test_poses_that_contradict_their_chainage_are_not() -> None:
    assert "strip" in flown(1).onto({})
    assert "strip" not in flown(1, jump_m=5.0).onto({})


def test_a_lining_is_drawn_by_chainage_and_clock_angle() -> None:
    onto = Footprints().onto({"lining_radius_mm": 3000.0})["strip"]
    assert onto["surface"] == "lining"
    assert drawn(onto, 12_500.0, -3000 * math.radians(90)) == pytest.approx((12.5, 90.0))  # right of the crown is up


def test_the_ground_is_drawn_by_degrees() -> None:
    onto = Footprints().onto({"ground_lat": 47.1, "ground_lon": 179.99999})["map"]
    lon, lat = drawn(onto, 12_000.0, -30_000.0)  # 12 m east, 30 m north
    want = earth.moved(47.1, 179.99999, north_m=30.0, east_m=12.0)
    assert lat == pytest.approx(want[0], abs=1e-9)
    assert lon == pytest.approx(want[1] + 360, abs=1e-9)  # over the date line, where the map goes on


def test_of_level_ground_the_corners_of_each_picture_are_told() -> None:
    row, _ = rows(0)
    sight = SightRow(
        focal_px=(100.0, 100.0), principal_px=((row.width - 1) / 2, (row.height - 1) / 2), distance_mm=10_000.0,
        attitude_deg=(0.0, -90.0, 0.0),
    )  # fmt: skip
    prints = Footprints()
    prints.note(row.model_copy(update={"lat": 47.0, "lon": 8.0, "sight": sight}), None)
    (seen,) = prints.listed()
    assert seen.ring is not None
    assert len(seen.ring) == 4
    lat = [point[0] for point in seen.ring]
    assert earth.distance_m((max(lat), 8.0), (min(lat), 8.0)) == pytest.approx(row.height / 100 * 10, rel=1e-3)


@pytest.mark.parametrize("surface", ["wall", "lining", "ground"])
def test_the_page_is_told_the_records_coverage(tmp_path: Path, surface: Any) -> None:
    record = write_inspection(tmp_path / "flight", 6, surface=surface)
    want = coverage(6, surface).model_dump(mode="json")
    with page_on(record) as page:
        place = page.ask(page.at("/place")).json
        flight = page.ask(page.at("")).json
    assert place["areas"] == want["areas"]
    assert place["widths"] == want["widths"]
    assert flight["coverage"]["inspected_m2"] == want["inspected_m2"]
    assert "areas" not in flight["coverage"]
    assert {"wall": "wall", "lining": "strip", "ground": "map"}[surface] in place["onto"]


@pytest.mark.parametrize(
    "content",
    ['{"areas": [', "[]", '{"areas": [{"state": "<b>"}]}', "\x00", "[" * 100_000],
    ids=["cut", "list", "other", "bytes", "deep"],
)
def test_damaged_coverage_draws_nothing(tmp_path: Path, content: str) -> None:
    record = write_inspection(tmp_path / "flight", 2)
    (record / "coverage.json").write_text(content)
    view = FlightView(record)
    view.refresh()
    assert (view.place()["areas"], view.coverage()) == ([], None)
