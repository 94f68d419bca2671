"""GeoTIFF (OGC 19-008): the scale and the middle of a map-projected picture, an orthophoto of a deck or a road.

Read are pictures in degrees (WGS 84) and in metres (UTM on WGS 84 or ETRS 89, which lie within a metre of each other);
of other projections the scale alone, where it is in metres. What is turned against its map is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from agent.capture.tiff import Directory
from agent.place import earth

_PIXEL_SCALE, _TIE_POINT, _KEYS, _WIDTH, _HEIGHT = 33550, 33922, 34735, 256, 257
_MODEL_TYPE, _GEOGRAPHIC, _PROJECTED, _LINEAR_UNITS, _RASTER_TYPE = 1024, 2048, 3072, 3076, 1025
_PROJECTED_MODEL, _GEOGRAPHIC_MODEL, _METRE, _POINT, _USER = 1, 2, 9001, 2, 32767
_WGS84: Final = frozenset({4326, 4258, 4979, 4937})


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFacts:
    """None where the file does not say, or says it in a projection that is not read."""

    mm_per_px: float | None
    place: tuple[float, float] | None  # latitude and longitude of the picture's middle, degrees


def map_facts(first: Directory) -> MapFacts | None:
    """Return what the first directory of a TIFF says of its map; None where it is no GeoTIFF."""
    scale, tie, keys = first.numbers(_PIXEL_SCALE), first.numbers(_TIE_POINT), _keys(first)
    size = [first.numbers(tag) for tag in (_WIDTH, _HEIGHT)]
    if len(scale) < 2 or len(tie) < 6 or not all(size) or not all(math.isfinite(x) and x > 0 for x in scale[:2]):
        return None
    shift = 0.5 if keys.get(_RASTER_TYPE) == _POINT else 0.0  # tie points name pixel corners, or centres
    x = tie[3] + (size[0][0] / 2 - shift - tie[0]) * scale[0]
    y = tie[4] - (size[1][0] / 2 - shift - tie[1]) * scale[1]
    if (
        keys.get(_MODEL_TYPE) == _GEOGRAPHIC_MODEL
        and keys.get(_GEOGRAPHIC) in _WGS84
        and abs(y) <= 89
        and abs(x) <= 180
    ):
        step = earth.distance_m((y - scale[1] / 2, x), (y + scale[1] / 2, x))
        wide = earth.distance_m((y, x - scale[0] / 2), (y, x + scale[0] / 2))
        return MapFacts(mm_per_px=1000 * math.sqrt(step * wide), place=(y, x))
    if keys.get(_MODEL_TYPE) == _PROJECTED_MODEL and keys.get(_LINEAR_UNITS, _METRE) == _METRE:
        return MapFacts(mm_per_px=1000 * math.sqrt(scale[0] * scale[1]), place=_utm(keys.get(_PROJECTED, 0), x, y))
    return MapFacts(mm_per_px=None, place=None)


def _utm(code: int, east: float, north: float) -> tuple[float, float] | None:
    """Return degrees of a point in one of EPSG's UTM zones."""
    for first, count, south in ((32601, 60, False), (32701, 60, True), (25828, 11, False)):
        if first <= code < first + count:
            zone = code - first + (28 if first == 25828 else 1)
            lat, lon = earth.from_utm(zone, east, north, south=south)
            return (lat, lon) if abs(lat) <= 90 and abs(lon) <= 180 else None
    return None


def _keys(first: Directory) -> dict[int, int]:
    """Return the short keys of the GeoKey directory."""
    words = [int(word) for word in first.numbers(_KEYS)]
    keys = {}
    for at in range(4, len(words) - 3, 4):
        key, location, _, value = words[at : at + 4]
        if location == 0 and value != _USER:
            keys[key] = value
    return keys
