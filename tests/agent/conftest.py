"""Fixtures of the agent's tests. Nothing here needs torch: CI runs this folder on the device's Pythons."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.contract.bundle import Bundle, load_bundle
from tests.support.bundles import make_bundle
from tests.support.disks import small_disk
from tests.support.nvidia_fixtures import built, cuda_library, driver, nvidia, nvidia_variables, pycuda_rest

__all__ = ["built", "cuda_library", "driver", "nvidia", "nvidia_variables", "pycuda_rest", "small_disk"]


@pytest.fixture(scope="session")
def tiny_bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed bundle whose networks are known formulas; read only."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_bundle_folder: Path) -> Bundle:
    return load_bundle(tiny_bundle_folder)
