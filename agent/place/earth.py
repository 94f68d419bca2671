"""Small steps on the earth, WGS 84, and the way from UTM back to degrees."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from agent.contract.arrays import Float64

MAJOR_M: Final = 6_378_137.0
FLATTENING: Final = 1 / 298.257223563
_ECCENTRICITY2: Final = FLATTENING * (2 - FLATTENING)


def moved(lat: float, lon: float, *, north_m: float, east_m: float) -> tuple[float, float]:
    """Return latitude and longitude after a step of at most some km, degrees.

    Args:
        lat: degrees, not at a pole.
        lon: degrees.
        north_m: of the step.
        east_m: of the step.
    """
    meridian, parallel = _radii(lat)
    there = lat + math.degrees(north_m / meridian)
    turned = lon + math.degrees(east_m / parallel)
    return there, (turned + 180) % 360 - 180


def step(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Return the way from one point (lat, lon) to another that is at most some km away, m north and m east."""
    meridian, parallel = _radii(start[0])
    turn = (end[1] - start[1] + 180) % 360 - 180
    return math.radians(end[0] - start[0]) * meridian, math.radians(turn) * parallel


def distance_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the way between two near points (lat, lon), m."""
    middle = math.radians((one[0] + other[0]) / 2)
    curve = 1 - _ECCENTRICITY2 * math.sin(middle) ** 2
    north = math.radians(other[0] - one[0]) * MAJOR_M * (1 - _ECCENTRICITY2) / curve**1.5
    turn = (other[1] - one[1] + 180) % 360 - 180
    return math.hypot(north, math.radians(turn) * MAJOR_M / math.sqrt(curve) * math.cos(middle))


def to_ned(point: Float64, attitude_deg: tuple[float, float, float]) -> tuple[float, float, float]:
    """Turn a point of the camera's axes (right, down, forward) into north, east and down.

    Args:
        point: (3,).
        attitude_deg: yaw, pitch and roll of the camera, applied in the order Z, Y, X (DJI's gimbal, MAVLink).
    """
    right, down, forward = point
    north, east, below = (_turn(attitude_deg) @ np.array([forward, right, down])).tolist()
    return north, east, below


def ned_from_camera(attitude_deg: tuple[float, float, float]) -> Float64:
    """Return the matrix (3, 3) that does what `to_ned` does."""
    return _turn(attitude_deg)[:, [1, 2, 0]]


def _turn(attitude_deg: tuple[float, float, float]) -> Float64:
    yaw, pitch, roll = (math.radians(angle) for angle in attitude_deg)
    turn_z = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    turn_y = np.array([[math.cos(pitch), 0, math.sin(pitch)], [0, 1, 0], [-math.sin(pitch), 0, math.cos(pitch)]])
    turn_x = np.array([[1, 0, 0], [0, math.cos(roll), -math.sin(roll)], [0, math.sin(roll), math.cos(roll)]])
    return np.asarray(turn_z @ turn_y @ turn_x, np.float64)


def from_utm(zone: int, east_m: float, north_m: float, *, south: bool) -> tuple[float, float]:
    """Return latitude and longitude of a point in UTM, degrees, good to a mm within the zone.

    Krueger's series to the third order (Karney, Journal of Geodesy 85, 2011, equations 11, 25 and 36).
    """
    n = FLATTENING / (2 - FLATTENING)
    radius = MAJOR_M / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
    xi = (north_m - (10_000_000 if south else 0)) / (0.9996 * radius)
    eta = (east_m - 500_000) / (0.9996 * radius)
    beta = (n / 2 - 2 * n**2 / 3 + 37 * n**3 / 96, n**2 / 48 + n**3 / 15, 17 * n**3 / 480)
    xi_, eta_ = xi, eta
    for order, b in enumerate(beta, start=1):
        xi_ -= b * math.sin(2 * order * xi) * math.cosh(2 * order * eta)
        eta_ -= b * math.cos(2 * order * xi) * math.sinh(2 * order * eta)
    conformal = math.asin(math.sin(xi_) / math.cosh(eta_))
    delta = (2 * n - 2 * n**2 / 3 - 2 * n**3, 7 * n**2 / 3 - 8 * n**3 / 5, 56 * n**3 / 15)
    lat = conformal + sum(d * math.sin(2 * order * conformal) for order, d in enumerate(delta, start=1))
    lon = math.radians(6 * zone - 183) + math.atan2(math.sinh(eta_), math.cos(xi_))
    return math.degrees(lat), math.degrees(lon)


def _radii(lat: float) -> tuple[float, float]:
    """Return the radii, m, of a step to the north and of one to the east."""
    curve = 1 - _ECCENTRICITY2 * math.sin(math.radians(lat)) ** 2
    meridian, normal = MAJOR_M * (1 - _ECCENTRICITY2) / curve**1.5, MAJOR_M / math.sqrt(curve)
    return meridian, normal * math.cos(math.radians(lat))
