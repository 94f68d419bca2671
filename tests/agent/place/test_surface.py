"""Scale at a slant and through a lens, against OpenCV's own projection of points that lie on a known surface."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.contract.crack import Branch, Crack
from agent.contract.frame import Place, Scale
from agent.place.lens import Lens
from agent.place.surface import Cylinder, Plane, View, middle_scale, on_surface
from tests.support import flights
from tests.support.told import told

LENS = Lens(fx=1000, fy=1010, cx=330, cy=250, width=640, height=480, distortion=(-0.28, 0.07, 0.001, -0.002, 0.01))
STRAIGHT = Lens.simple(1000, 640, 480)


def project(points_mm: NDArray[np.float64], lens: Lens) -> NDArray[np.float64]:
    matrix = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])
    distortion = np.array(lens.distortion or (0.0,) * 4)
    return np.asarray(
        cv2.projectPoints(points_mm, np.zeros(3), np.zeros(3), matrix, distortion)[0], np.float64
    ).reshape(-1, 2)


def on_plane(a: float, b: float, *, distance: float, tilt: float, toward: float) -> NDArray[np.float64]:
    """A point a mm along the slope and b mm across it."""
    t, phi = math.radians(tilt), math.radians(toward)
    slope = np.array([math.cos(t) * math.cos(phi), -math.cos(t) * math.sin(phi), math.sin(t)])
    across = np.array([math.sin(phi), math.cos(phi), 0])
    return np.asarray(np.array([0, 0, distance]) + a * slope + b * across, np.float64)


def crack_along(line_xy: NDArray[np.float64], length_px: float, width_px: float, scale: Scale) -> Crack:
    x, y = line_xy.min(axis=0)
    return replace(
        flights.cracks_of()[0],
        bbox_xywh_px=(int(x), int(y), 10, 10),
        branches=(Branch(line_xy_px=line_xy.astype(np.float32), width_px=np.full(len(line_xy), width_px, np.float32)),),
        length_px=length_px,
        width_px=width_px,
        scale=scale,
    )


def test_a_plain_look_is_pitch_times_distance_over_focal_length() -> None:
    # Zenmuse P1 with 35 mm at 3 m: 4.4 um * 3000 mm / 35 mm
    lens = Lens.simple(35_000 / 4.4, 8192, 5460)
    assert middle_scale(View(lens=lens, shape=Plane(distance_mm=3000), camera=Place())) == pytest.approx(
        0.377, abs=5e-4
    )


@pytest.mark.parametrize("tilt", [0, 20, 50])
@pytest.mark.parametrize("toward", [0, 90, 200])
@pytest.mark.parametrize("lens", [STRAIGHT, LENS])
def test_rays_meet_the_plane_where_its_points_are(tilt: float, toward: float, lens: Lens) -> None:
    at = [(0, 0), (300, 0), (-250, 100), (0, -300), (120, 210)]
    points = np.array([on_plane(a, b, distance=2000, tilt=tilt, toward=toward) for a, b in at])
    plane = Plane(distance_mm=2000, tilt_deg=tilt, toward_deg=toward)
    assert np.allclose(plane.meet(lens.rays(project(points, lens))), points, atol=0.01)


@pytest.mark.parametrize("tilt", [0, 30, 55])
@pytest.mark.parametrize("direction", [0, 30, 90, 150])
def test_a_band_on_a_slanted_wall_gets_the_length_and_width_that_it_has(tilt: float, direction: float) -> None:
    length, width, centre = 100.0, 4.0, (350.0, -180.0)
    along = np.array([math.cos(math.radians(direction)), math.sin(math.radians(direction))])
    normal = np.array([-along[1], along[0]])

    def seen(s: float, w: float) -> NDArray[np.float64]:
        a, b = centre + s * along + w * normal
        return on_plane(float(a), float(b), distance=2000, tilt=tilt, toward=30)

    line = project(np.array([seen(s, 0) for s in np.linspace(-length / 2, length / 2, 60)]), LENS)
    corners = [(-length / 2, -width / 2), (length / 2, -width / 2), (length / 2, width / 2), (-length / 2, width / 2)]
    outline = project(np.array([seen(s, w) for s, w in corners]), LENS)
    length_px = float(np.hypot(*np.diff(line, axis=0).T).sum())
    area_px = cv2.contourArea(outline.astype(np.float32))
    view = View(lens=LENS, shape=Plane(distance_mm=2000, tilt_deg=tilt, toward_deg=30), camera=Place())
    scale = Scale(mm_per_px=middle_scale(view), source="telemetry", method="lrf", geometry=view)
    (crack,) = on_surface([crack_along(line, length_px, area_px / length_px, scale)])
    assert crack.length_mm == pytest.approx(length, rel=0.004)
    assert crack.width_mm == pytest.approx(width, rel=0.02)
    if tilt == 55:  # what one figure for the whole picture would have said
        assert abs(length_px * (scale.mm_per_px or 0) / length - 1) > 0.1


@pytest.mark.parametrize("along", ["x", "y"])
@pytest.mark.parametrize("distance", [2500.0, 1800.0])
def test_a_crack_around_a_tunnel_is_measured_on_the_lining(along: Literal["x", "y"], distance: float) -> None:
    radius = 2500.0
    turn = np.radians(np.linspace(2, 9, 200))
    middle = distance - radius
    arc = np.stack([np.full(200, 300.0), radius * np.sin(turn), middle + radius * np.cos(turn)], axis=1)
    if along == "y":
        arc = arc[:, [1, 0, 2]]
    line = project(arc, LENS)
    shape = Cylinder(radius_mm=radius, distance_mm=distance, along=along)
    assert np.allclose(shape.meet(LENS.rays(line)), arc, atol=0.05)
    view = View(lens=LENS, shape=shape, camera=Place())
    scale = Scale(mm_per_px=middle_scale(view), source="setting", method="radius", geometry=view)
    length_px = float(np.hypot(*np.diff(line, axis=0).T).sum())
    (crack,) = on_surface([crack_along(line, length_px, 2, scale)])
    assert crack.length_mm == pytest.approx(radius * math.radians(7), rel=0.003)


def test_a_place_in_the_tunnel_has_chainage_and_clock() -> None:
    shape = Cylinder(radius_mm=2500, distance_mm=2500)
    camera = Place(chainage_m=100.0, clock_deg=350.0)
    right = project(np.array([[800.0, 2500 * math.sin(math.radians(15)), 2500 * math.cos(math.radians(15))]]), STRAIGHT)
    here = View(lens=STRAIGHT, shape=shape, camera=camera).place(*right[0])
    assert here.chainage_m == pytest.approx(100.8, abs=1e-3)
    assert here.clock_deg == pytest.approx(335.0, abs=1e-3)
    back = View(lens=STRAIGHT, shape=shape, camera=camera, sense=-1).place(*right[0])
    assert told(back.chainage_m, back.clock_deg) == (pytest.approx(99.2, abs=1e-3), pytest.approx(5.0, abs=1e-3))
    assert here.of == "surface"


@pytest.mark.parametrize("along", ["x", "y"])
@pytest.mark.parametrize("sense", [1, -1])
@pytest.mark.parametrize("looks_at_deg", [0.0, 90.0, 200.0])
def test_chainage_and_clock_are_those_of_the_point_in_space(
    along: Literal["x", "y"], sense: Literal[1, -1], looks_at_deg: float
) -> None:
    """Axes of the tunnel: chainage, right of it, up. A camera's axes are right-handed: x right, y down, z forward."""
    turn = math.radians(looks_at_deg)
    forward = np.array([0.0, math.sin(turn), math.cos(turn)])  # clock 0 is up, 90 right as one looks up the chainage
    chainage = np.array([1.0, 0.0, 0.0]) * sense
    # forward = right x down; chainage, the right and up are left-handed in this order, so products change their sign
    down_or_right = np.cross(forward, chainage) if along == "y" else np.cross(chainage, forward)
    right, down = (chainage, down_or_right) if along == "x" else (down_or_right, chainage)
    assert np.allclose(-np.cross(right, down), forward)
    for angle in (-8.0, 11.0):
        wall = math.radians(looks_at_deg + angle)
        point = 2500 * np.array([0.0, math.sin(wall), math.cos(wall)]) + (400.0, 0.0, 0.0)
        seen = np.array([[point @ right, point @ down, point @ forward]])
        camera = Place(chainage_m=100.0, clock_deg=looks_at_deg)
        shape = Cylinder(radius_mm=2500, distance_mm=2500, along=along)
        place = View(lens=STRAIGHT, shape=shape, camera=camera, sense=sense).place(*project(seen, STRAIGHT)[0])
        assert place.chainage_m == pytest.approx(100.4, abs=1e-3)
        assert place.clock_deg == pytest.approx((looks_at_deg + angle) % 360, abs=1e-2)


@pytest.mark.parametrize(
    ("attitude", "north_m", "east_m", "down_m"),
    [
        pytest.param((0, 0, 0), 10, 0, 0, id="looks north"),
        pytest.param((90, 0, 0), 0, 10, 0, id="looks east"),
        pytest.param((123, -90, 0), 0, 0, 10, id="looks down, whatever its yaw"),
        pytest.param((180, -45, 0), -7.0711, 0, 7.0711, id="looks south and down"),
    ],
)
def test_the_middle_of_the_picture_lies_ahead_of_the_camera(
    attitude: tuple[float, float, float], north_m: float, east_m: float, down_m: float
) -> None:
    camera = Place(lat=52.0, lon=13.0, alt_m=100.0)
    view = View(lens=STRAIGHT, shape=Plane(distance_mm=10_000), camera=camera, attitude_deg=attitude)
    place = view.place(319.5, 239.5)
    assert place.lat == pytest.approx(52.0 + north_m / 111_267, abs=2e-8)  # a degree at 52 N, from tables
    assert place.lon == pytest.approx(13.0 + east_m / 68_678, abs=2e-8)
    assert place.alt_m == pytest.approx(100 - down_m, abs=1e-3)
    assert place.of == "surface"


def test_what_lies_right_in_the_picture_lies_east_for_a_camera_that_looks_north() -> None:
    view = View(
        lens=STRAIGHT,
        shape=Plane(distance_mm=10_000),
        camera=Place(lat=0.0, lon=0.0, alt_m=5.0),
        attitude_deg=(0, 0, 0),
    )
    right, low = view.place(419.5, 239.5), view.place(319.5, 339.5)
    assert right.lon == pytest.approx(1.0 / 111_319.5, rel=1e-4)
    assert low.alt_m == pytest.approx(4.0, abs=1e-6)


def test_without_attitude_the_camera_s_place_stands_and_says_so() -> None:
    camera = Place(lat=1.0, lon=2.0)
    assert View(lens=STRAIGHT, shape=Plane(distance_mm=1), camera=camera).place(0, 0) == camera
    assert camera.of == "camera"


def test_a_crack_beyond_the_horizon_gets_no_millimetres() -> None:
    view = View(lens=Lens.simple(300, 640, 480), shape=Plane(distance_mm=1000, tilt_deg=70), camera=Place())
    scale = Scale(mm_per_px=middle_scale(view), source="telemetry", method="lrf", geometry=view)
    line = np.array([[600.0, 100.0], [630.0, 110.0]])
    (crack,) = on_surface([crack_along(line, 30, 2, scale)])
    assert crack.length_mm is crack.width_mm is crack.area_mm2 is None


def test_without_a_geometry_nothing_changes() -> None:
    cracks = flights.cracks_of()
    assert on_surface(cracks) == list(cracks)
