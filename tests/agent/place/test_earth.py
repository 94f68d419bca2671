from __future__ import annotations

import math

import pytest

from agent.place import earth
from tests.support.told import told


@pytest.mark.parametrize(
    ("zone", "east", "north", "south", "lat", "lon"),
    [  # the zone's central meridian at the equator; the CN Tower; a point of the southern half by symmetry
        pytest.param(31, 500_000.0, 0.0, False, 0.0, 3.0, id="origin"),
        pytest.param(17, 630_084.0, 4_833_439.0, False, 43.642567, -79.387139, id="CN Tower"),
        pytest.param(17, 630_084.0, 10_000_000 - 4_833_439.0, True, -43.642567, -79.387139, id="its mirror"),
    ],
)
def test_utm_leads_back_to_degrees(
    zone: int, east: float, north: float, *, south: bool, lat: float, lon: float
) -> None:
    got = earth.from_utm(zone, east, north, south=south)
    assert told(*got) == (
        pytest.approx(lat, abs=1.5e-5),
        pytest.approx(lon, abs=1.5e-5),
    )  # the source rounds to a metre


def test_a_step_in_utm_is_a_step_on_the_ellipsoid_but_for_the_map_s_scale() -> None:
    one = earth.from_utm(33, 500_000, 5_800_000, south=False)
    other = earth.from_utm(33, 500_100, 5_800_000, south=False)
    assert earth.distance_m(one, other) == pytest.approx(100 / 0.9996, rel=1e-6)


@pytest.mark.parametrize("lat", [-70.0, 0.0, 52.0])
def test_a_step_is_as_long_as_it_was(lat: float) -> None:
    there = earth.moved(lat, 179.9999, north_m=30, east_m=40)
    assert earth.distance_m((lat, 179.9999), there) == pytest.approx(50, rel=1e-5)
    assert -180 <= there[1] <= 180


def test_a_degree_of_the_equator_is_a_360th_of_its_length() -> None:
    assert earth.distance_m((0, 0), (0, 1)) == pytest.approx(2 * math.pi * 6_378_137 / 360, rel=1e-9)
