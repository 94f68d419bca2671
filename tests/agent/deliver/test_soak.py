from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.soak import soak


@pytest.mark.slow
def test_two_minutes_over_a_failing_link_lose_nothing_and_leak_nothing(tmp_path: Path) -> None:
    figures = soak(tmp_path, 2)
    assert figures.outages >= 2
    assert figures.held, figures
