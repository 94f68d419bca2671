"""What a carrier says about itself at one moment."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from agent.contract.frame import ScaleMethod

# Beyond these a value is none: a sensor that fails says 0, 65535 or NaN.
RANGES: Final[dict[str, tuple[float, float]]] = {
    "lat": (-90, 90),
    "lon": (-180, 180),
    "alt_m": (-1000, 20_000),
    "yaw_deg": (-720, 720),
    "pitch_deg": (-360, 360),
    "roll_deg": (-360, 360),
    "distance_m": (0.05, 1000),
    "chainage_m": (-1e6, 1e6),
    "clock_deg": (-720, 720),
    "ticks": (-1e12, 1e12),
    "ring": (-1e6, 1e6),
}
ANGLES: Final = frozenset({"yaw_deg", "clock_deg", "roll_deg", "pitch_deg"})
METHODS: Final[dict[str, ScaleMethod]] = {"lrf_m": "lrf", "lidar_m": "lidar", "depth_m": "depth", "distance_m": "lidar"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A moment; None where the source says nothing. Attitude is the camera's (NED, ZYX), not the airframe's."""

    time_ns: int  # on the source's own clock
    lat: float | None = None  # degrees, WGS 84
    lon: float | None = None
    alt_m: float | None = None
    yaw_deg: float | None = None  # from north, clockwise
    pitch_deg: float | None = None  # 0 level, -90 down
    roll_deg: float | None = None
    distance_m: float | None = None  # to the surface along the optical axis
    method: ScaleMethod | None = None  # how the distance was measured
    chainage_m: float | None = None
    clock_deg: float | None = None
    ticks: float | None = None  # of a wheel's encoder
    ring: float | None = None  # number of the ring that begins here; only at its joint

    @property
    def attitude_deg(self) -> tuple[float, float, float] | None:
        """Yaw, pitch and roll; None without the first two."""
        if self.yaw_deg is None or self.pitch_deg is None:
            return None
        return self.yaw_deg, self.pitch_deg, self.roll_deg or 0.0


NUMBERS: Final = tuple(field.name for field in fields(Sample) if field.name in RANGES)


def checked(
    time_ns: int, values: Mapping[str, float], faults: Counter[str], *, method: ScaleMethod | None = None
) -> Sample:
    """Return a sample of the values that can be; count those that cannot.

    Args:
        time_ns: on the source's clock.
        values: by field of `Sample`.
        faults: grows by each value left out.
        method: how the distance was measured.
    """
    good = {}
    for name, value in values.items():
        low, high = RANGES[name]
        if not math.isfinite(value):
            faults[f"{name} is not a number"] += 1
        elif not low <= value <= high:
            faults[f"{name} is out of range"] += 1
        else:
            good[name] = value
    if "lat" in good and "lon" in good and abs(good["lat"]) < 1e-7 and abs(good["lon"]) < 1e-7:
        faults["no fix (latitude and longitude 0)"] += 1
        del good["lat"], good["lon"]
    return Sample(time_ns=time_ns, method=method if "distance_m" in good else None, **good)


def merged(first: Sample | None, other: Sample | None) -> Sample | None:
    """Return the first sample with what it does not know from the other; a position is never mixed of two."""
    if first is None or other is None:
        return first or other
    values = {field.name: getattr(first, field.name) for field in fields(Sample)}
    pairs = (("lat", "lon", "alt_m"), ("yaw_deg", "pitch_deg", "roll_deg"), ("distance_m", "method"))
    for group in (*pairs, ("chainage_m",), ("clock_deg",)):
        if values[group[0]] is None:
            values |= {name: getattr(other, name) for name in group}
    return Sample(**values)
