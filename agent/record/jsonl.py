"""How rows become bytes: the one place, so that equal rows are equal bytes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from pydantic import BaseModel

DECIMALS: Final = 3  # of px, mm and degrees: finer than any of them is known
_WHOLE: Final = {int, str, bool, type(None)}
_NUMBERS: Final = {float, type(None)}
_FEW: Final = 32  # numbers, of which an array costs more than it saves
_UNSURE: Final = 1e-4  # of the last decimal: below `_LARGE` no product is that far off
_LARGE: Final = 2.0**38
_SIGHT: Final = ("focal_px", "principal_px", "distance_mm", "tilt_deg", "toward_deg", "radius_mm", "attitude_deg")
_FINER: Final = {
    "scale_mm_px": 9,
    "scale_error": 9,
    "confidence": 6,
    "rotation_deg": 6,
    "lat": 8,
    "lon": 8,
    **dict.fromkeys(_SIGHT, 9),  # figures in mm are told from them again
    "distortion": 15,
}


def line(row: BaseModel) -> bytes:
    """Return one line of compact JSON, UTF-8, keys in the model's order, floats rounded, newline at the end."""
    return encode(_rounded(row.model_dump(by_alias=True), DECIMALS), indent=None) + b"\n"


def document(model: BaseModel) -> bytes:
    """Return a whole file of JSON for people to read; floats stand as they are, since settings are among them."""
    return encode(model.model_dump(by_alias=True), indent=2) + b"\n"


def encode(value: Any, *, indent: int | None = None) -> bytes:  # noqa: ANN401 - what JSON can hold
    """Return JSON in UTF-8; half characters of undecodable file names become JSON's own escapes.

    Raises:
        ValueError: NaN or infinity, which JSON has not.
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=separators, indent=indent)
    return text.encode("utf-8", "backslashreplace")


def _rounded(value: Any, decimals: int) -> Any:  # noqa: ANN401 - what JSON can hold
    if isinstance(value, float):
        return round(value, decimals) + 0.0  # + 0.0 makes -0.0 plain
    if isinstance(value, dict):
        return {key: _rounded(item, _FINER.get(key, DECIMALS)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return _rounded_list(value, decimals)
    return value


def _rounded_list(values: Sequence[Any], decimals: int) -> Sequence[Any]:
    """Round a list; those of numbers and of points, of which cracks have thousands, without a call for each."""
    kinds = set(map(type, values))
    if kinds <= _WHOLE:
        return values
    if kinds == {float}:
        return _rounded_floats(values, decimals)
    if kinds <= _NUMBERS:
        known = iter(_rounded_floats([value for value in values if value is not None], decimals))
        return [None if value is None else next(known) for value in values]
    if kinds == {tuple} and set(map(len, values)) == {2}:
        flat = list(itertools.chain.from_iterable(values))
        if set(map(type, flat)) == {float}:
            each = iter(_rounded_floats(flat, decimals))
            return list(zip(each, each, strict=True))
    return [_rounded(item, decimals) for item in values]


def _rounded_floats(values: Sequence[float], decimals: int) -> list[float]:
    """Round as `round` does, to the last bit: what lies near the middle between two is left to it."""
    if len(values) < _FEW:
        return [round(value, decimals) + 0.0 for value in values]
    power = 10.0**decimals
    scaled = np.array(values) * power
    whole = np.rint(scaled)
    rounded: list[float] = (whole / power + 0.0).tolist()
    unsure = ~((np.abs(np.abs(scaled - whole) - 0.5) > _UNSURE) & (np.abs(scaled) < _LARGE))
    for index in np.flatnonzero(unsure).tolist():
        rounded[index] = round(values[index], decimals) + 0.0
    return rounded
