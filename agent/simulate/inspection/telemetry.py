"""What the carrier's sensors say on the way, with their noise: a CSV that `--telemetry` reads, and the settings to it.

A cart counts ticks of a wheel that slips, knows its rings' joints, and measures its distance from the wall; a drone has
GNSS with white noise and a slow error, a gimbal's angles and a range finder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from agent.contract.arrays import Float64
from agent.contract.frame import Pose
from agent.simulate.inspection.rig import Rig
from agent.simulate.inspection.settings import InspectionSettings

EARTH_M: Final = 6_371_000.0  # a sphere will do for some metres: a step north or east, good to 0.3 %
BEFORE_S: Final = 1.0  # how long before the first frame the log begins, and after the last it ends
GNSS_MEMORY_S: Final = 20.0  # of the slow error

_SENSORS = 51  # what a generator is for, after the seed


def rows(settings: InspectionSettings, rig: Rig) -> Iterator[dict[str, str]]:
    """Yield the lines of the log."""
    s, sensors = settings, settings.sensors
    rng = np.random.default_rng([s.seed, _SENSORS])
    end = (s.frames - 1) / s.fps + BEFORE_S
    times = np.arange(-BEFORE_S, end + 1 / sensors.rate_hz, 1 / sensors.rate_hz)
    place, angle = rig.position(times), rig.angles(times)
    distance = rig.standoff - place[:, 2] + rng.normal(0, 1, len(times)) * sensors.distance_noise_m * 1000
    if s.kind == "tunnel":
        yield from _cart(s, rng, times, place, distance)
    else:
        yield from _drone(s, rng, times, place, angle, distance)


def place_settings(settings: InspectionSettings) -> dict[str, Any]:
    """Return the section `place` of the device's settings that goes with the log."""
    s = settings
    place: dict[str, Any] = {"focal_px": s.focal_px, "distance_error_m": s.sensors.distance_noise_m}
    if s.kind == "tunnel":
        place["tunnel"] = {
            "radius_m": s.tunnel.radius_m,
            "clock_deg": s.tunnel.clock_deg,
            "reverse": s.sense < 0,
            "metres_per_tick": s.sensors.metres_per_tick,
            "start_m": s.path.start_m - s.path.speed_m_s * BEFORE_S,
            "ring_pitch_m": s.tunnel.ring_m,
        }
    return place


def local_pose(settings: InspectionSettings, rig: Rig, index: int) -> Pose | None:
    """Return the noisy local position of a frame of a facade: where its upper left corner lies, and its turn.

    A pose knows no slant: it is that of a camera that looks straight at the wall.
    """
    if settings.kind == "tunnel":
        return None
    rng = np.random.default_rng([settings.seed, _SENSORS, 1, index])
    camera, seconds = settings.camera, index / settings.fps
    middle = rig.wall_of(seconds, np.array([rig.centre]))[0]
    middle = middle + rng.normal(0, settings.sensors.position_noise_m * 1000, 2)
    roll = float(rig.angles(np.array([seconds]))[0, 2])
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    half = np.array([camera.width_px, camera.height_px]) / 2 * camera.mm_per_px
    corner = middle - np.array([[cos, -sin], [sin, cos]]) @ half
    return Pose(x_mm=round(float(corner[0]), 3), y_mm=round(float(corner[1]), 3), rotation_deg=round(roll, 6))


def _cart(
    s: InspectionSettings, rng: np.random.Generator, times: Float64, place: Float64, distance: Float64
) -> Iterator[dict[str, str]]:
    """The encoder counts from the log's first line on."""
    sensors = s.sensors
    chainage = s.sense * place[:, 0] / 1000
    rolled = (chainage - chainage[0]) * (1 + sensors.encoder_slip) + rng.normal(0, sensors.encoder_noise_m, len(times))
    ticks = np.round(rolled / sensors.metres_per_tick).astype(np.int64)
    ring = np.floor(chainage / s.tunnel.ring_m).astype(np.int64)
    for i, time in enumerate(times):
        joint = i > 0 and ring[i] != ring[i - 1]
        yield {
            "time_s": f"{time:.3f}",
            "ticks": str(ticks[i]),
            "ring": str(max(ring[i], ring[i - 1])) if joint else "",
            "distance_m": f"{distance[i] / 1000:.4f}",
        }


def _drone(
    s: InspectionSettings,
    rng: np.random.Generator,
    times: Float64,
    place: Float64,
    angle: Float64,
    distance: Float64,
) -> Iterator[dict[str, str]]:
    """Its place is the camera's: the wall's corner, moved along the wall, down, and off it."""
    sensors, facade = s.sensors, s.facade
    keep = math.exp(-1 / (sensors.rate_hz * GNSS_MEMORY_S))
    drift = np.zeros((len(times), 3))
    state = rng.normal(0, sensors.gnss_drift_m, 3)
    for i in range(len(times)):
        state = keep * state + math.sqrt(1 - keep**2) * rng.normal(0, sensors.gnss_drift_m, 3)
        drift[i] = state
    fix = drift + rng.normal(0, sensors.gnss_noise_m, drift.shape)
    looks = math.radians(facade.facing_deg + 180)  # the camera looks against where the wall looks to
    right = (math.cos(looks + math.pi / 2), math.sin(looks + math.pi / 2))  # north, east
    ahead = (math.cos(looks), math.sin(looks))
    along, back = place[:, 0] / 1000, (rig_back(s) - place[:, 2] / 1000)
    north = along * right[0] - back * ahead[0] + fix[:, 0]
    east = along * right[1] - back * ahead[1] + fix[:, 1]
    up = facade.alt_m - place[:, 1] / 1000 + fix[:, 2]
    noisy = angle + rng.normal(0, sensors.attitude_noise_deg, angle.shape)
    for i, time in enumerate(times):
        lat = facade.lat + math.degrees(north[i] / EARTH_M)
        lon = facade.lon + math.degrees(east[i] / (EARTH_M * math.cos(math.radians(facade.lat))))
        yield {
            "time_s": f"{time:.3f}",
            "lat": f"{lat:.9f}",
            "lon": f"{lon:.9f}",
            "alt_m": f"{up[i]:.3f}",
            "yaw_deg": f"{(math.degrees(looks) + noisy[i, 0]) % 360:.3f}",
            "pitch_deg": f"{noisy[i, 1]:.3f}",
            "roll_deg": f"{noisy[i, 2]:.3f}",
            "lidar_m": f"{distance[i] / 1000:.4f}",
        }


def rig_back(s: InspectionSettings) -> float:
    """Return how far the nominal camera stands off the wall, m."""
    return s.camera.standoff_m
