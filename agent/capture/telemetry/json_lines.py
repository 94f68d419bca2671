"""JSON lines: an object a line, with the names that CSV columns have."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from agent.capture.telemetry import columns
from agent.capture.telemetry.sample import Sample
from agent.errors import InputError


def read_json_lines(path: Path, text: str, faults: Counter[str]) -> list[Sample]:
    """Return the samples of a log; a line that is no object is counted and left out.

    Args:
        path: for what is said of it.
        text: its content.
        faults: grows by what is left out.

    Raises:
        InputError: not one line tells anything.
    """
    samples = []
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            faults["lines that are no JSON object"] += 1
            continue
        if (one := columns.sample(row, faults)) is not None:
            samples.append(one)
    if not samples:
        raise InputError(f"{path}: not one line of telemetry; needs objects with {columns.KNOWN}")
    return samples
