"""`crack-export engine`, as on a device: torch, the training part and every extra's packages cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.contract.engine import EngineRecord
from tests.support.commands import call, variables
from tests.support.cuda_on_cpu import nvidia_environment

BLOCKED = (
    "torch", "torchvision", "lightning", "train", "onnx", "scipy", "skimage", "sklearn", "matplotlib", "openvino",
    "cuda", "pycuda", "polars", "ray", "pymavlink",
)  # fmt: skip
# Python loads a module of this name before anything else: here and in the process that builds
ON_A_DEVICE = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ImportError(name + " is not on the device")

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A folder first on the path that takes the packages of every extra away."""
    folder = tmp_path / "device"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(ON_A_DEVICE)
    return folder


def on_device(
    device: Path, words: list[str], environment: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(device), environment["PYTHONPATH"]])
    return subprocess.run(
        words,
        env=variables(**{**environment, "PYTHONPATH": path}),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def engine(device: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return on_device(device, call("crack-export", "engine", *words), environment)


def test_what_is_blocked_is_blocked_in_every_process(device: Path, nvidia_variables: dict[str, str]) -> None:
    done = on_device(device, [sys.executable, "-c", "import onnx"], nvidia_variables)
    assert "onnx is not on the device" in done.stderr


def test_both_engines_are_built_without_torch_and_train(
    device: Path, tiny_bundle_folder: Path, tmp_path: Path, nvidia_variables: dict[str, str]
) -> None:
    for _ in range(2):  # the second time they are there
        done = engine(device, tiny_bundle_folder, "--cache", tmp_path / "engines", "--json", **nvidia_variables)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        made = json.loads(done.stdout)
        assert [one["network"] for one in made] == ["segmenter.onnx", "gate.onnx"]
        for one in made:
            record = EngineRecord.model_validate_json(Path(one["engine"]).with_suffix(".json").read_bytes())
            assert record.key.model_dump(mode="json", by_alias=True) == one["key"]
    assert len(list((tmp_path / "engines").glob("*.engine"))) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--precision", "fp8"], "--precision 'fp8': there are fp32, fp16, int8"),
        (["--precision", "int8"], "holds no certificate for its int8 variant"),
    ],
)
def test_a_precision_that_is_not_there_is_named(
    device: Path,
    tiny_bundle_folder: Path,
    tmp_path: Path,
    nvidia_variables: dict[str, str],
    words: list[str],
    says: str,
) -> None:
    done = engine(device, tiny_bundle_folder, "--cache", tmp_path, *words, **nvidia_variables)
    assert done.returncode == 2
    assert says in done.stderr


def test_without_a_gpu_it_says_so(device: Path, tiny_bundle_folder: Path, tmp_path: Path) -> None:
    done = engine(device, tiny_bundle_folder, "--cache", tmp_path, **nvidia_environment())
    assert done.returncode == 2
    assert "no CUDA driver on this machine" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
