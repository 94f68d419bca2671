from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from agent.contract.engine import BatchProfile, BuildOptions, EngineKey, Machine

ORIN = Machine(
    tensorrt="10.3.0",
    cuda="12.6",
    gpu="Orin",
    compute_capability="8.7",
    multiprocessors=16,
    board="NVIDIA Jetson AGX Orin Developer Kit",
    system="ubuntu 22.04",
    architecture="aarch64",
)
KEY = EngineKey(
    onnx_sha256="a" * 64, precision="fp16", profile=BatchProfile(), options=BuildOptions(), machine=ORIN, builder=1
)


def machine(**change: Any) -> dict[str, Any]:
    return {"machine": ORIN.model_copy(update=change)}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"onnx_sha256": "b" + "a" * 63}, id="one weight"),
        pytest.param({"precision": "int8"}, id="precision"),
        pytest.param({"profile": BatchProfile(largest=9)}, id="profile"),
        pytest.param({"options": BuildOptions(workspace_mib=2048)}, id="workspace"),
        pytest.param({"options": BuildOptions(optimization_level=5)}, id="optimisation level"),
        pytest.param(machine(tensorrt="10.3.1"), id="TensorRT version"),
        pytest.param(machine(cuda="12.8"), id="CUDA version"),
        pytest.param(machine(gpu="Orin Nano"), id="GPU name"),
        pytest.param(machine(compute_capability="9.0"), id="compute capability"),
        pytest.param(machine(multiprocessors=8), id="multiprocessors"),
        pytest.param(machine(board=None), id="board"),
        pytest.param(machine(system="ubuntu 24.04"), id="system"),
        pytest.param(machine(architecture="x86_64"), id="architecture"),
        pytest.param({"dla_core": 0}, id="DLA core"),
        pytest.param({"builder": 2}, id="builder"),
    ],
)
def test_each_thing_that_an_engine_depends_on_gives_another_key(change: dict[str, Any]) -> None:
    assert KEY.model_copy(update=change).digest != KEY.digest


def test_every_field_of_the_key_is_in_the_digest() -> None:
    """None is forgotten above: the parts of the key that were changed are all its parts."""
    assert set(EngineKey.model_fields) == {
        "schema_", "onnx_sha256", "precision", "profile", "options", "machine", "dla_core", "builder",
    }  # fmt: skip
    assert set(Machine.model_fields) == {
        "tensorrt", "cuda", "gpu", "compute_capability", "multiprocessors", "board", "system", "architecture",
    }  # fmt: skip


def test_the_same_key_has_the_same_name_after_it_was_written_and_read() -> None:
    again = EngineKey.model_validate_json(KEY.model_dump_json(by_alias=True))
    assert again == KEY
    # worked out by hand: a release that names engines otherwise would build all of them again
    assert again.digest == KEY.digest == "083c57f1dd31b19b59aa11d2293d2fd637e3823c31b1d496d502854f3bd61fe8"


def test_batches_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ValidationError, match="batch 1 <= 9 <= 8 does not hold"):
        BatchProfile(tuned=9)
