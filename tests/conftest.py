"""Fixtures that every part of the suite shares."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

from tests.support.needs import missing

# no test asserts a time; and a failure in CI must be one that anybody can have again
hypothesis.settings.register_profile("crackscout", deadline=None, derandomize=True)
hypothesis.settings.load_profile("crackscout")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real photos beside the checkout; never part of it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        missing("no real photos: ../shared/data is absent")
    return folder
