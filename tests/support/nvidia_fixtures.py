"""TensorRT and CUDA without a GPU: second implementations of their APIs, found as the real ones are."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.contract.bundle import Bundle
from agent.infer.cuda.driver import CudaDriver, open_driver
from agent.infer.engine_cache import EngineCache
from agent.infer.tensorrt.opening import Engines
from tests.support.cuda_on_cpu import HERE, build_driver, build_rest, nvidia_environment


@pytest.fixture(scope="session")
def cuda_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_driver(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="session")
def nvidia_variables(cuda_library: Path) -> dict[str, str]:
    """What a process needs to find both."""
    return nvidia_environment(cuda_library)


@pytest.fixture(scope="module")
def nvidia(cuda_library: Path, nvidia_variables: dict[str, str]) -> Iterator[None]:
    """Both, in this process and in those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in nvidia_variables.items():
            patch.setenv(name, value)
        ctypes.CDLL(str(cuda_library), ctypes.RTLD_GLOBAL)  # found from now on by its name
        patch.syspath_prepend(str(HERE))
        yield
    sys.modules.pop("tensorrt", None)


# pycuda has no wheels and is no part of CI: where it was built, it is held to the same tests
DRIVERS = ["cuda.bindings", *(["pycuda"] if importlib.util.find_spec("pycuda") else [])]


@pytest.fixture(scope="session")
def pycuda_rest(cuda_library: Path) -> Path:
    """What pycuda wants of a driver besides."""
    found = importlib.util.find_spec("pycuda")
    assert found
    assert found.origin
    (module,) = Path(found.origin).parent.glob("_driver.*.so")
    return build_rest(module, cuda_library)


@pytest.fixture(params=DRIVERS)
def driver(nvidia: None, request: pytest.FixtureRequest) -> Iterator[CudaDriver]:  # noqa: ARG001 - it is there by then
    if request.param == "pycuda":
        ctypes.CDLL(str(request.getfixturevalue("pycuda_rest")), ctypes.RTLD_GLOBAL)
    opened = open_driver(request.param)
    yield opened
    opened.close()


@dataclass(frozen=True)
class Built:
    """Engines of the tiny bundle."""

    engines: Engines
    cache: Path


@pytest.fixture(scope="module")
def built(nvidia: None, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Built:  # noqa: ARG001
    """The tiny bundle's engines, built by the real process; copy the folder before changing it."""
    folder = tmp_path_factory.mktemp("engines")
    engines = Engines(bundle=tiny_bundle, variant="fp32", cache=EngineCache(folder), timeout_s=120)
    engines.build(lambda _: None)
    return Built(engines, folder)
