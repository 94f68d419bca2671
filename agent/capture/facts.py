"""What a photo's file says beside its pixels: when, where, how far and through which lens. EXIF, DJI's XMP, GeoTIFF.

A fact that cannot be (a latitude of 95, a date in 2099 months) is left out, as if it had not been written.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from agent.capture import geotiff
from agent.capture.telemetry.sample import Sample, checked
from agent.capture.tiff import Directory
from agent.contract.frame import ScaleMethod

_EXIF_POINTER, _GPS_POINTER, _MODEL, _XMP_TAG = 0x8769, 0x8825, 0x0110, 0x02BC
_TAKEN, _TAKEN_OFFSET, _TAKEN_SUBSEC, _FOCAL = 0x9003, 0x9011, 0x9291, 0x920A
_XMP_START: Final = b"http://ns.adobe.com/xap/1.0/\0"
_DJI: Final = re.compile(r'(?<!/)drone-dji:(\w+)(?:\s*=\s*"([^"]*)"|\s*>\s*([^<]*)<)')
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """None where the file does not say."""

    time_ns: int | None = None  # since 1970; a time without its zone is taken for UTC
    sample: Sample | None = None  # place, attitude, distance
    model: str | None = None
    focal_mm: float | None = None
    focal_px: float | None = None  # as calibrated by the maker
    map_mm_per_px: float | None = None  # of a map-projected picture


def picture_facts(content: bytes) -> PictureFacts:
    """Return what a JPEG or TIFF file says of itself; nothing at all of other files, or damaged ones."""
    exif, xmp = _blocks(content)
    first = Directory(exif)
    taken = first.below(_EXIF_POINTER)
    dji = {name.casefold(): a or b for name, a, b in _DJI.findall(xmp)}
    map_ = geotiff.map_facts(first)
    values, method = _from_gps(first.below(_GPS_POINTER)), None
    if map_ is not None and map_.place is not None:
        values = {"lat": map_.place[0], "lon": map_.place[1]}
    from_dji, method = _from_dji(dji)
    faults: Counter[str] = Counter()
    # a wrong figure of the one must not hide a right one of the other
    one, other = checked(0, from_dji, faults, method=method), checked(0, values, faults)
    known = _known(other) | _known(one)
    focal_px = _number(dji.get("calibratedfocallength"))
    focal = taken.numbers(_FOCAL)
    return PictureFacts(
        time_ns=_time(taken, dji),
        sample=Sample(time_ns=0, **known) if known else None,
        model=first.text(_MODEL),
        focal_mm=focal[0] if focal and 0 < focal[0] < 10_000 else None,
        focal_px=focal_px if focal_px is not None and 10 < focal_px < 1e6 else None,
        map_mm_per_px=map_.mm_per_px if map_ is not None else None,
    )


def _known(sample: Sample) -> dict[str, Any]:
    names = ("lat", "lon", "alt_m", "yaw_deg", "pitch_deg", "roll_deg", "distance_m", "method")
    return {name: getattr(sample, name) for name in names if getattr(sample, name) is not None}


def _from_gps(gps: Directory) -> dict[str, float]:
    """Return EXIF's position: degrees, minutes, seconds and the letter of the half."""
    values = {}
    for name, letter, angle, negative in (("lat", 1, 2, "S"), ("lon", 3, 4, "W")):
        parts, half = gps.numbers(angle), gps.text(letter)
        if len(parts) == 3 and half:
            degrees = parts[0] + parts[1] / 60 + parts[2] / 3600
            values[name] = -degrees if half.upper().startswith(negative) else degrees
    height = gps.numbers(6)
    if height:
        below = gps.numbers(5)
        values["alt_m"] = -height[0] if below and below[0] == 1 else height[0]
    return values if {"lat", "lon"} <= values.keys() else {}


def _from_dji(dji: dict[str, str]) -> tuple[dict[str, float], ScaleMethod | None]:
    """Return what DJI writes. Its older models misspell GpsLongitude as GpsLongtitude."""
    names = {
        "lat": ("gpslatitude",),
        "lon": ("gpslongitude", "gpslongtitude"),
        "alt_m": ("absolutealtitude",),
        "yaw_deg": ("gimbalyawdegree",),
        "pitch_deg": ("gimbalpitchdegree",),
        "roll_deg": ("gimbalrolldegree",),
        "distance_m": ("lrftargetdistance",),
    }
    values = {}
    for name, keys in names.items():
        number = next((found for key in keys if (found := _number(dji.get(key))) is not None), None)
        if number is not None:
            values[name] = number
    if values.get("distance_m") == 0:  # no echo
        del values["distance_m"]
    if not {"lat", "lon"} <= values.keys():
        values.pop("lat", None)
        values.pop("lon", None)
    if dji.get("rtkflag") == "0" and "lat" in values:  # it had no position, and writes the last one
        del values["lat"], values["lon"]
    if dji.get("camreverse") == "1" and "roll_deg" in values:
        values["roll_deg"] += 180
    return values, "lrf"


def _time(taken: Directory, dji: dict[str, str]) -> int | None:
    text = dji.get("utcatexposure") or taken.text(_TAKEN)
    match = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)(\.\d+)?", text or "")
    if not match:
        return None
    *parts, fraction = match.groups()
    try:
        moment = datetime(*map(int, parts), tzinfo=timezone.utc)  # type: ignore[misc,arg-type]
    except ValueError:
        return None
    subsec = fraction or f".{taken.text(_TAKEN_SUBSEC) or ''}"
    if not re.fullmatch(r"\.\d{1,9}", subsec):
        subsec = ".0"
    offset = None if dji.get("utcatexposure") else re.fullmatch(r"([+-])(\d\d):(\d\d)", taken.text(_TAKEN_OFFSET) or "")
    if offset:
        sign, hours, minutes = offset.groups()
        moment -= timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    return int((moment - _EPOCH).total_seconds()) * 1_000_000_000 + round(float(subsec) * 1e9)


def _blocks(content: bytes) -> tuple[bytes, str]:
    """Return the TIFF structure with EXIF, and the XMP text, of a JPEG or TIFF file."""
    if content[:4] in {b"II*\0", b"MM\0*"}:
        xmp = Directory(content).raw(_XMP_TAG) or b""
        return content, xmp.decode("utf-8", "replace")
    exif, xmp = b"", b""
    for segment in _app1(content):
        if segment.startswith(b"Exif\0\0") and not exif:
            exif = segment[6:]
        elif segment.startswith(_XMP_START) and not xmp:
            xmp = segment[len(_XMP_START) :]
    return exif, xmp.decode("utf-8", "replace")


def _app1(jpeg: bytes) -> list[bytes]:
    """Return the APP1 segments of a JPEG before its picture begins."""
    found: list[bytes] = []
    at = 2
    if not jpeg.startswith(b"\xff\xd8"):
        return found
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] not in {0xDA, 0xD9}:
        if jpeg[at + 1] == 0xFF:  # padding
            at += 1
            continue
        size = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] == 0xE1:
            found.append(jpeg[at + 4 : at + 2 + size])
        at += 2 + max(size, 2)
    return found


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
