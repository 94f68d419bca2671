"""DJI's subtitles: a block per frame or second, `[latitude: 52.1] [abs_alt: 91.0]` or `GPS (13.4, 52.5, 90)`.

Formats differ by model: the misspelt `longtitude`, two values in one pair of brackets, the older line with longitude
first. Times are those of the subtitles, which begin with the video, so that no clock is to be set.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

from agent.capture.telemetry import columns
from agent.capture.telemetry.sample import Sample
from agent.errors import InputError

_TIMES: Final = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})\s*-->")
_PAIR: Final = re.compile(r"([A-Za-z_]+)\s*:\s*([-+]?(?:\d+\.?\d*|\.\d+|nan))", re.IGNORECASE)
_OLD_GPS: Final = re.compile(r"GPS\s*\(\s*([-+\d.]+)\s*,\s*([-+\d.]+)\s*(?:,\s*([-+\d.]+))?")
_KEPT: Final = frozenset(
    {"latitude", "longitude", "longtitude", "abs_alt", "altitude", "gb_yaw", "gb_pitch", "gb_roll"}
)


def read_dji_srt(path: Path, text: str, faults: Counter[str]) -> list[Sample]:
    """Return a sample per block, at the time its subtitle begins.

    Args:
        path: for what is said of it.
        text: its content.
        faults: grows by what is left out.

    Raises:
        InputError: subtitles without positions, or no subtitles.
    """
    samples = []
    times = list(_TIMES.finditer(text))
    for match, following in zip(times, [*times[1:], None], strict=True):
        hours, minutes, seconds, millis = match.groups()
        at = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(millis.ljust(3, "0"))
        row = _row(text[match.end() : following.start() if following else len(text)])
        if row and (one := columns.sample({"time_ms": at, **row}, faults)) is not None:
            samples.append(one)
        elif not row:
            faults["subtitles without a position"] += 1
    if not samples:
        raise InputError(
            f"{path}: no subtitles with positions; is this the .SRT that the drone wrote beside its video?"
        )
    return samples


def _row(block: str) -> dict[str, object]:
    row: dict[str, object] = {}
    for name, value in _PAIR.findall(block):
        if name.lower() in _KEPT:
            row.setdefault(name.lower(), float(value))
    if "latitude" not in row and (old := _OLD_GPS.search(block)):
        longitude, latitude, altitude = old.groups()
        row |= {"longitude": longitude, "latitude": latitude, **({"altitude": altitude} if altitude else {})}
    return row
