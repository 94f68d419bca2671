"""Where a frame's scale comes from, in which order, and why there is none."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from agent.capture.telemetry import Sample, Track
from agent.contract.flight import FrameRow
from agent.contract.frame import UNKNOWN_SCALE, Frame, Place, Scale, Sight
from agent.errors import ConfigError
from agent.place.locate import Locator, ignored_mask
from agent.place.settings import PlaceSettings
from agent.record import frame_row, jsonl
from tests.agent.place.test_lasers import wall
from tests.agent.place.test_lens import write as write_calibration
from tests.support import flights
from tests.support.told import told


def frame(width: int = 600, height: int = 400, **changed: object) -> Frame:
    bare = flights.frame(0, width=width, height=height, scale=UNKNOWN_SCALE)
    return replace(bare, **{"media_time_ns": 0, **changed})  # type: ignore[arg-type]


def track(**values: object) -> Track:
    return Track.of([Sample(time_ns=0, **values)])  # type: ignore[arg-type]


def dji(**xmp: str) -> bytes:
    attributes = " ".join(f'drone-dji:{name}="{value}"' for name, value in xmp.items())
    tags = Image.Exif()
    tags[0x0110] = "M3E"
    file = io.BytesIO()
    Image.new("RGB", (600, 400)).save(file, "JPEG", exif=tags, xmp=f"<rdf:Description {attributes}/>".encode())
    return file.getvalue()


def locator(place: dict[str, object] | None = None, **options: object) -> Locator:
    return Locator(PlaceSettings.model_validate(place or {}), **options)  # type: ignore[arg-type]


def test_the_user_s_scale_goes_before_all_others() -> None:
    given = Scale(mm_per_px=0.7, source="setting", method="given")
    seen = locator({"focal_px": 1000}, track=track(distance_m=5.0))(frame(scale=given))
    assert (seen.scale.mm_per_px, seen.scale.method, seen.scale.geometry) == (0.7, "given", None)


def test_a_distance_through_the_lens_is_a_scale() -> None:
    seen = locator({"focal_px": 1000, "standoff_m": 9}, track=track(distance_m=2.0, method="depth"))(frame())
    assert seen.scale.mm_per_px == pytest.approx(2.0)
    assert (seen.scale.source, seen.scale.method) == ("telemetry", "depth")


def test_a_photo_with_a_range_finder_needs_no_settings() -> None:
    photo = frame(encoded=dji(LRFTargetDistance="4.0"))
    seen = locator()(photo)
    reduced = 5280 / 600  # the sensor's width over the picture's
    assert seen.scale.mm_per_px == pytest.approx(0.0033 * reduced * 4000 / 12.29, rel=1e-6)
    assert (seen.scale.source, seen.scale.method) == ("telemetry", "lrf")


def test_a_range_finder_below_its_least_distance_is_not_believed() -> None:
    seen = locator()(frame(encoded=dji(LRFTargetDistance="2.5")))
    assert seen.scale.mm_per_px is None
    assert "2.50 m lie below its 3 m" in (seen.scale_reason or "")


def test_a_distance_without_a_lens_says_what_to_set() -> None:
    where = locator(track=track(distance_m=2.0))
    seen = where(frame())
    assert seen.scale == UNKNOWN_SCALE
    assert "set place.calibration, focal_px" in (seen.scale_reason or "")
    assert sum(where.missing.values()) == 1


def test_a_standoff_or_a_tunnel_s_radius_is_a_distance_too() -> None:
    by_hand = locator({"focal_mm": 16, "pixel_pitch_um": 1.55, "standoff_m": 3})(frame())
    assert told(by_hand.scale.mm_per_px, by_hand.scale.method) == (pytest.approx(0.291, abs=5e-4), "standoff")
    assert by_hand.scale.source == "setting"
    tunnel = locator({"focal_px": 1000, "tunnel": {"radius_m": 2.5, "clock_deg": 90}})(frame())
    assert told(tunnel.scale.mm_per_px, tunnel.scale.method) == (pytest.approx(2.5), "radius")
    assert tunnel.where(299.5, 199.5) == Place(clock_deg=90.0, of="surface")


def test_a_tilt_makes_the_pixel_larger_along_it() -> None:
    seen = locator({"focal_px": 1000, "standoff_m": 2, "tilt_deg": 60})(frame())
    assert seen.scale.mm_per_px == pytest.approx(2 * (1 / np.cos(np.radians(60))) ** 0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("surface", "pitch", "tilt"),
    [("wall", -30.0, 30.0), ("wall", 20.0, 20.0), ("ground", -90.0, 0.0), ("ground", -60.0, 30.0)],
)
def test_the_camera_s_pitch_tells_the_tilt_of_walls_and_ground(surface: str, pitch: float, tilt: float) -> None:
    place = {"focal_px": 1000, "surface": surface}
    seen = locator(place, track=track(distance_m=2.0, pitch_deg=pitch, yaw_deg=0.0))(frame())
    assert seen.scale.mm_per_px == pytest.approx(2 * (1 / np.cos(np.radians(tilt))) ** 0.5, rel=1e-4)
    assert seen.scale.geometry is not None
    upper, lower = (np.linalg.norm(seen.scale.geometry.stretch(np.array([[299.5, y]]))[0, :, 0]) for y in (0.0, 399.0))
    if surface == "wall" and pitch < 0:
        assert lower > upper  # it looks down: the wall's foot is farther
    elif tilt:
        assert upper > lower  # the horizon is up


def test_a_wall_without_a_pitch_says_so() -> None:
    seen = locator({"focal_px": 1000, "surface": "wall"}, track=track(distance_m=2.0))(frame())
    assert "nothing tells the camera's pitch" in (seen.scale_reason or "")


def recorded(seen: Frame) -> Frame:
    """The frame as a record gives it back."""
    row = frame_row(seen, cracks=0)
    line = json.loads(jsonl.line(row))
    sight = FrameRow.model_validate(line).sight
    assert sight is not None
    scale = Scale(mm_per_px=line["scale_mm_px"], source=seen.scale.source, method=seen.scale.method)
    return replace(seen, scale=scale, scale_reason=None, sight=Sight(**sight.model_dump()))


def stretched(seen: Frame) -> object:
    assert seen.scale.geometry is not None
    return pytest.approx(seen.scale.geometry.stretch(np.array([[0.0, 0.0], [511.0, 322.0]])).ravel(), rel=1e-9)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param({"surface": "wall", "focal_px": 777.7}, id="a wall"),
        pytest.param({"surface": "ground", "focal_px": 777.7}, id="the ground"),
        pytest.param({"tunnel": {"radius_m": 2.37, "along": "y", "reverse": True}, "focal_px": 777.7}, id="a tunnel"),
        pytest.param({"surface": "wall", "calibration": "lens"}, id="a lens with distortion"),
    ],
)
@pytest.mark.parametrize("same_settings", [True, False])
def test_a_recorded_frame_lies_where_it_lay(place: dict[str, object], tmp_path: Path, *, same_settings: bool) -> None:
    if "calibration" in place:
        place = {**place, "calibration": str(write_calibration(tmp_path / "cam.yaml"))}
    told_now = track(distance_m=1.7, pitch_deg=-37.1, yaw_deg=200.0, roll_deg=3.3, lat=52.0, lon=13.0, chainage_m=7.0)
    first = locator(place, track=told_now)(frame(width=640, height=480))
    again = locator(place if same_settings else {})(recorded(first))
    assert again.scale.geometry is not None
    assert again.scale.geometry.stretch(np.array([[0.0, 0.0], [511.0, 322.0]])).ravel() == stretched(first)
    assert told(again.scale.mm_per_px, again.scale.method) == (pytest.approx(first.scale.mm_per_px), "lidar")
    there, here = first.where(600, 30), again.where(600, 30)
    assert (there.of, here.of) == ("surface", "surface")
    assert told(here.lat, here.lon, here.chainage_m) == told(
        pytest.approx(there.lat, abs=1e-10), pytest.approx(there.lon, abs=1e-10), pytest.approx(there.chainage_m)
    )


def test_what_is_told_anew_goes_before_the_record() -> None:
    first = recorded(locator({"focal_px": 1000}, track=track(distance_m=2.0))(frame()))
    measured = locator({"focal_px": 1000}, track=track(distance_m=3.0))(first)
    assert measured.scale.mm_per_px == pytest.approx(3.0)
    assert locator({"focal_px": 1000, "standoff_m": 5})(first).scale.mm_per_px == pytest.approx(2.0)  # only set
    was_set = recorded(locator({"focal_px": 1000, "standoff_m": 2})(frame()))
    assert locator({"focal_px": 1000, "standoff_m": 5})(was_set).scale.mm_per_px == pytest.approx(5.0)
    assert locator({"focal_px": 1000, "standoff_m": 5, "surface": "wall"})(was_set).scale.mm_per_px == 2.0  # no pitch


def test_lasers_measure_where_no_distance_was_measured() -> None:
    place = {"lasers": {"spacing_mm": 100}, "standoff_m": 3, "focal_px": 1000}
    dots = wall((100.0, 200.0), (300.0, 200.0))
    seen = locator(place)(frame(image_rgb=dots))
    assert told(seen.scale.mm_per_px, seen.scale.method) == (pytest.approx(0.5, rel=1e-3), "lasers")
    ranged = locator(place, track=track(distance_m=2.0))(frame(image_rgb=dots))
    assert ranged.scale.method == "lidar"
    dark = locator(place)(frame())
    assert dark.scale.mm_per_px is None
    assert "laser dots" in (dark.scale_reason or "")


def test_the_error_of_what_was_measured_is_the_scale_s_as_a_share() -> None:
    def error(place: dict[str, object], picture: Frame, **options: object) -> float:
        return locator({"focal_px": 1000, **place}, **options)(picture).scale.error

    ranged: dict[str, object] = {"distance_error_m": 0.1}
    assert error(ranged, frame(), track=track(distance_m=2.0)) == pytest.approx(0.05)
    assert error({**ranged, "standoff_m": 4}, frame()) == pytest.approx(0.025)
    tunnel = {"radius_m": 2.5, "radius_error_m": 0.05}
    assert error({"tunnel": tunnel, "distance_error_m": 9}, frame()) == pytest.approx(0.02)
    assert error({"tunnel": tunnel, **ranged}, frame(), track=track(distance_m=2.0)) == pytest.approx(0.05)
    lasers = {"spacing_mm": 100, "spacing_error_mm": 3}
    assert error({"lasers": lasers}, frame(image_rgb=wall((100.0, 200.0), (300.0, 200.0)))) == pytest.approx(0.03)
    assert error({"standoff_m": 4}, frame()) == 0


def test_telemetry_on_another_clock_needs_its_offset() -> None:
    far = Track.of([Sample(time_ns=100_000_000_000, lat=52.0, lon=13.0)])
    lost = locator(track=far)
    assert lost(frame()).place is None
    assert lost.missing["no telemetry at the frame's time"] == 1
    found = locator({"telemetry": {"clock_offset_s": 100}}, track=far)(frame())
    assert found.place == Place(lat=52.0, lon=13.0)


def test_a_calibration_goes_before_everything_else_that_tells_the_lens(tmp_path: Path) -> None:
    path = write_calibration(tmp_path / "cam.yaml", distortion_coefficients=np.zeros((1, 5)))
    seen = locator({"calibration": str(path), "focal_px": 5, "standoff_m": 1})(frame(width=640, height=480))
    assert seen.scale.mm_per_px == pytest.approx((1 / 800 / 805) ** 0.5 * 1000)
    other = locator({"calibration": str(path), "standoff_m": 1})(frame(width=600, height=600))
    assert "another shape" in (other.scale_reason or "")


def test_a_camera_that_is_not_in_the_table_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match="'Nikon F3' is not in the camera table"):
        locator({"camera_model": "Nikon F3"})


def test_ignored_polygons_are_shares_of_the_picture() -> None:
    half = ignored_mask((((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),), 100, 201)
    assert half is not None
    assert half[:, :100].all()
    assert not half[:, 102:].any()
    assert ignored_mask((), 10, 10) is None
    seen = locator({"ignore": [[[0, 0], [1, 0], [1, 1]], [[0, 0], [0, 1], [0.5, 1]]]})(frame())
    drawn = np.zeros((400, 600), np.uint8)
    for corners in ([(0, 0), (599, 0), (599, 399)], [(0, 0), (0, 399), (300, 399)]):
        cv2.fillPoly(drawn, [np.array(corners, np.int32)], (1,))
    assert seen.ignored_share == pytest.approx(drawn.mean(), abs=0.005)


def test_a_live_link_is_asked_for_the_moment_of_the_frame() -> None:
    heard = Track.of([Sample(time_ns=5_000_000_000, lat=52.0, lon=13.0)])
    seen = locator(live=lambda: heard)(frame(captured_ms=5000))
    assert seen.place == Place(lat=52.0, lon=13.0)
    assert locator(live=lambda: heard)(frame(captured_ms=50_000)).place is None
