from __future__ import annotations

import json

import numpy as np

from agent.contract.flight import BranchRow
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
