"""Evidence, frames, the live picture, tiles and plans."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.capture.decode import decode_image
from agent.contract.flight import FrameRow
from agent.dashboard.background import Plan, Tiles, open_background
from agent.dashboard.live import MOST_FETCHED, LivePicture
from agent.dashboard.settings import DashboardSettings, PlanSettings
from agent.errors import ConfigError
from agent.pipeline import Sighting
from agent.record import FlightRecorder
from tests.support.flights import frame, header, rows
from tests.support.page import page_on


def kept(folder: Path, **changed: Any) -> FrameRow:
    """Write a flight of one frame whose picture is kept, and return its row."""
    picture = frame(0)
    row, cracks = rows(0)
    with FlightRecorder.open(folder, header(frames_kept="all")) as recorder:
        row = row.model_copy(update={"file": recorder.keep_frame(picture, evidence=True), **changed})
        recorder.add(row, cracks)
    return row


def test_evidence_is_the_part_of_the_frame_that_was_kept_pixel_by_pixel(tmp_path: Path) -> None:
    kept(tmp_path / "flight")
    with page_on(tmp_path / "flight") as page:
        for crack_id in page.cracks():
            about = page.ask(page.at(f"/crack?id={crack_id}")).json["picture"]
            picture = decode_image(page.ask(page.at(f"/crack.jpg?id={crack_id}")).body)
            x, y = about["x"], about["y"]
            part = frame(0).image_rgb[y : y + about["height"], x : x + about["width"]]
            assert about["source"] == "frame"
            assert picture.shape == part.shape
            # JPEG: the grain of the test's frames goes, what is drawn stays
            blurred = [cv2.GaussianBlur(one.astype(np.float32), (0, 0), 3) for one in (picture, part)]
            assert np.abs(blurred[0] - blurred[1]).mean() < 4
            for line in about["outlines"]:
                assert all(x <= px < x + about["width"] and y <= py < y + about["height"] for px, py in line)


def test_a_frame_is_at_most_1280_px_and_drawn_only_if_asked(tmp_path: Path) -> None:
    kept(tmp_path / "flight")
    with page_on(tmp_path / "flight") as page:
        drawn = decode_image(page.ask(page.at("/frame.jpg?index=0")).body)
        plain = decode_image(page.ask(page.at("/frame.jpg?index=0&plain")).body)
    assert plain.shape == frame(0).image_rgb.shape
    assert max(drawn.shape) <= 1280
    assert drawn.shape != plain.shape


@pytest.mark.parametrize(
    ("file", "status"),
    [
        ("../outside.png", 409),
        ("/etc/passwd", 409),
        ("frames/none.png", 404),
        ("frames/link.png", 409),
        ("flight.json", 409),
    ],
)
def test_a_record_from_elsewhere_leads_nowhere_else(tmp_path: Path, file: str, status: int) -> None:
    (tmp_path / "outside.png").write_bytes(cv2.imencode(".png", frame(0).image_rgb)[1].tobytes())
    kept(tmp_path / "flight", file=file)
    (tmp_path / "flight/frames/link.png").symlink_to(tmp_path / "outside.png")
    with page_on(tmp_path / "flight") as page:
        crack = next(iter(page.cracks()))
        for rest in ("/frame.jpg?index=0", f"/crack.jpg?id={crack}"):
            answer = page.ask(page.at(rest))
            assert answer.status == status
            assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "rest", ["/frame.jpg", "/frame.jpg?index=-1", "/frame.jpg?index=x", "/frame.jpg?index=1e3", "/frame.jpg?index=9"]
)
def test_a_frame_that_is_none_is_refused(tmp_path: Path, rest: str) -> None:
    kept(tmp_path / "flight")
    with page_on(tmp_path / "flight") as page:
        assert page.ask(page.at(rest)).status in {404, 422}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def sighting(index: int) -> Sighting:
    picture = replace(frame(index, width=2600, height=1400))
    row, cracks = rows(index)
    row = row.model_copy(update={"width": 2600, "height": 1400})
    return Sighting(
        frame=picture, probability=np.zeros((1400, 2600), np.uint8), cracks=[], row=row, crack_rows=cracks, told=[]
    )


def test_the_live_picture_is_encoded_once_however_many_look_and_never_if_nobody_does() -> None:
    clock = Clock()
    live = LivePicture(fps=5, clock=clock)
    live.saw(sighting(0))
    assert (live.content(), live.encoded) == (None, 0)
    live.saw(sighting(1))
    pictures = {live.content() for _ in range(20)}
    assert live.encoded == 1
    ((number, jpeg),) = [one for one in pictures if one is not None]
    assert number == 1
    assert max(decode_image(jpeg).shape) <= 1280
    clock.now += 60  # everybody left
    live.saw(sighting(2))
    assert live.look() is None


def test_the_live_picture_is_at_most_five_a_second() -> None:
    clock = Clock()
    live = LivePicture(fps=5, clock=clock)
    live.look()
    numbers = []
    for index in range(30):  # three seconds at 10 frames a second
        clock.now += 0.1
        live.saw(sighting(index % 2))
        newest = live.look()
        assert newest is not None
        numbers.append(newest["number"])
    assert 10 <= max(numbers) <= 15


def tiles(path: Path, *, data: bytes = b"\x89PNG tile", **facts: str) -> Path:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
        database.execute(
            "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB)"
        )
        database.executemany(
            "INSERT INTO metadata VALUES (?, ?)", {"name": "site", "bounds": "8,47,9,48", **facts}.items()
        )
        database.execute("INSERT INTO tiles VALUES (3, 4, 5, ?)", (data,))
    database.close()
    return path


def test_tiles_come_from_the_file_with_rows_counted_from_the_north(tmp_path: Path) -> None:
    background = Tiles(tiles(tmp_path / "site.mbtiles"))
    assert background.picture(3, 4, 2**3 - 1 - 5) == (b"\x89PNG tile", "image/png")
    assert background.picture(3, 4, 5) is None
    assert background.picture(3, -1, 2) is None
    assert background.described()["bounds"] == [[47, 8], [48, 9]]
    assert background.described()["max_zoom"] == 3


def test_a_tile_that_is_no_picture_is_not_served(tmp_path: Path) -> None:
    assert Tiles(tiles(tmp_path / "site.mbtiles", data=b"<html>")).picture(3, 4, 2) is None


def test_files_that_hold_no_tiles_are_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database")
    for path in (tmp_path / "nowhere", tmp_path / "text", tiles(tmp_path / "vector.mbtiles", format="pbf")):
        with pytest.raises(ConfigError, match=r"dashboard\.tiles"):
            open_background(DashboardSettings(tiles=path))


def test_a_plan_lies_where_its_corners_say(tmp_path: Path) -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, :100] = (0, 0, 255)  # its left half, blue in OpenCV's order is red
    cv2.imwrite(str(tmp_path / "plan.png"), picture)
    # turned by a quarter: its left side lies in the north
    corners = ((47.002, 8.001), (47.000, 8.001), (47.000, 8.000), (47.002, 8.000))
    plan = Plan(PlanSettings(picture=tmp_path / "plan.png", corners=corners))
    found = plan.picture(0, 0, 0)
    assert found is not None
    image = cv2.imdecode(np.frombuffer(found[0], np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    assert plan.described()["bounds"] == [[47.0, 8.0], [47.002, 8.001]]
    height, width = image.shape[:2]
    assert math.isclose(height / width, 2 / math.cos(math.radians(47.001)), rel_tol=0.01)
    assert image[height // 4, width // 2].tolist() == [0, 0, 255, 255]
    assert image[height * 3 // 4, width // 2].tolist() == [0, 0, 0, 255]


def test_corners_that_are_no_quadrangle_are_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "plan.png"), np.zeros((10, 10, 3), np.uint8))
    crossed = ((47.002, 8.0), (47.0, 8.001), (47.002, 8.001), (47.0, 8.0))
    with pytest.raises(ConfigError, match="corners"):
        open_background(DashboardSettings(plan=PlanSettings(picture=tmp_path / "plan.png", corners=crossed)))


def test_the_background_is_served(tmp_path: Path) -> None:
    kept(tmp_path / "flight")
    with page_on(tmp_path / "flight", background=Tiles(tiles(tmp_path / "site.mbtiles"))) as page:
        answer = page.ask("/background/3/4/2")
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, "image/png", b"\x89PNG tile")
        assert page.ask("/background/3/4/3").status == 404
        assert page.ask("/background/99999999999999999999/4/3").status == 404
        assert page.ask("/api/overview").json["background"]["kind"] == "tiles"


def test_the_more_look_the_fewer_live_pictures_so_that_all_together_cost_no_more() -> None:
    seconds, told = 20, {}
    shown = replace(sighting(0), crack_rows=[])
    for viewers in (1, 6, 20, 60):
        now = [0.0]
        live = LivePicture(fps=4.0, clock=lambda now=now: now[0])  # type: ignore[misc]
        numbers = set()
        for index in range(16 * seconds):
            now[0] = index / 16
            picture = live.look(viewers)
            numbers.add(picture["number"] if picture else 0)
            live.saw(shown)
        told[viewers] = len(numbers - {0})
    assert told[1] == told[6] == pytest.approx(4 * seconds, abs=1)
    for viewers in (20, 60):
        assert told[viewers] * viewers == pytest.approx(MOST_FETCHED * seconds, rel=0.15)
