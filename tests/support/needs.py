"""What a test does when a part of its machine is missing."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip with the reason; in CI a missing part is a failure, never a skip."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} (in CI a missing part is a failure)")
    pytest.skip(what)
