"""Fixtures of the training tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.training import write_classes, write_pairs


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with `pairs` and `classes`; tests only read it."""
    root = tmp_path_factory.mktemp("photos")
    write_pairs(root / "pairs", 10)
    write_classes(root / "classes", 10)
    return root
