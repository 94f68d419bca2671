"""Rendered inspections: frames, truth, telemetry and the agent's own answer belong together."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent import app, settings
from agent.capture.recorded import Recorded
from agent.capture.rendered import RenderedSource
from agent.contract.frame import Frame
from agent.mission import ReplayOptions
from agent.place.located import located
from agent.record import read_flight
from agent.report.developed import Developed
from agent.simulate.inspection.flight import InspectionFlight, render_inspection
from agent.simulate.inspection.settings import InspectionSettings
from agent.simulate.recall import recall_of
from agent.simulate.write import read_truth, write_flight

SMALL = {"width_px": 320, "height_px": 200, "mm_per_px": 1.2}


def small(**changes: Any) -> InspectionFlight:
    values = {"seconds": 1.0, "fps": 3.0, "camera": SMALL, "cracks": {"count": 3, "width_mm": (1.0, 4.0)}} | changes
    return render_inspection(InspectionSettings.model_validate(values))


@pytest.mark.parametrize("kind", ["tunnel", "facade"])
def test_one_seed_gives_one_flight_and_another_gives_another(kind: str) -> None:
    flight = small(kind=kind)
    whole = [rendered.frame for rendered in flight]
    assert [frame.index for frame in whole] == [0, 1, 2]
    assert [frame.media_time_ns for frame in whole] == [0, 333333333, 666666667]
    assert len({frame.sha256 for frame in whole}) == 3
    assert [one.frame.sha256 for one in small(kind=kind)] == [frame.sha256 for frame in whole]
    assert [one.frame.sha256 for one in flight.frames(2)] == [whole[2].sha256], "taken up in the middle"
    assert [one.frame.sha256 for one in drawn_while_read(flight)] == [frame.sha256 for frame in whole]
    assert next(iter(small(kind=kind, seed=1))).frame.sha256 != whole[0].sha256


def drawn_while_read(flight: InspectionFlight) -> list[Any]:
    kept: list[Any] = []
    frames = list(RenderedSource(flight, kept.append).frames(0))
    assert [frame.sha256 for frame in frames] == [one.frame.sha256 for one in kept]
    return kept


@pytest.mark.parametrize("kind", ["tunnel", "facade"])
def test_the_truth_mask_lies_on_the_projected_cracks_and_is_dark(kind: str) -> None:
    flight = small(kind=kind, wear={"cables": 0, "chalk": 0}, camera={**SMALL, "noise": 0.0})
    contrasts = []
    for rendered in flight:
        for _, _, lines in flight.lines(rendered.frame.index):
            points = np.floor(np.concatenate(lines) + 0.5).astype(int)
            inside = points[((points >= 0) & (points < (320, 200))).all(axis=1)]
            assert rendered.mask[inside[:, 1], inside[:, 0]].all()
        grey = rendered.frame.image_rgb.mean(axis=2)
        wide = cv2.dilate(rendered.mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        near = cv2.dilate(rendered.mask.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
        if (rendered.coverage > 0.9).sum() > 20:
            contrasts.append(grey[rendered.coverage > 0.9].mean() / grey[near & ~wide].mean())
    assert contrasts
    assert max(contrasts) < 0.85


def test_a_cable_hides_a_crack_from_the_truth_too() -> None:
    bare, hung = small(wear={"cables": 0}, seed=2), small(wear={"cables": 1}, seed=2)
    assert not bare.hung
    assert hung.hung
    pairs = [(a, b) for a, b in zip(bare, hung, strict=True)]
    assert all(not (b.mask & ~a.mask).any() for a, b in pairs)
    assert all(not np.array_equal(a.frame.image_rgb, b.frame.image_rgb) for a, b in pairs)


@pytest.mark.parametrize(
    "kind_of_wear", ["relief", "pores", "stains", "rust", "moss", "efflorescence", "chalk", "cables"]
)
def test_every_kind_of_wear_shows(kind_of_wear: str) -> None:
    none = dict.fromkeys(("relief", "pores", "stains", "rust", "moss", "efflorescence", "chalk", "cables"), 0.0)
    changed = 0
    for kind in ("tunnel", "facade"):
        for seed in range(3):
            without = small(kind=kind, seed=seed, wear=none, seconds=0.4)
            with_ = small(kind=kind, seed=seed, wear=none | {kind_of_wear: 1.0}, seconds=0.4)
            one, other = (next(iter(flight)).frame.image_rgb.astype(np.int16) for flight in (without, with_))
            changed += bool((np.abs(one - other) > 12).sum() > 60)
    assert changed >= 2


class TestWritten:
    def test_the_record_comes_with_truth_telemetry_and_settings_that_an_agent_reads(self, tmp_path: Path) -> None:
        flight = small(seconds=3.0, path={"start_m": 3.0})
        write_flight(flight, tmp_path)
        assert InspectionSettings(**read_flight(tmp_path).header.settings) == flight.settings
        truth = read_truth(tmp_path)
        for told, crack in zip(truth.cracks, flight.cracks, strict=True):
            branch = told.branches[0]
            assert branch.chainage_m is not None
            assert branch.clock_deg is not None
            assert branch.chainage_m[0] == pytest.approx(crack.branches[0].line_xy[0, 0] / 1000, abs=1e-3)
            assert 0 <= min(branch.clock_deg) <= max(branch.clock_deg) < 360
            assert told.width_p50_mm > 0
        read = settings.load(tmp_path / "device.yaml")
        (source,), _ = located([Recorded(tmp_path)], read.place, telemetry=tmp_path / "telemetry.csv")
        wrong = []
        for frame in source.frames(0):
            assert isinstance(frame, Frame)
            assert frame.scale.source == "telemetry"
            middle, _ = flight.rig.centre, None
            uv = flight.rig.wall_of(flight.seconds(frame.index), np.array([middle]))
            place = frame.where(*middle)
            assert place.of == "surface"
            assert place.chainage_m is not None
            wrong.append(place.chainage_m - float(flight.rig.chainage_m(uv[:, 0])[0]))
            assert place.clock_deg == pytest.approx(float(flight.rig.clock_deg(uv[:, 1])[0]), abs=1.5)
        # the wheel slips and is noisy, the joint tells where it is: some cm, and never nought
        assert 1e-4 < np.abs(wrong).max() < 0.08

    def test_the_encoder_slips_and_the_joints_are_told(self, tmp_path: Path) -> None:
        flight = small(seconds=10.0, fps=0.3)
        write_flight(flight, tmp_path)
        with (tmp_path / "telemetry.csv").open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        s = flight.settings
        rolled = int(rows[-1]["ticks"]) * s.sensors.metres_per_tick
        real = s.path.speed_m_s * (float(rows[-1]["time_s"]) - float(rows[0]["time_s"]))
        assert rolled == pytest.approx(real * (1 + s.sensors.encoder_slip), abs=0.06)
        joints = [(float(row["time_s"]), int(row["ring"])) for row in rows if row["ring"]]
        for seconds, ring in joints:
            assert ring * s.tunnel.ring_m == pytest.approx(s.path.speed_m_s * seconds, abs=0.08)
        assert len(joints) >= 2

    def test_a_facades_gnss_has_the_error_asked_for(self, tmp_path: Path) -> None:
        flight = small(kind="facade", seconds=60.0, fps=0.1, sensors={"gnss_drift_m": 0.0, "gnss_noise_m": 0.03})
        write_flight(flight, tmp_path)
        with (tmp_path / "telemetry.csv").open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        s, seconds = flight.settings, np.array([float(row["time_s"]) for row in rows])
        place = flight.rig.position(seconds) / 1000
        north = (np.array([float(row["lat"]) for row in rows]) - s.facade.lat) * 111_195
        east = (
            (np.array([float(row["lon"]) for row in rows]) - s.facade.lon) * 111_195 * np.cos(np.radians(s.facade.lat))
        )
        # the wall looks to 195 degrees, so that its right is 195 - 90 = 105 degrees as the camera sees it
        right = np.radians(s.facade.facing_deg - 90)
        along = north * np.cos(right) + east * np.sin(right)
        out = north * np.cos(np.radians(s.facade.facing_deg)) + east * np.sin(np.radians(s.facade.facing_deg))
        assert (along - place[:, 0]).std() == pytest.approx(0.03, rel=0.15)
        assert abs((along - place[:, 0]).mean()) < 0.005
        assert abs((out - (s.camera.standoff_m - place[:, 2])).mean()) < 0.005


@pytest.mark.parametrize("clock", [90.0, 270.0])
def test_a_crack_at_3_o_clock_in_the_truth_is_reported_at_3_o_clock(tmp_path: Path, clock: float) -> None:
    """Through the whole agent and the bundle that ships: reported where the truth has it, above or below the middle."""
    camera = {"width_px": 512, "height_px": 384, "mm_per_px": 1.0, "noise": 0.004}
    quiet = dict.fromkeys(("relief", "pores", "stains", "rust", "moss", "efflorescence", "chalk", "cables"), 0.0)
    scene = InspectionSettings.model_validate(
        {
            "seconds": 0.6,
            "fps": 5,
            "seed": 6,
            "camera": camera,
            "path": {"start_m": 0.75, "sway_m": 0.0, "turn_deg": 0.0},  # what no sensor of the cart tells
            "tunnel": {"clock_deg": clock},
            "cracks": {"count": 1, "width_mm": (5.0, 5.0)},
            "wear": quiet,
        }
    )
    flight = render_inspection(scene)
    write_flight(flight, tmp_path / "flight")
    options = ReplayOptions(
        sources=(tmp_path / "flight",), out=tmp_path / "out", telemetry=tmp_path / "flight/telemetry.csv"
    )
    app.replay(options, settings.load(tmp_path / "flight/device.yaml"))
    cracks = [crack for _, crack in read_flight(tmp_path / "out").whole_cracks() if crack.kind == "crack"]
    assert cracks
    largest = max(cracks, key=lambda crack: crack.length_mm or 0)
    branches = read_truth(tmp_path / "flight").cracks[0].branches
    clocks = np.concatenate([branch.clock_deg or () for branch in branches])
    chainages = np.concatenate([branch.chainage_m or () for branch in branches])
    assert largest.position_of == "surface"
    # the place is that of the middle of its box
    middle = (clocks.min() + clocks.max()) / 2
    assert abs(middle - clock) > 0.5, "off the middle, else the direction could not be told"
    assert largest.clock_deg == pytest.approx(middle, abs=0.5)
    assert largest.chainage_m == pytest.approx((chainages.min() + chainages.max()) / 2, abs=0.06)
    # and in the unrolled lining of the report: x along the tunnel, y along the arc to the right of the crown
    unrolled = Developed.of(read_flight(tmp_path / "out")).stretches[largest.crack_id]
    drawn = np.concatenate([stretch.xy_mm for stretch in unrolled])
    arc = np.radians((clocks + 180) % 360 - 180) * 1000 * scene.tunnel.radius_m
    truth = np.column_stack([chainages * 1000, arc])
    away = np.abs(drawn[:, None, 1] - truth[None, :, 1]) + np.abs(drawn[:, None, 0] - truth[None, :, 0])
    assert np.median(away.min(axis=1)) < 20, "the encoder's error, and no mirror image"
    found = recall_of(flight, tmp_path / "out")
    assert (found.true, found.found) == (1, 1)
