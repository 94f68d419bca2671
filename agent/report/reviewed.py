"""What people said of a record's cracks, as the reports show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What holds of one crack."""

    verdict: str | None = None
    standing: tuple[Any, ...] = ()


def reviews_of(folder: Path) -> Mapping[str, Reviewed]:  # noqa: ARG001 - until reviews are read
    """Return what holds, by crack id."""
    return {}
