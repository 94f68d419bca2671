"""Everything that our code touches of TensorRT exists in the real bindings of each version that it is to run on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.api_use import Name, api_use
from tests.support.commands import ROOT
from tests.support.cuda_on_cpu import HERE
from tests.support.trt_bindings import VERSIONS, run_with, stubbed

SOURCES = [ROOT / "agent/infer/engine_build.py", *sorted((ROOT / "agent/infer/tensorrt").glob("*.py"))]
LOOK_FOR = """
import json, sys
import tensorrt as trt

def there(name):
    thing = trt
    for part in name:
        if not hasattr(thing, part):
            return False
        thing = getattr(thing, part)
    return True

names = NAMES
print(json.dumps({"version": trt.__version__, "missing": [name for name in names if not there(name)]}))
"""


@pytest.fixture(scope="module", params=VERSIONS)
def bindings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    version: str = request.param
    return version, stubbed(version, tmp_path_factory.mktemp("bindings"))


def missing_names(folder: Path, names: set[Name]) -> tuple[str, set[Name]]:
    code = LOOK_FOR.replace("NAMES", repr([list(name) for name in sorted(names)]))
    done = run_with(folder, code)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["version"], {tuple(name) for name in found["missing"]}


def touched() -> set[Name]:
    uses = [api_use(path.read_text()) for path in SOURCES]
    assert [fault for use in uses for fault in use.faults] == []
    return {name for use in uses for name in use.names}


def test_the_list_is_read_from_the_code() -> None:
    names = touched()
    assert {
        ("Builder", "build_serialized_network"), ("ICudaEngine", "get_tensor_profile_shape"),
        ("IExecutionContext", "execute_async_v3"), ("Runtime", "engine_host_code_allowed"), ("DataType", "UINT8"),
        ("ILogger", "log"), ("IProgressMonitor", "step_complete"), ("OnnxParser", "get_error"), ("ITensor", "shape"),
        ("ITimingCache", "serialize"), ("ParserError", "node_operator"), ("ILogger", "Severity", "ERROR"),
    } <= names  # fmt: skip
    assert len(names) > 45


def test_every_name_that_the_code_touches_is_in_the_real_bindings(bindings: tuple[str, Path]) -> None:
    version, folder = bindings
    assert missing_names(folder, touched()) == (version, set())


def test_every_name_of_the_second_implementation_is_in_the_real_bindings(bindings: tuple[str, Path]) -> None:
    """It may know less than TensorRT does, and nothing that TensorRT does not."""
    code = (
        f"import sys, json; sys.path.insert(0, {str(HERE)!r})\n"
        "import tensorrt, enum\n"
        "names = []\n"
        "for name, kind in vars(tensorrt).items():\n"
        "    if isinstance(kind, type) and kind.__module__ == 'tensorrt':\n"
        "        names.append([name])\n"
        "        names += [[name, part] for part in vars(kind) if not part.startswith('_')]\n"
        "print(json.dumps(names))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names: set[Name] = {tuple(name) for name in json.loads(done.stdout)}
    assert len(names) > 60
    assert missing_names(bindings[1], names)[1] == set()


PLANTED = [
    ("trt.BuilderFlag.FP16", ("BuilderFlag", "FP16")),
    ("trt.IInt8EntropyCalibrator2", ("IInt8EntropyCalibrator2",)),
    ("builder.platform_has_fast_fp16", ("Builder", "platform_has_fast_fp16")),
    ("trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH", ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH")),
    ("self._engine.device_memory_size", ("ICudaEngine", "device_memory_size")),
]


@pytest.mark.parametrize(("use", "name"), PLANTED, ids=[name[-1] for _, name in PLANTED])
def test_a_planted_use_of_what_version_11_dropped_is_found(use: str, name: Name, tmp_path: Path) -> None:
    code = (
        "class E:\n"
        "    def f(self, builder: trt.Builder, engine: trt.ICudaEngine | None) -> None:\n"
        "        self._engine: trt.ICudaEngine = engine\n"
        f"        print({use})\n"
    )
    assert name in api_use(code).names
    assert missing_names(stubbed("11.4.0.106", tmp_path / "new"), {name})[1] == {name}
    assert missing_names(stubbed("10.3.0", tmp_path / "old"), {name})[1] == set()


@pytest.mark.parametrize(
    "use", ["builder.create_network(0).num_inputs", "network = builder.create_network(0)\n    network.num_inputs"]
)
def test_a_result_that_is_used_further_without_an_annotation_is_a_fault(use: str) -> None:
    (fault,) = api_use(f"def f(builder: trt.Builder) -> None:\n    {use}\n").faults
    assert ".num_inputs of a TensorRT object without an annotation" in fault
