"""CSV logs, as AirData, Litchi, loggers of tunnel carts and spreadsheets write them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

from agent.capture.telemetry import columns
from agent.capture.telemetry.sample import Sample
from agent.errors import InputError


def read_csv(path: Path, text: str, faults: Counter[str]) -> list[Sample]:
    """Return the samples of a table whose first line names its columns; separators , ; and tab.

    Args:
        path: for what is said of it.
        text: its content.
        faults: grows by what is left out.

    Raises:
        InputError: no line with the names of columns, or none of them is known.
    """
    lines = text.lstrip("\ufeff").splitlines()
    first = next((line for line in lines if line.strip()), "")
    separator = max(",;\t", key=first.count)
    rows = csv.DictReader(io.StringIO("\n".join(lines[lines.index(first) :] if first else [])), delimiter=separator)
    names = [name for name in rows.fieldnames or [] if name]
    if not columns.knows(names):
        raise InputError(
            f"{path}: no telemetry in the columns {', '.join(names[:12]) or '(none)'}; needs {columns.KNOWN}"
        )
    found = (columns.sample({k: v for k, v in row.items() if k and isinstance(v, str)}, faults) for row in rows)
    return [one for one in found if one is not None]
