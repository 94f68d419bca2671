"""Where points of the wall lie in the picture: by reasoning, by the agent's own geometry, there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.contract.frame import Place
from agent.place.lens import Lens
from agent.place.surface import Cylinder, View
from agent.simulate.inspection.rig import Rig
from agent.simulate.inspection.settings import InspectionSettings

STILL = {"sway_m": 0.0, "turn_deg": 0.0, "vibration_px": 0.0}


def settings(**changes: Any) -> InspectionSettings:
    return InspectionSettings.model_validate({"kind": "tunnel", "camera": {"readout_s": 0.0}, "path": STILL} | changes)


def pixel(rig: Rig, *, chainage_m: float, clock_deg: float, s: InspectionSettings) -> tuple[float, float]:
    """Where a point of the tunnel is seen at the start, from chainage and clock angle alone."""
    turn = np.radians((clock_deg - s.tunnel.clock_deg + 180) % 360 - 180)
    uv = np.array([[s.sense * chainage_m * 1000, -s.sense * turn * s.tunnel.radius_m * 1000]])
    np.testing.assert_allclose(rig.clock_deg(uv[:, 1]), clock_deg)
    (x, y), _ = rig.picture_of(0.0, uv)[0][0], None
    return float(x), float(y)


def test_an_upright_camera_at_3_o_clock_sees_chainage_grow_to_the_left_and_the_clock_downwards() -> None:
    """One who walks up the chainage and turns to the right wall has the way ahead on the left hand, the crown above."""
    s = settings(tunnel={"clock_deg": 90.0})
    rig = Rig(s)
    middle = pixel(rig, chainage_m=0.0, clock_deg=90.0, s=s)
    np.testing.assert_allclose(middle, rig.centre, atol=1e-6)
    assert pixel(rig, chainage_m=0.1, clock_deg=90.0, s=s)[0] < middle[0] - 50
    assert pixel(rig, chainage_m=0.0, clock_deg=95.0, s=s)[1] > middle[1] + 50


def test_an_upright_camera_at_9_o_clock_sees_chainage_grow_to_the_right_and_the_clock_upwards() -> None:
    s = settings(tunnel={"clock_deg": 270.0})
    rig = Rig(s)
    middle = pixel(rig, chainage_m=0.0, clock_deg=270.0, s=s)
    assert pixel(rig, chainage_m=0.1, clock_deg=270.0, s=s)[0] > middle[0] + 50
    assert pixel(rig, chainage_m=0.0, clock_deg=275.0, s=s)[1] < middle[1] - 50


@pytest.mark.parametrize("clock", [30.0, 90.0, 200.0, 285.0])
def test_the_agents_own_geometry_puts_every_pixel_where_the_renderer_does(clock: float) -> None:
    s = settings(tunnel={"clock_deg": clock})
    rig = Rig(s)
    view = View(
        lens=Lens.simple(s.focal_px, s.camera.width_px, s.camera.height_px),
        shape=Cylinder(radius_mm=s.tunnel.radius_m * 1000, distance_mm=s.camera.standoff_m * 1000),
        camera=Place(chainage_m=0.0, clock_deg=clock),
        sense=s.sense,
    )
    points = np.random.default_rng(1).uniform(0, (s.camera.width_px, s.camera.height_px), (40, 2))
    uv = rig.wall_of(0.0, points)
    for (x, y), chainage, angle in zip(points, rig.chainage_m(uv[:, 0]), rig.clock_deg(uv[:, 1]), strict=True):
        found = view.place(float(x), float(y))
        assert found.chainage_m == pytest.approx(chainage, abs=1e-6)
        assert found.clock_deg == pytest.approx(angle, abs=1e-6)


@pytest.mark.parametrize("kind", ["tunnel", "facade"])
def test_through_shutter_sway_and_perspective_a_point_comes_back_to_its_pixel(kind: str) -> None:
    s = InspectionSettings.model_validate({"kind": kind, "seed": 3, "path": {"turn_deg": 3.0, "vibration_px": 2.0}})
    rig = Rig(s)
    points = np.random.default_rng(2).uniform(0, (s.camera.width_px - 1, s.camera.height_px - 1), (200, 2))
    for seconds in (0.0, 3.3):
        back, depth = rig.picture_of(seconds, rig.wall_of(seconds, points))
        np.testing.assert_allclose(back, points, atol=0.02)
        assert (depth > 0).all()


def test_the_map_of_a_frame_is_that_of_its_rays() -> None:
    s = InspectionSettings.model_validate({"seed": 1})
    rig = Rig(s)
    maps = rig.maps(2.0)
    assert maps.shape == (720, 1280, 2)
    at = np.array([(0, 0), (1279, 0), (0, 719), (1279, 719), (640, 360), (123, 456)])
    exact = rig.wall_of(2.0, at.astype(np.float64)) - (rig.along(2.0), 0)
    np.testing.assert_allclose(maps[at[:, 1], at[:, 0]], exact, atol=0.08 * s.camera.mm_per_px)


def test_a_rolling_shutter_leans_what_stands_upright() -> None:
    """At 2 m/s and 20 ms the camera moves 40 mm while a frame is read: what is upright leans by that much."""
    s = settings(camera={"readout_s": 0.02}, path={**STILL, "speed_m_s": 2.0})
    rig = Rig(s)
    rows = np.array([[640.0, 0.0], [640.0, 719.0]])
    lean = np.diff(rig.wall_of(0.0, rows)[:, 0])[0]
    assert lean == pytest.approx(40.0 * 719 / 720, abs=0.5)


def test_a_point_off_the_wall_moves_faster_than_the_wall_behind_it() -> None:
    rig = Rig(settings())
    uv = np.array([[300.0, 0.0]])
    moved = [np.diff([rig.picture_of(t, uv, off=off)[0][0, 0] for t in (0.0, 0.5)])[0] for off in (0.0, 100.0)]
    assert moved[1] / moved[0] == pytest.approx(1800 / 1700, rel=1e-3)
