"""Telemetry, lens and ignored parts on their way through a whole replay, as a user asks for them."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.agent.capture.test_sources import write_video
from tests.support.commands import crack

PLACED = {
    "device.yaml": """version: 1
place:
  focal_px: 1000
  surface: wall
  ignore: [[[0, 0.7], [1, 0.7], [1, 1], [0, 1]]]
""",
}


def pictures(count: int) -> list[Any]:
    """A light wall with a dark line above, and the carrier's own dark strut below."""
    frames = []
    for _ in range(count):
        picture = np.full((200, 320, 3), 200, np.uint8)
        picture[60:63, 20:300] = 60
        picture[170:173, 20:300] = 60
        frames.append(picture)
    return frames


def replay(folder: Path, source: Path, bundle: Path, *options: object) -> tuple[dict[str, Any], Path]:
    out = folder / "out"
    done = crack("crack-agent", "replay", source, "--out", out, "--bundle", bundle, "--json", "--overwrite", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), out


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "device.yaml"
    path.write_text(PLACED["device.yaml"])
    return path


def test_telemetry_gives_every_crack_a_size_and_a_place(tmp_path: Path, tiny_bundle_folder: Path, device: Path) -> None:
    video = write_video(tmp_path / "flight.mp4", pictures(4))
    log = tmp_path / "flight.csv"
    log.write_text(
        "time_s,lat,lon,alt_m,yaw,pitch,distance_m\n"
        "0,52,13,100,0,0,2\n0.2,52.00001,13,100,0,0,2\n0.1,nan,13,100,0,0,2\n0.3,52.000015,13,100,0,0,2\n"
    )
    summary, out = replay(tmp_path, video, tiny_bundle_folder, "--config", device, "--telemetry", log)
    frames, cracks = rows(out / "frames.jsonl"), rows(out / "cracks.jsonl")
    assert [frame["lat"] for frame in frames] == pytest.approx([52, 52.000005, 52.00001, 52.000015], abs=1e-8)
    assert {frame["scale_method"] for frame in frames} == {"lidar"}
    assert {frame["scale_mm_px"] for frame in frames} == {2.0}
    assert all(0.29 < frame["ignored_share"] < 0.31 for frame in frames)
    assert len(cracks) == 4  # the strut is not looked at
    for found, frame in zip(cracks, frames, strict=True):
        assert found["position_of"] == "surface"
        assert found["lat"] == pytest.approx(frame["lat"] + 2 / 111_267, abs=3e-8)  # 2 m ahead, northwards
        assert found["alt_m"] > 100  # above the picture's middle
        assert found["length_mm"] == pytest.approx(2 * found["length_px"], rel=0.02)
    features = json.loads((out / "cracks.geojson").read_text())["features"]
    assert [feature["geometry"]["coordinates"] for feature in features] == [[c["lon"], c["lat"]] for c in cracks]
    table = list(csv.DictReader((out / "cracks.csv").read_text().splitlines()))
    assert float(table[0]["lat"]) == cracks[0]["lat"]
    assert summary["unplaced"] == {"telemetry: out of order: sorted by time": 1, "telemetry: lat is not a number": 1}


def test_a_second_replay_with_the_same_telemetry_says_the_same_and_with_other_telemetry_is_another(
    tmp_path: Path, tiny_bundle_folder: Path, device: Path
) -> None:
    video = write_video(tmp_path / "flight.mp4", pictures(2))
    log = tmp_path / "flight.jsonl"
    missions = []
    for distance in (2, 2, 3):
        log.write_text(json.dumps({"time_s": 0, "distance_m": distance, "pitch": -20}) + "\n")
        _, out = replay(tmp_path, video, tiny_bundle_folder, "--config", device, "--telemetry", log)
        missions.append(
            (json.loads((out / "flight.json").read_text())["mission_id"], (out / "cracks.jsonl").read_bytes())
        )
    assert missions[0] == missions[1]
    assert missions[0][0] != missions[2][0]


def test_a_record_replayed_again_keeps_its_places(tmp_path: Path, tiny_bundle_folder: Path, device: Path) -> None:
    video = write_video(tmp_path / "flight.mp4", pictures(2))
    log = tmp_path / "flight.csv"
    log.write_text("time_s,lat,lon,distance_m,pitch\n0,52,13,2,0\n")
    device.write_text(device.read_text() + "record:\n  frames: all\n")
    _, first = replay(tmp_path, video, tiny_bundle_folder, "--config", device, "--telemetry", log)
    first = first.rename(tmp_path / "first")
    _, again = replay(tmp_path, first, tiny_bundle_folder)
    assert [row["lat"] for row in rows(again / "frames.jsonl")] == [52, 52]
    assert [row["scale_mm_px"] for row in rows(again / "frames.jsonl")] == [2, 2]


def test_the_error_of_the_distance_widens_the_interval_of_the_width(tmp_path: Path, tiny_bundle_folder: Path) -> None:
    """0.1 m of 2 m are 5 %, 8.2 % at 90 %: added in quadrature to what the px tell, as logarithms."""
    video = write_video(tmp_path / "flight.mp4", pictures(1))
    log = tmp_path / "flight.csv"
    log.write_text("time_s,pitch,distance_m\n0,-20,2\n")
    device = tmp_path / "device.yaml"
    settings = "version: 1\nrecord:\n  frames: all\nplace:\n  focal_px: 1000\n  surface: wall\n"
    device.write_text(settings + "  distance_error_m: 0.1\n")
    _, out = replay(tmp_path, video, tiny_bundle_folder, "--config", device, "--telemetry", log)
    out = out.rename(tmp_path / "first")
    device.write_text(settings)
    _, sure = replay(tmp_path, video, tiny_bundle_folder, "--config", device, "--telemetry", log)
    found, exact = rows(out / "cracks.jsonl"), rows(sure / "cracks.jsonl")
    for one, other in zip(found, exact, strict=True):
        assert one["width_mm"] == other["width_mm"]
        for end in ("lo", "hi"):
            of_px = math.log(one[f"width_{end}_px"] / one["width_px"])
            assert math.log(other[f"width_{end}_mm"] / other["width_mm"]) == pytest.approx(of_px, abs=2e-3)
            want = math.copysign((of_px**2 + 0.08225**2) ** 0.5, of_px)
            assert math.log(one[f"width_{end}_mm"] / one["width_mm"]) == pytest.approx(want, abs=2e-3)
        assert one["width_hi_mm"] > other["width_hi_mm"] + 0.01
    _, again = replay(tmp_path, out, tiny_bundle_folder)
    assert [row["width_hi_mm"] for row in rows(again / "cracks.jsonl")] == [row["width_hi_mm"] for row in found] != []


def test_a_record_replayed_without_its_telemetry_tells_the_same_millimetres(
    tmp_path: Path, tiny_bundle_folder: Path
) -> None:
    """At a slant every crack has a scale of its own; the record holds what that is told from."""
    video = write_video(tmp_path / "flight.mp4", pictures(2))
    log = tmp_path / "flight.csv"
    log.write_text("time_s,lat,lon,alt_m,yaw,pitch,roll,distance_m\n0,52,13,80,33.3,-41.7,2.9,2.123\n")
    settings = tmp_path / "device.yaml"
    settings.write_text("version: 1\nplace:\n  focal_px: 777.7\n  surface: wall\nrecord:\n  frames: all\n")
    _, first = replay(tmp_path, video, tiny_bundle_folder, "--config", settings, "--telemetry", log)
    first = first.rename(tmp_path / "first")
    told = ("frame", "length_mm", "width_mm", "width_lo_mm", "width_hi_mm", "area_mm2", "lat", "lon", "alt_m")

    def figures(folder: Path) -> list[tuple[Any, ...]]:
        return [tuple(row[name] for name in (*told, "position_of")) for row in rows(folder / "cracks.jsonl")]

    before = figures(first)
    assert len(before) == 4
    row = rows(first / "cracks.jsonl")[0]
    assert abs(row["length_mm"] / (row["length_px"] * row["scale_mm_px"]) - 1) > 0.02, "one figure would not do"
    _, bare = replay(tmp_path, first, tiny_bundle_folder)
    assert figures(bare) == before
    _, of_settings = replay(tmp_path, first, tiny_bundle_folder, "--config", settings)
    assert figures(of_settings) == before
    sights = [[row["sight"] for row in rows(folder / "frames.jsonl")] for folder in (first, of_settings)]
    assert sights[0] == sights[1] != [None, None]
    _, given = replay(tmp_path, first, tiny_bundle_folder, "--mm-per-px", 1)
    assert {row["length_mm"] == row["length_px"] for row in rows(given / "cracks.jsonl")} == {True}


@pytest.mark.parametrize("mm", ["0", "-1", "nan", "inf"])
def test_a_scale_that_cannot_be_is_refused(tmp_path: Path, tiny_bundle_folder: Path, mm: str) -> None:
    photo = tmp_path / "a.png"
    cv2.imwrite(str(photo), pictures(1)[0])
    done = crack(
        "crack-agent", "replay", photo, "--out", tmp_path / "out", "--bundle", tiny_bundle_folder, "--mm-per-px", mm
    )
    assert done.returncode == 2
    assert "mm_per_px" in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--telemetry", "absent.csv"], "absent.csv: no such telemetry file"),
        (["--camera", "crown"], "--camera crown: not one of the settings' cameras"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(
    tmp_path: Path, tiny_bundle_folder: Path, options: list[str], told: str
) -> None:
    photo = tmp_path / "a.png"
    cv2.imwrite(str(photo), pictures(1)[0])
    done = crack("crack-agent", "replay", photo, "--out", tmp_path / "out", "--bundle", tiny_bundle_folder, *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr
