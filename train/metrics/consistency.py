"""Printed tables that cannot be: an F1 above the harmonic mean of its own precision and recall.

Counts pooled over a set give F1 = 2PR / (P + R). Averages over images or runs give less, since the harmonic mean is
concave. Nothing gives more than the printed rounding explains, so a row that is above is a misprint or mixes sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedRow:
    """One row of a table, in the table's own unit (per cent or parts of 1)."""

    name: str
    precision: float
    recall: float
    f1: float
    decimals: int = 2  # digits after the point, as printed


def excess_f1(row: PrintedRow) -> float:
    """Return by how much a row's F1 is above what its P and R allow after rounding, in its unit; 0 if not at all."""
    half = 0.5 * 10.0**-row.decimals
    precision, recall = row.precision + half, row.recall + half
    highest = 2 * precision * recall / (precision + recall)
    return max(row.f1 - half - highest, 0.0)


def inconsistent(rows: Iterable[PrintedRow]) -> list[PrintedRow]:
    """Return the rows that no pooling and no averaging can give."""
    return [row for row in rows if excess_f1(row) > 0]
