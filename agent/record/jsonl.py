"""How rows become bytes: the one place, so that equal rows are equal bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import numpy as np
from pydantic import BaseModel
from pydantic_core import to_json

DECIMALS: Final = 3  # of px, mm and degrees: finer than any of them is known
_ALIKE_DECIMALS: Final = 4
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
_encoded: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def line(row: BaseModel) -> bytes:
    """Return one line of compact JSON, UTF-8, keys in the model's order, floats rounded, newline at the end.

    Raises:
        ValueError: NaN or infinity, which JSON has not.
    """
    return _bytes(_text(row, DECIMALS) + "\n")


def document(model: BaseModel) -> bytes:
    """Return a whole file of JSON for people to read; floats stand as they are, since settings are among them."""
    return encode(model.model_dump(by_alias=True), indent=2) + b"\n"


def encode(value: Any, *, indent: int | None = None) -> bytes:  # noqa: ANN401 - what JSON can hold
    """Return JSON in UTF-8; half characters of undecodable file names become JSON's own escapes.

    Raises:
        ValueError: NaN or infinity, which JSON has not.
    """
    separators = (",", ":") if indent is None else None
    return _bytes(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=separators, indent=indent))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _text(value: Any, decimals: int) -> str:  # noqa: ANN401 - what JSON can hold
    """Return a value as JSON straight from the model's own fields: a dump of it first costs more than all the rest."""
    if isinstance(value, float):
        return _encoded(round(value, decimals) + 0.0)  # + 0.0 makes -0.0 plain
    if isinstance(value, BaseModel):
        return "{" + ",".join(key + _text(getattr(value, name), fine) for name, key, fine in _keys(type(value))) + "}"
    if isinstance(value, list | tuple):
        numbers = _numbers(value, decimals) if decimals <= _ALIKE_DECIMALS else None
        if numbers is not None:
            return to_json(numbers).decode("ascii")
        return "[" + ",".join(_text(item, decimals) for item in value) + "]"
    if isinstance(value, dict):
        items = (f"{_encoded(key)}:{_text(item, _FINER.get(key, DECIMALS))}" for key, item in value.items())
        return "{" + ",".join(items) + "}"
    return _encoded(value)


@lru_cache(maxsize=64)
def _keys(model: type[BaseModel]) -> list[tuple[str, str, int]]:
    """Return each field's name, what stands before its value, and the decimals of that."""
    names = [(name, field.alias or name) for name, field in model.model_fields.items()]
    return [(name, _encoded(key) + ":", _FINER.get(key, DECIMALS)) for name, key in names]


def _numbers(values: Sequence[Any], decimals: int) -> Sequence[Any] | None:
    """Round numbers and points, of which cracks have thousands, without a call for each; None: they are something else.

    Cracks are mostly such lists. To four decimals pydantic writes a number as Python does, in a third of the time.
    """
    kinds = set(map(type, values))
    if kinds == {int}:
        return values
    if kinds == {float}:
        return _rounded(values, decimals)
    if kinds == {float, type(None)}:
        known = iter(_rounded([value for value in values if value is not None], decimals))
        return [None if value is None else next(known) for value in values]
    if kinds == {tuple} and set(map(len, values)) == {2}:
        flat = list(chain.from_iterable(values))
        if set(map(type, flat)) == {float}:
            each = iter(_rounded(flat, decimals))
            return list(zip(each, each, strict=True))
    return None


def _rounded(values: Sequence[float], decimals: int) -> list[float]:
    """Round as `round` does, to the last bit: what lies near the middle between two is left to it.

    Raises:
        ValueError: NaN or infinity.
    """
    if not math.isfinite(sum(values)):
        raise ValueError("JSON has neither NaN nor infinity")
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
