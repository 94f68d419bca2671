"""Names that logs give to their columns -> fields of a sample, with units told from the name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Final

from agent.capture.telemetry.sample import METHODS, Sample, checked
from agent.contract.frame import ScaleMethod

_NAMES: Final = {
    "lat": "lat", "latitude": "lat", "gps_lat": "lat", "gpslatitude": "lat",
    "lon": "lon", "lng": "lon", "long": "lon", "longitude": "lon", "longtitude": "lon", "gps_lon": "lon",
    "gpslongitude": "lon", "gpslongtitude": "lon",
    "alt": "alt_m", "altitude": "alt_m", "abs_alt": "alt_m", "absolute_altitude": "alt_m",
    "altitude_above_sealevel": "alt_m", "elevation": "alt_m",
    "yaw": "yaw_deg", "gimbal_yaw": "yaw_deg", "gb_yaw": "yaw_deg", "gimbal_heading": "yaw_deg",
    "camera_yaw": "yaw_deg",
    "pitch": "pitch_deg", "gimbal_pitch": "pitch_deg", "gb_pitch": "pitch_deg", "camera_pitch": "pitch_deg",
    "roll": "roll_deg", "gimbal_roll": "roll_deg", "gb_roll": "roll_deg", "camera_roll": "roll_deg",
    "distance": "distance_m", "lrf": "lrf_m", "lidar": "lidar_m", "depth": "depth_m", "standoff": "distance_m",
    "lrftargetdistance": "lrf_m", "range": "distance_m",
    "chainage": "chainage_m", "station": "chainage_m", "clock": "clock_deg", "clock_angle": "clock_deg",
    "ticks": "ticks", "encoder": "ticks", "encoder_ticks": "ticks", "ring": "ring",
}  # fmt: skip
_UNITS: Final = {
    "m": 1.0, "meter": 1.0, "meters": 1.0, "metres": 1.0, "deg": 1.0, "degrees": 1.0, "degree": 1.0, "d": 1.0,
    "ft": 0.3048, "feet": 0.3048, "mm": 1e-3, "cm": 1e-2, "rad": 57.29577951308232, "ticks": 1.0,
}  # fmt: skip
_TIMES: Final = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0, "milliseconds": 1e6, "seconds": 1e9, "millisecond": 1e6}
_TIME_NAMES: Final = frozenset(
    {"time", "timestamp", "t", "ts", "datetime", "utc", "datetime_utc", "date_time", "media_time"}
)
KNOWN: Final = "time_s, time_ms or an RFC 3339 time; lat, lon, alt_m, yaw_deg, pitch_deg, roll_deg, distance_m, lrf_m, \
lidar_m, depth_m, chainage_m, clock_deg, ticks, ring"


def time_ns(row: Mapping[str, object]) -> int | None:
    """Return the time of a row on its own clock; None where it has none that can be read."""
    for name, value in row.items():
        base, unit = _split(name)
        if base not in _TIME_NAMES:
            continue
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _scaled(float(value), unit)
        if isinstance(value, str):
            found = _of_text(value.strip(), unit)
            if found is not None:
                return found
    return None


def sample(row: Mapping[str, object], faults: Counter[str]) -> Sample | None:
    """Return the sample that a row tells, or None, counted, where it has no time.

    Args:
        row: values by the names that the log gives them; text or numbers.
        faults: grows by what is left out.
    """
    at = time_ns(row)
    if at is None:
        faults["rows without a time that can be read"] += 1
        return None
    values: dict[str, float] = {}
    method: ScaleMethod | None = None
    for name, raw in row.items():
        field, factor = _field(name)
        if field is None or raw is None or raw == "":
            continue
        number = _number(raw)
        if number is None:
            faults[f"{field} is not a number"] += 1
            continue
        if field in METHODS:
            method, field = METHODS[field], "distance_m"
        values.setdefault(field, number * factor)
    return checked(at, values, faults, method=method)


def knows(names: list[str]) -> bool:
    """Whether a log with these columns tells anything: a time and one value at least."""
    return any(_split(name)[0] in _TIME_NAMES for name in names) and any(_field(name)[0] for name in names)


def _field(name: str) -> tuple[str | None, float]:
    base, unit = _split(name)
    return _NAMES.get(base), _UNITS.get(unit, 1.0)


def _split(name: str) -> tuple[str, str]:
    """Return a column's plain name and its unit: `Altitude (feet)`, `lrf_m`, `gimbal_pitch(degrees)`."""
    plain = name.strip().casefold()
    bracketed = re.fullmatch(r"(.*?)\s*[\[(]([^\])]*)[\])]\s*", plain)
    base, unit = bracketed.groups() if bracketed else (plain, "")
    base = re.sub(r"[^a-z0-9]+", "_", base).strip("_")
    if base not in _NAMES and base not in _TIME_NAMES:
        head, _, tail = base.rpartition("_")
        if head and (tail in _UNITS or tail in _TIMES):
            return head, tail
    return base, unit


def _number(raw: object) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        return None
    try:
        return float(raw)
    except ValueError:
        return None


def _of_text(text: str, unit: str) -> int | None:
    number = _number(text)
    if number is not None:
        return _scaled(number, unit)
    try:
        # before Python 3.11 fromisoformat knows no Z
        moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return round((aware - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds() * 1e6) * 1000


def _scaled(value: float, unit: str) -> int | None:
    if not abs(value) < 1e19:  # also NaN
        return None
    return round(value * _TIMES.get(unit, 1e9))
