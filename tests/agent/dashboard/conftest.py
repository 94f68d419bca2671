"""A recorded flight, and its page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.flights import write_flight
from tests.support.page import Reader, page_on


@pytest.fixture
def record(tmp_path: Path) -> Path:
    write_flight(tmp_path / "flight", 2)
    return tmp_path / "flight"


@pytest.fixture
def page(record: Path) -> Iterator[Reader]:
    with page_on(record) as reader:
        yield reader
