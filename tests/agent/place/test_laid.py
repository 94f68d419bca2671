"""Pictures on linings and on the ground, against `View.place`, which tells the same of single points."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest

from agent.contract.frame import Place
from agent.place import earth
from agent.place.laid import Ground, Lining
from agent.place.lens import Lens
from agent.place.surface import Cylinder, Plane, View

LENS = Lens(fx=900, fy=905, cx=500, cy=370, width=1000, height=750, distortion=(-0.25, 0.06, 0.001, -0.001, 0.01))
PX = np.random.default_rng(0).uniform((0, 0), (999, 749), (60, 2))
ORIGIN = (47.0001, 179.9999)


def in_tunnel(clock_deg: float, along: Literal["x", "y"] = "x", sense: Literal[1, -1] = 1) -> View:
    shape = Cylinder(radius_mm=3000, distance_mm=2600, along=along)
    return View(lens=LENS, shape=shape, camera=Place(chainage_m=100.0, clock_deg=clock_deg), sense=sense)


@pytest.mark.parametrize("along", ["x", "y"])
@pytest.mark.parametrize("sense", [1, -1])
@pytest.mark.parametrize("clock_deg", [0.0, 90.0, 175.0, 350.0])
def test_on_a_lining_each_point_has_its_chainage_and_clock_angle(
    clock_deg: float, along: Literal["x", "y"], sense: Literal[1, -1]
) -> None:
    view = in_tunnel(clock_deg, along, sense)
    lining = Lining.of(view)
    assert lining is not None
    found = lining.to_surface(PX)
    for (x, y), px in zip(found.tolist(), PX.tolist(), strict=True):
        place = view.place(*px)
        assert place.chainage_m == pytest.approx(x / 1000)
        assert place.clock_deg is not None
        assert (-math.degrees(y / 3000) - place.clock_deg + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)
    assert lining.to_frame(found) == pytest.approx(PX, abs=1e-6)


def test_the_other_side_of_the_tunnel_is_not_in_the_picture() -> None:
    lining = Lining.of(in_tunnel(0.0))
    assert lining is not None
    behind = np.array([(100_000.0, 0.0), (100_000.0, math.pi * 3000), (200_000.0, 0.0), (100_000.0, 9 * 3000.0)])
    assert np.isnan(lining.to_frame(behind)).any(axis=1).tolist() == [False, True, True, True]


def test_on_the_ground_each_point_has_its_position() -> None:
    camera = Place(lat=47.0, lon=-179.9998)  # the origin lies on the other side of the date line
    shape = Plane(distance_mm=9000, tilt_deg=12, toward_deg=40)
    view = View(lens=LENS, shape=shape, camera=camera, attitude_deg=(33.0, -82.0, 4.0))
    ground = Ground.of(view, ORIGIN)
    assert ground is not None
    found = ground.to_surface(PX)
    for (x, y), px in zip(found.tolist(), PX.tolist(), strict=True):
        place = view.place(*px)
        lat, lon = earth.moved(*ORIGIN, north_m=-y / 1000, east_m=x / 1000)
        assert (lat, lon) == pytest.approx((place.lat, place.lon), abs=1e-9)
    assert ground.to_frame(found) == pytest.approx(PX, abs=1e-6)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(View(lens=LENS, shape=Plane(distance_mm=1000), camera=Place(lat=1, lon=2)), id="no attitude"),
        pytest.param(
            View(lens=LENS, shape=Plane(distance_mm=1000), camera=Place(), attitude_deg=(0, -90, 0)), id="no position"
        ),
        pytest.param(
            View(lens=LENS, shape=Plane(distance_mm=1000), camera=Place(lat=1, lon=2), attitude_deg=(0, 0, 0)),
            id="a wall",
        ),
        pytest.param(
            View(lens=LENS, shape=Plane(distance_mm=1000), camera=Place(lat=1, lon=2), attitude_deg=(0, -65, 0)),
            id="a slope",
        ),
        pytest.param(in_tunnel(0.0), id="a tunnel"),
    ],
)
def test_what_is_no_level_ground_of_known_place_is_not_laid_there(view: View) -> None:
    assert Ground.of(view) is None


def test_a_lining_takes_a_tunnel_chainage_and_clock_angle() -> None:
    shape = Cylinder(radius_mm=3000, distance_mm=2600)
    assert Lining.of(View(lens=LENS, shape=shape, camera=Place(chainage_m=1.0))) is None
    assert Lining.of(View(lens=LENS, shape=shape, camera=Place(clock_deg=1.0))) is None
    flat = View(lens=LENS, shape=Plane(distance_mm=1000), camera=Place(chainage_m=1.0, clock_deg=1.0))
    assert Lining.of(flat) is None
