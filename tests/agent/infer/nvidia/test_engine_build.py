"""`python -m agent.infer.engine_build`, each time as the process that it is, and the cache that it writes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.contract.bundle import Bundle
from agent.contract.engine import BatchProfile, BuildOptions, EngineRecord
from agent.errors import EngineError
from agent.infer.engine_cache import QUARANTINE_KEEPS, EngineCache
from agent.infer.engine_process import Builder, EngineBuild
from tests.support.commands import child_of, variables
from tests.support.cuda_on_cpu import nvidia_environment
from tests.support.disks import fill, make_read_only
from tests.support.nvidia_fixtures import Built


@pytest.fixture(scope="module")
def graph(tiny_bundle: Bundle) -> Path:
    return tiny_bundle.folder / "segmenter.onnx"


@pytest.fixture
def environment(nvidia_variables: dict[str, str]) -> dict[str, str]:
    return variables(**nvidia_variables)


def words(graph: Path, cache: Path, *more: object) -> list[str]:
    return [sys.executable, "-m", "agent.infer.engine_build", str(graph), "--cache", str(cache), *map(str, more)]


def build(
    graph: Path, cache: Path, environment: dict[str, str], *more: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(graph, cache, *more), env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )


def entries(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.iterdir() if not path.name.startswith((".", "timing-")))


def hidden(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.name.startswith(".") and not path.name.endswith(".lock")]


def test_it_builds_from_an_empty_folder_and_tells_its_progress(
    graph: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "empty").mkdir()
    done = build(graph, tmp_path / "engines", environment, "--precision", "fp16", cwd=tmp_path / "empty")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["stage"] for event in events if "done" not in event] == ["lock", "parse", "build", "built", "ready"]
    assert {"stage": "build", "phase": "Building", "done": 4, "of": 4} in events
    assert entries(tmp_path / "engines") == [".engine", ".json"]
    (record_file,) = (tmp_path / "engines").glob("*.json")
    record = EngineRecord.model_validate_json(record_file.read_bytes())
    assert record_file.stem == record.key.digest
    assert record.key.precision == "fp16"
    assert (record.key.machine.gpu, record.key.machine.tensorrt) == ("A CPU", "10.3.0")
    assert EngineCache(tmp_path / "engines").read(record.key).startswith(b"cpu-plan")


def test_a_second_call_finds_the_engine(graph: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    for stages in (["lock", "parse", "build", "built", "ready"], ["lock", "ready"]):
        done = build(graph, tmp_path, environment)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert [event["stage"] for event in events if "done" not in event] == stages


@pytest.mark.parametrize(
    ("change", "more"),
    [
        pytest.param({"CPU_TRT_VERSION": "10.13.3.9"}, [], id="TensorRT"),
        pytest.param({"CPU_CUDA_NAME": "Another"}, [], id="the GPU's name"),
        pytest.param({"CPU_CUDA_VERSION": "13000"}, [], id="CUDA"),
        pytest.param({}, ["--precision", "fp16"], id="precision"),
        pytest.param({}, ["--batch", 4, 7], id="profile"),
        pytest.param({}, ["--workspace-mib", 512], id="workspace"),
    ],
)
def test_what_an_engine_depends_on_gets_an_engine_of_its_own(
    graph: Path, tmp_path: Path, environment: dict[str, str], change: dict[str, str], more: list[object]
) -> None:
    assert build(graph, tmp_path, environment).returncode == 0
    assert build(graph, tmp_path, {**environment, **change}, *more).returncode == 0
    assert entries(tmp_path) == [".engine", ".engine", ".json", ".json"]


def test_one_weight_changed_gets_an_engine_of_its_own(graph: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """The file's name is the same, as that of a network that was trained again."""
    model = onnx.load(str(graph))
    weight = next(tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT)
    values = numpy_helper.to_array(weight).copy()
    values.reshape(-1)[0] = np.nextafter(values.reshape(-1)[0], np.float32(1e9))
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    (tmp_path / "again").mkdir()
    onnx.save(model, str(tmp_path / "again" / graph.name))
    for file in (graph, tmp_path / "again" / graph.name, graph):
        assert build(file, tmp_path / "engines", environment).returncode == 0
    assert entries(tmp_path / "engines") == [".engine", ".engine", ".json", ".json"]


def test_two_processes_at_once_build_one_engine(graph: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    slow = {**environment, "CPU_TRT_BUILD_SECONDS": "2"}
    running = [subprocess.Popen(words(graph, tmp_path), env=slow, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sorted(text.count('"built"') for text in said) == [0, 1]
    assert entries(tmp_path) == [".engine", ".json"]


def test_timings_that_are_damaged_or_cannot_be_kept_cost_no_engine(
    graph: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """They shorten a build; real ones are megabytes, so a disk may have room for the engine alone."""
    assert build(graph, tmp_path, environment).returncode == 0
    (timings,) = tmp_path.glob("timing-*")
    timings.write_bytes(b"no timings")
    again(tmp_path)
    assert build(graph, tmp_path, environment).returncode == 0
    assert entries(tmp_path) == [".engine", ".json"]
    timings.unlink()
    timings.mkdir()
    again(tmp_path)
    done = build(graph, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert "Is a directory" in done.stdout
    assert entries(tmp_path) == [".engine", ".json"]
    assert hidden(tmp_path) == []


def again(cache: Path) -> None:
    """Take the entries away, so that they are built again."""
    for path in [*cache.glob("*.engine"), *cache.glob("*.json")]:
        path.unlink()


def test_a_killed_build_leaves_no_entry_and_no_lock(graph: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    slow = {**environment, "CPU_TRT_BUILD_SECONDS": "600"}
    with subprocess.Popen(words(graph, tmp_path), env=slow, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if '"done"' in line or '"build"' in line:
                process.send_signal(signal.SIGKILL)
                break
    assert entries(tmp_path) == []
    (lock,) = tmp_path.glob(".*.lock")
    # as if it had been killed while it wrote
    (tmp_path / f"{lock.name.removesuffix('.lock')}.engine.1").write_bytes(b"half")
    done = build(graph, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert entries(tmp_path) == [".engine", ".json"]
    assert hidden(tmp_path) == []


@pytest.mark.usefixtures("nvidia")
def test_a_build_that_takes_too_long_is_ended_and_named(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPU_TRT_BUILD_SECONDS", "600")
    with pytest.raises(EngineError, match=r"took longer than 3 s and was ended; raise runtime\.engine\.timeout_s"):
        Builder().run(job(graph, tmp_path, timeout_s=3), lambda _: None)


@pytest.mark.usefixtures("nvidia")
def test_a_build_can_be_stopped_from_another_thread(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPU_TRT_BUILD_SECONDS", "600")
    builder = Builder()

    def tell(event: dict[str, Any]) -> None:
        if event["stage"] == "build":
            threading.Thread(target=builder.stop).start()

    with pytest.raises(EngineError, match="was stopped"):
        builder.run(job(graph, tmp_path), tell)


@pytest.mark.usefixtures("nvidia")
def test_a_build_that_the_system_kills_names_the_memory(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPU_TRT_BUILD_SECONDS", "600")

    def tell(event: dict[str, Any]) -> None:
        if event["stage"] == "build":
            build = child_of(os.getpid(), "agent.infer.engine_build")
            assert build
            os.kill(build, signal.SIGKILL)

    with pytest.raises(EngineError, match=r"ended by SIGKILL.*runtime\.engine\.workspace_mib"):
        Builder().run(job(graph, tmp_path), tell)


def job(graph: Path, cache: Path, timeout_s: float = 300) -> EngineBuild:
    return EngineBuild(
        onnx=graph, cache=EngineCache(cache), precision="fp32", profile=BatchProfile(), options=BuildOptions(),
        timeout_s=timeout_s,
    )  # fmt: skip


class TestBadInput:
    """One line on stderr that says what to do, and the exit code of a wrong input or of a fault."""

    @staticmethod
    def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
        assert done.returncode == code, done.stderr
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith("engine_build: ")
        return line

    def test_no_gpu(self, graph: Path, tmp_path: Path) -> None:
        done = build(graph, tmp_path, variables(**nvidia_environment()))
        assert "no CUDA driver on this machine" in self.refused(done, 2)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"CPU_CUDA_VERSION": "11040"}, "the CUDA driver is too old: it runs CUDA up to 11.4, 12.0 or newer"),
            ({"CPU_CUDA_INIT": "100"}, "cuInit gave 100 (no CUDA-capable device is detected)"),
            ({"CPU_CUDA_DEVICES": "0"}, "the CUDA driver has 0 devices"),
            ({"CPU_TRT_VERSION": "8.6.1"}, "TensorRT 8.6.1 is too old, 10.3 or newer"),
        ],
        ids=["old driver", "a driver without a device", "no device", "old TensorRT"],
    )
    def test_a_machine_that_cannot(
        self, graph: Path, tmp_path: Path, environment: dict[str, str], change: dict[str, str], says: str
    ) -> None:
        assert says in self.refused(build(graph, tmp_path, {**environment, **change}), 2)

    def test_no_tensorrt(self, graph: Path, tmp_path: Path, cuda_library: Path) -> None:
        done = build(graph, tmp_path, variables(**nvidia_environment(cuda_library, tensorrt=False)))
        assert "TensorRT is not installed for this Python" in self.refused(done, 2)

    def test_an_operator_that_tensorrt_does_not_know(self, tmp_path: Path, environment: dict[str, str]) -> None:
        tensors = [helper.make_tensor_value_info(name, TensorProto.UINT8, ["n", 4]) for name in "xy"]
        node = helper.make_node("CrackFinder", ["x"], ["y"], name="finder", domain="ours")
        made = helper.make_graph([node], "unknown", tensors[:1], tensors[1:])
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("ours", 1)], ir_version=10)
        onnx.save(model, str(tmp_path / "unknown.onnx"))
        line = self.refused(build(tmp_path / "unknown.onnx", tmp_path / "engines", environment), 1)
        assert "cannot read the ONNX graph" in line
        assert "CrackFinder" in line

    def test_a_size_that_no_profile_covers(self, tmp_path: Path, environment: dict[str, str]) -> None:
        tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "h"]) for name in "xy"]
        made = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "any", tensors[:1], tensors[1:])
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.save(model, str(tmp_path / "any.onnx"))
        line = self.refused(build(tmp_path / "any.onnx", tmp_path / "engines", environment), 1)
        assert "the input 'x' is (-1, -1): the batch must be dynamic, and the tile's size fixed" in line

    def test_no_such_file(self, tmp_path: Path, environment: dict[str, str]) -> None:
        assert "none.onnx: cannot be read" in self.refused(build(tmp_path / "none.onnx", tmp_path, environment), 2)

    def test_batches_that_do_not_ascend(self, graph: Path, tmp_path: Path, environment: dict[str, str]) -> None:
        done = build(graph, tmp_path, environment, "--batch", 9, 8)
        assert "batch 1 <= 9 <= 8 does not hold" in self.refused(done, 2)

    def test_a_full_disk(self, graph: Path, environment: dict[str, str], small_disk: Path) -> None:
        filler = fill(small_disk)
        line = self.refused(build(graph, small_disk, environment), 1)
        assert "engines cannot be kept here (No space left on device)" in line
        filler.unlink()
        assert build(graph, small_disk, environment).returncode == 0

    def test_a_disk_that_fills_while_the_engine_is_written(
        self, tmp_path: Path, environment: dict[str, str], small_disk: Path, graph: Path
    ) -> None:
        (small_disk / "filler").write_bytes(bytes((1 << 20) - 32768))
        model = onnx.load(str(graph))
        model.doc_string = "x" * 200_000  # a plan that does not fit
        onnx.save(model, str(tmp_path / "large.onnx"))
        line = self.refused(build(tmp_path / "large.onnx", small_disk, environment), 1)
        assert "No space left on device" in line
        assert entries(small_disk) == [""]  # the filler
        assert hidden(small_disk) == []

    def test_a_folder_that_cannot_be_written(self, graph: Path, environment: dict[str, str], small_disk: Path) -> None:
        make_read_only(small_disk)
        line = self.refused(build(graph, small_disk, environment), 1)
        assert "engines cannot be kept here (Read-only file system); free space or set runtime.engine.cache" in line

    def test_a_file_in_the_folders_place(self, graph: Path, tmp_path: Path, environment: dict[str, str]) -> None:
        (tmp_path / "engines").write_text("")
        assert "engines cannot be kept here" in self.refused(build(graph, tmp_path / "engines", environment), 1)


def test_quarantine_does_not_fill_the_disk(built: Built, tmp_path: Path) -> None:
    key = built.engines.keys()[0]
    cache = EngineCache(tmp_path)
    for _ in range(QUARANTINE_KEEPS + 3):
        cache.write(key, b"faulty", build_seconds=1)
        cache.quarantine(key)
        time.sleep(0.001)  # each has its time in its name
    assert not cache.holds(key)
    assert len(list((tmp_path / "quarantine").glob("*.engine"))) == QUARANTINE_KEEPS


def test_a_held_lock_is_waited_for_and_then_named(built: Built, tmp_path: Path) -> None:
    key = built.engines.keys()[0]
    cache = EngineCache(shutil.copytree(built.cache, tmp_path / "engines"))
    with (
        cache.lock(key, timeout_s=1),
        pytest.raises(EngineError, match="another build has held this lock"),
        cache.lock(key, timeout_s=0.3),
    ):
        pass
