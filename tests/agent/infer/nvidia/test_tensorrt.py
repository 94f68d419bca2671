"""The TensorRT backend on a second implementation of TensorRT's API, which executes the ONNX behind the plan."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from agent.contract.bundle import Bundle
from agent.contract.engine import EngineKey, EngineRecord
from agent.errors import EngineError, InferenceError
from agent.infer.backend import Backend
from agent.infer.cuda.driver import CudaDriver
from agent.infer.engine_cache import EngineCache
from agent.infer.onnx_runtime import OnnxRuntime
from agent.infer.tensorrt.backend import LARGEST_BATCH, TensorRt
from agent.infer.tensorrt.engine import Engine, TensorSpec
from agent.infer.tensorrt.opening import Engines
from tests.support.backend_contract import BackendContract
from tests.support.nvidia_fixtures import Built


def opened(built: Built, driver: CudaDriver, *, cuda_graph: bool = False, workers: int = 2) -> TensorRt:
    engines = built.engines
    if cuda_graph and driver.name.startswith("pycuda"):
        pytest.skip("pycuda has no CUDA graphs")
    return TensorRt(
        engines.bundle, variant="fp32", cache=engines.cache, machine=engines.machine, options=engines.options,
        driver=driver, workers=workers, cuda_graph=cuda_graph,
    )  # fmt: skip


class TestTensorRt(BackendContract):
    @pytest.fixture
    def backend(self, built: Built, driver: CudaDriver) -> Backend:
        return opened(built, driver)


class TestTensorRtWithGraphs(BackendContract):
    @pytest.fixture
    def backend(self, built: Built, driver: CudaDriver) -> Backend:
        return opened(built, driver, cuda_graph=True)


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_more_tiles_than_a_batch_give_what_onnx_runtime_gives(
    built: Built, driver: CudaDriver, tiny_bundle: Bundle, *, cuda_graph: bool
) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (2 * LARGEST_BATCH + 3, 64, 64, 3), np.uint8)
    backend = opened(built, driver, cuda_graph=cuda_graph)
    for part in (tiles, tiles[:3], tiles):  # a graph is replayed on other tiles than it was recorded with
        assert np.array_equal(backend.infer(part), OnnxRuntime(tiny_bundle).infer(part))


def test_a_batch_above_the_profile_is_refused_and_not_answered_with_an_older_map(
    built: Built, driver: CudaDriver
) -> None:
    backend = opened(built, driver)
    stream = driver.stream()
    context = backend.segmenter.context(stream)
    pointer = driver.allocate(64 * 64 * 3 * (LARGEST_BATCH + 1))
    with pytest.raises(InferenceError, match=f"refused {LARGEST_BATCH + 1} tiles"):
        context.enqueue(LARGEST_BATCH + 1, pointer, [pointer], stream)


def test_a_gpu_without_enough_memory_is_named(
    built: Built, driver: CudaDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPU_CUDA_MEMORY_MB", "0")
    with pytest.raises(InferenceError, match=r"cuMemAlloc (gave CUDA_ERROR_OUT_OF_MEMORY|failed: out of memory)"):
        opened(built, driver)


@pytest.mark.usefixtures("nvidia")
def test_a_plan_that_tensorrt_refuses_says_why() -> None:
    takes = TensorSpec(np.uint8, (64, 64, 3))
    with pytest.raises(EngineError, match="cannot load the engine: Error in deserialize: magicTag Failed"):
        Engine(b"not a plan", name="segmenter.onnx", takes=takes, gives=[takes])


def test_an_engine_with_other_tensors_than_the_manifest_is_refused(built: Built) -> None:
    segmenter, _ = built.engines.keys()
    takes, gives = TensorSpec(np.uint8, (96, 96, 3)), TensorSpec(np.uint8, (96, 96))
    with pytest.raises(EngineError, match="the manifest says"):
        Engine(built.engines.cache.read(segmenter), name="segmenter.onnx", takes=takes, gives=[gives])


class TestFaultyEntries:
    """Each is put into quarantine, built again once, and then serves."""

    @pytest.fixture
    def engines(self, built: Built, tmp_path: Path) -> Engines:
        folder = shutil.copytree(built.cache, tmp_path / "engines")
        return Engines(bundle=built.engines.bundle, variant="fp32", cache=EngineCache(folder), timeout_s=120)

    @staticmethod
    def rebuilt(engines: Engines) -> str:
        """Open, and return why engines were built again."""
        events: list[dict[str, object]] = []
        backend = engines.open(workers=1, cuda_graph=False, tell=events.append)
        assert backend.infer(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, 64, 64)
        backend.driver.close()
        assert any((engines.cache.folder / "quarantine").iterdir())
        (reason,) = (str(event["reason"]) for event in events if event["stage"] == "rebuild")
        return reason

    def test_a_truncated_plan(self, engines: Engines) -> None:
        path = engines.cache.path(engines.keys()[0])
        path.write_bytes(path.read_bytes()[:-100])
        assert "is not the record's" in self.rebuilt(engines)

    def test_a_flipped_byte(self, engines: Engines) -> None:
        path = engines.cache.path(engines.keys()[1])
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        assert "is not the record's" in self.rebuilt(engines)

    def test_a_plan_of_another_key_under_this_name(self, engines: Engines) -> None:
        segmenter, gate = engines.keys()
        for place in (engines.cache.path, engines.cache.record_path):
            shutil.copy(place(gate), place(segmenter))
        assert "another key (onnx_sha256 differ)" in self.rebuilt(engines)

    def test_a_plan_without_its_record(self, engines: Engines) -> None:
        engines.cache.record_path(engines.keys()[0]).unlink()
        assert "record cannot be read (No such file" in self.rebuilt(engines)

    def test_a_record_that_is_no_record(self, engines: Engines) -> None:
        engines.cache.record_path(engines.keys()[0]).write_text("{}")
        assert "not an engine's record" in self.rebuilt(engines)

    def test_sealed_bytes_that_tensorrt_refuses(self, engines: Engines) -> None:
        key = engines.keys()[0]
        engines.cache.write(key, b"sealed, but no plan", build_seconds=0)
        assert "cannot load the engine" in self.rebuilt(engines)

    def test_engines_that_answer_wrongly_are_built_once_more_and_then_given_up(
        self, engines: Engines, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CPU_TRT_ERROR", "7")
        events: list[dict[str, object]] = []
        with pytest.raises(EngineError, match="largest difference from torch"):
            engines.open(workers=1, cuda_graph=False, tell=events.append)
        assert [event["stage"] for event in events].count("rebuild") == 1
        assert not engines.there()
        put_aside = [EngineRecord.model_validate_json(path.read_bytes()) for path in self.quarantined(engines)]
        assert len(put_aside) == 4  # segmenter and gate, twice
        assert all(record.golden and not record.golden.passed for record in put_aside)
        assert {record.golden.max_gate_difference for record in put_aside if record.golden} == {7.0}

    @staticmethod
    def quarantined(engines: Engines) -> list[Path]:
        return sorted((engines.cache.folder / "quarantine").glob("*.json"))


class TestRecord:
    """`<key>.json`: the key's fields, the plan's sha256, build seconds, and how the golden tiles were answered."""

    @pytest.fixture
    def engines(self, built: Built, tmp_path: Path) -> Engines:
        folder = shutil.copytree(built.cache, tmp_path / "engines")
        return Engines(bundle=built.engines.bundle, variant="fp32", cache=EngineCache(folder), timeout_s=120)

    @staticmethod
    def keys(engines: Engines) -> list[EngineKey]:
        return engines.keys()

    @staticmethod
    def load(engines: Engines) -> None:
        engines.open_existing(workers=1, cuda_graph=False).close()

    def test_it_holds_the_golden_result_once_the_engine_was_loaded(self, engines: Engines) -> None:
        before = {key: json.loads(engines.cache.record_path(key).read_text()) for key in self.keys(engines)}
        self.load(engines)
        for key, old in before.items():
            new = json.loads(engines.cache.record_path(key).read_text())
            assert old["golden"] is None
            golden = new["golden"]
            assert (golden["passed"], golden["tiles"]) == (True, len(engines.bundle.manifest.golden))
            assert golden["max_difference"] <= 1
            assert golden["bundle"] == f"tiny {engines.bundle.sha256[:12]}"
            assert {**new, "golden": None} == old
            assert new["key"]["machine"]["gpu"] == "A CPU"
            assert new["build_seconds"] > 0
            assert new["plan_sha256"] == hashlib.sha256(engines.cache.path(key).read_bytes()).hexdigest()

    def test_a_start_that_finds_nothing_new_writes_nothing(self, engines: Engines) -> None:
        self.load(engines)
        inodes = [engines.cache.record_path(key).stat().st_ino for key in self.keys(engines)]
        self.load(engines)
        assert [engines.cache.record_path(key).stat().st_ino for key in self.keys(engines)] == inodes

    def test_a_record_from_before_there_was_a_golden_result_is_read(self, engines: Engines) -> None:
        for key in self.keys(engines):
            path = engines.cache.record_path(key)
            old = json.loads(path.read_text())
            del old["golden"]
            path.write_text(json.dumps(old))
        self.load(engines)
        assert all(engines.cache.record(key).golden for key in self.keys(engines))

    def test_an_entry_that_another_process_writes_is_left_to_it(self, engines: Engines) -> None:
        segmenter, gate = engines.keys()
        with engines.cache.lock(segmenter, timeout_s=1):
            self.load(engines)
        assert engines.cache.record(segmenter).golden is None
        assert engines.cache.record(gate).golden is not None


class TestSharedCache:
    """Another agent may be writing the entry that this one finds faulty, or have replaced it since."""

    @pytest.fixture
    def engines(self, built: Built, tmp_path: Path) -> Engines:
        folder = shutil.copytree(built.cache, tmp_path / "engines")
        return Engines(bundle=built.engines.bundle, variant="fp32", cache=EngineCache(folder), timeout_s=120)

    def test_an_entry_that_is_half_written_is_refused_and_left_alone(self, engines: Engines) -> None:
        key = engines.keys()[0]
        record = engines.cache.record_path(key)
        with engines.cache.lock(key, timeout_s=1):  # the plan is there, its record is yet to come
            record.rename(record.with_suffix(".later"))
            with pytest.raises(EngineError, match="record cannot be read"):
                engines.open_existing(workers=1, cuda_graph=False)
            record.with_suffix(".later").rename(record)
        engines.open_existing(workers=1, cuda_graph=False).close()

    def test_an_entry_that_was_replaced_since_is_left_alone(self, engines: Engines) -> None:
        key, cache = engines.keys()[0], engines.cache
        loaded = hashlib.sha256(cache.read(key)).hexdigest()
        for found_faulty in (None, "0" * 64):  # before it was mended, and another plan
            cache.reject(key, found_faulty)
            assert cache.read(key)
        cache.reject(key, loaded)
        assert not cache.holds(key)
