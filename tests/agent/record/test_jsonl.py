from __future__ import annotations

import json
import math

import numpy as np
import pytest

from agent.contract.flight import BranchRow, FrameRow, SightRow
from agent.record import jsonl


def test_long_lists_are_rounded_as_single_numbers_are() -> None:
    """To the last bit: the middle between two decimals is where products of floats go wrong."""
    rng = np.random.default_rng(0)
    middles = (rng.integers(0, 4_000_000, 5000) / 1000 + 0.0005).tolist()
    values = [*middles, *rng.uniform(0, 4000, 5000).tolist(), 2.675, 1.0005, 0.0, 1e16, 1.2345e11, 0.0004999999999]
    row = BranchRow(line_px=tuple(zip(values, reversed(values), strict=True)), width_px=tuple(values))
    got = json.loads(jsonl.line(row))
    assert got["width_px"] == [round(value, 3) for value in values]
    assert got["line_px"] == [[round(x, 3), round(y, 3)] for x, y in zip(values, reversed(values), strict=True)]


def test_minus_nothing_is_nothing_in_a_long_list() -> None:
    row = BranchRow(line_px=((-0.0001, -0.0001),) * 100, width_px=(1.0,))
    assert b"-0" not in jsonl.line(row)


def test_unknown_widths_stay_unknown() -> None:
    row = BranchRow(line_px=((1.0, 2.0),) * 100, width_px=(None, 1.23456) * 50)
    assert json.loads(jsonl.line(row))["width_px"] == [None, 1.235] * 50


@pytest.mark.parametrize("count", [1, 5, 200])
def test_a_line_is_what_json_makes_of_rounded_numbers(count: int) -> None:
    rng = np.random.default_rng(count)
    x, y = rng.uniform(-4000, 4000, (2, count)) * 10.0 ** rng.integers(-6, 12, (2, count))
    widths = [None if at % 3 == 1 else abs(value) for at, value in enumerate(x.tolist())]
    row = BranchRow(line_px=tuple(zip(x.tolist(), y.tolist(), strict=True)), width_px=tuple(widths))
    plain = {
        "line_px": [[round(a, 3) + 0.0, round(b, 3) + 0.0] for a, b in row.line_px],
        "width_px": [None if width is None else round(width, 3) for width in row.width_px],
    }
    assert jsonl.line(row) == json.dumps(plain, separators=(",", ":")).encode() + b"\n"


def test_fine_numbers_keep_their_exponents_and_odd_names_their_characters() -> None:
    """Field by field, as a dump through `json` has them; half a character of a file's name becomes an escape."""
    sight = SightRow(focal_px=(3e3, 3e3), principal_px=(0.0, 1.0), distortion=(1e-7, 2.5e-5, 0.0, -1e-9), distance_mm=2)
    row = FrameRow(index=0, name='\udc80 é "', source="a", camera="c", status="inferred", scale_mm_px=3e-5, sight=sight)
    plain = json.dumps(row.model_dump(by_alias=True), ensure_ascii=False, separators=(",", ":"))
    assert jsonl.line(row) == plain.encode("utf-8", "backslashreplace") + b"\n"


@pytest.mark.parametrize("values", [(math.nan,), (1.0,) * 100 + (math.inf,), (None, -math.inf) * 50])
def test_what_json_has_not_is_refused(values: tuple[float | None, ...]) -> None:
    with pytest.raises(ValueError, match="JSON"):
        jsonl.line(BranchRow.model_construct(line_px=(), width_px=values))
