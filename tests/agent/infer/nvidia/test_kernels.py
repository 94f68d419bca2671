"""The kernels: their numpy twins against what the agent does on the CPU, the real source against its twins.

The source is compiled here by g++ and run thread by thread on a CUDA driver that is the CPU; NVRTC compiles the same
file for the GPUs that it is to run on. `tests/gpu` compares them on a GPU.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.contract.arrays import Int32, UInt8
from agent.contract.bundle import Bundle, load_bundle
from agent.contract.tiling import TileGrid
from agent.detect import Detector
from agent.detect.on_gpu import GpuDetector
from agent.detect.settings import PreGateSettings
from agent.detect.tiles import ReducedTiles, TileCutter
from agent.errors import EngineError, InferenceError
from agent.infer.cuda import nvrtc, twins
from agent.infer.cuda.driver import CudaDriver
from agent.infer.cuda.kernels import FrameKernels
from agent.infer.engine_cache import EngineCache
from agent.infer.onnx_runtime import OnnxRuntime
from agent.infer.tensorrt.backend import TensorRt
from agent.infer.tensorrt.opening import Engines
from tests.support.bundles import make_bundle
from tests.support.commands import ROOT, variables
from tests.support.cuda_on_cpu import nvidia_environment
from tests.support.gpu_kernels import cut, reduced, stitched
from tests.support.nvidia_fixtures import Built

SIZES = {
    "height": st.integers(1, 150),
    "width": st.integers(1, 150),
    "overlap": st.sampled_from([0, 12, 24]),
}  # every step a multiple of 12


def noise(height: int, width: int, seed: int = 0) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def origins(grid: TileGrid) -> Int32:
    return np.array([(tile.y, tile.x) for tile in grid], np.int32)


def owned(grid: TileGrid) -> Int32:
    return np.array([(t.own_y.start, t.own_y.stop, t.own_x.start, t.own_x.stop, t.y, t.x) for t in grid], np.int32)


class TestTwins:
    """They say what `agent.detect` does."""

    @given(**SIZES)
    @settings(max_examples=40)
    def test_cut(self, height: int, width: int, overlap: int) -> None:
        frame, grid = noise(height, width), TileGrid(height=height, width=width, size=48, overlap=overlap)
        cutter = TileCutter(frame, 48)
        assert np.array_equal(twins.cut_tiles(frame, origins(grid), 48), [cutter.cut(tile) for tile in grid])

    @given(**SIZES, factor=st.sampled_from([1, 2, 3, 4]))
    @settings(max_examples=60)
    def test_reduce(self, height: int, width: int, overlap: int, factor: int) -> None:
        frame, grid = noise(height, width), TileGrid(height=height, width=width, size=48, overlap=overlap)
        small = ReducedTiles(TileCutter(frame, 48), factor)
        want = [small.cut(tile) for tile in grid]
        assert np.array_equal(twins.reduce_tiles(frame, origins(grid), 48 // factor, factor), want)

    @given(**SIZES)
    @settings(max_examples=40)
    def test_stitch(self, height: int, width: int, overlap: int) -> None:
        grid = TileGrid(height=height, width=width, size=48, overlap=overlap)
        maps = np.random.default_rng(1).integers(0, 256, (len(grid), 48, 48), np.uint8)
        want = np.zeros((height, width), np.uint8)
        for tile, map_ in zip(grid, maps, strict=True):
            want[tile.own_y, tile.own_x] = map_[tile.crop]
        assert np.array_equal(twins.stitch_maps(maps, owned(grid), height, width), want)

    def test_reflection_is_opencvs_however_far_it_reaches(self) -> None:
        at = np.arange(100, dtype=np.int32)
        for length in (1, 2, 3, 7, 99):
            want = [cv2.borderInterpolate(int(place), length, cv2.BORDER_REFLECT_101) for place in at]
            assert twins.reflected(at, length).tolist() == want


class TestSource:
    """`kernels.cu`, compiled for the CPU, bit for bit its twins."""

    @given(height=st.integers(1, 130), width=st.integers(1, 130), seed=st.integers(0, 99))
    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_it_says_what_the_twins_say(self, driver: CudaDriver, height: int, width: int, seed: int) -> None:
        kernels = FrameKernels(driver)
        frame, grid = noise(height, width, seed), TileGrid(height=height, width=width, size=40, overlap=16)
        places = origins(grid)
        assert np.array_equal(cut(driver, kernels, frame, places, 40), twins.cut_tiles(frame, places, 40))
        for factor in (1, 2, 4, 5):
            edge = 40 // factor
            got = reduced(driver, kernels, frame, places, edge, factor)
            assert np.array_equal(got, twins.reduce_tiles(frame, places, edge, factor))
        maps = np.random.default_rng(seed).integers(0, 256, (len(grid), 40, 40), np.uint8)
        got = stitched(driver, kernels, maps, owned(grid), (height, width))
        assert np.array_equal(got, twins.stitch_maps(maps, owned(grid), height, width))

    def test_a_launch_that_the_driver_refuses_is_named(self, driver: CudaDriver) -> None:
        kernels = FrameKernels(driver)
        with pytest.raises(InferenceError, match=r"cuLaunchKernel (gave CUDA_ERROR_INVALID_VALUE|failed)"):
            cut(driver, kernels, noise(8, 8), np.zeros((70000, 2), np.int32), 8)

    def test_what_is_no_cubin_is_named(self, driver: CudaDriver) -> None:
        with pytest.raises(InferenceError, match=r"cuModuleLoadData(Ex)? (gave CUDA_ERROR_INVALID_IMAGE|failed)"):
            driver.kernels(b"no cubin", nvrtc.KERNELS)


class TestNvrtc:
    """CUDA's own compiler takes the source for each GPU, on a machine that has none."""

    @pytest.mark.parametrize(
        "capability", [(8, 7), (9, 0), (11, 0)], ids=["Orin, sm_87", "Hopper, sm_90", "Thor, sm_110"]
    )
    def test_it_compiles_for(self, capability: tuple[int, int]) -> None:
        cubin = nvrtc.compile_kernels(capability)
        assert cubin.startswith(b"\x7fELF")
        for name in nvrtc.KERNELS:
            assert f".text.{name}".encode() in cubin

    def test_a_gpu_that_it_does_not_know_is_named(self) -> None:
        with pytest.raises(EngineError, match="sm_19"):
            nvrtc.compile_kernels((1, 9))

    def test_the_cubin_is_kept_and_a_damaged_one_is_compiled_again(self, tmp_path: Path) -> None:
        first = nvrtc.compile_kernels((8, 7), cache=tmp_path)
        (kept,) = tmp_path.iterdir()
        inode = kept.stat().st_ino
        assert nvrtc.compile_kernels((8, 7), cache=tmp_path) == first
        assert kept.stat().st_ino == inode  # it was not written again
        kept.write_bytes(kept.read_bytes()[:-1])
        assert nvrtc.compile_kernels((8, 7), cache=tmp_path) == first
        assert kept.stat().st_ino != inode

    def test_a_folder_that_cannot_be_written_costs_half_a_second_and_nothing_else(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert nvrtc.compile_kernels((8, 7), cache=tmp_path / "file").startswith(b"\x7fELF")


class Traffic:
    """Counts what passes between this machine and the GPU, as the driver sees it."""

    def __init__(self) -> None:
        library = ctypes.CDLL("libcuda.so.1")
        self._counts = [ctypes.c_longlong.in_dll(library, name) for name in ("cuBytesUp", "cuBytesDown")]

    def of(self, work: Callable[[], object]) -> tuple[int, int]:
        before = [count.value for count in self._counts]
        work()
        up, down = (count.value - earlier for count, earlier in zip(self._counts, before, strict=True))
        return up, down


@pytest.fixture
def traffic(driver: CudaDriver) -> Traffic:  # noqa: ARG001 - the library is there by then
    return Traffic()


class TestFrameOnTheGpu:
    """`GpuDetector` on TensorRT says what `Detector` says on ONNX Runtime, bit for bit."""

    @pytest.fixture
    def on_gpu(self, built: Built, driver: CudaDriver) -> GpuDetector:
        return self.opened(built.engines, driver)

    @staticmethod
    def opened(engines: Engines, driver: CudaDriver, *, gate: bool = True, pre_gate: bool = False) -> GpuDetector:
        backend = TensorRt(
            engines.bundle, variant="fp32", cache=engines.cache, machine=engines.machine, options=engines.options,
            driver=driver,
        )  # fmt: skip
        stream = driver.stream()
        return GpuDetector(
            driver,
            FrameKernels(driver),
            segmenter=backend.segmenter.context(stream),
            gate=backend.gate_engine.context(stream) if gate and backend.gate_engine else None,
            stream=stream,
            manifest=engines.bundle.manifest,
            pre_gate=PreGateSettings(enabled=pre_gate),
        )

    @staticmethod
    def cracked(height: int, width: int) -> UInt8:
        frame = np.random.default_rng(height * width).integers(190, 200, (height, width, 3)).astype(np.uint8)
        frame[height // 2 : height // 2 + 2, : width // 2] = 60
        return frame

    @pytest.mark.parametrize("hw", [(1, 1), (64, 64), (65, 63), (201, 333), (500, 40)])
    def test_the_same_map(self, on_gpu: GpuDetector, tiny_bundle: Bundle, hw: tuple[int, int]) -> None:
        frame = self.cracked(*hw)
        want = Detector(OnnxRuntime(tiny_bundle), tiny_bundle.manifest).detect(frame)
        for _ in range(2):
            got = on_gpu.detect(frame)
            assert np.array_equal(got.probability, want.probability)
            assert (got.tiles, got.tiles_segmented) == (want.tiles, want.tiles_segmented)

    def test_frames_that_grow_and_shrink(self, on_gpu: GpuDetector, tiny_bundle: Bundle) -> None:
        cpu = Detector(OnnxRuntime(tiny_bundle), tiny_bundle.manifest)
        for hw in [(100, 100), (300, 200), (50, 60), (301, 201), (1, 400)]:
            frame = self.cracked(*hw)
            assert np.array_equal(on_gpu.detect(frame).probability, cpu.detect(frame).probability)

    @pytest.mark.parametrize("gate", [False, True])
    def test_with_an_ignored_part_and_a_pre_gate(self, built: Built, driver: CudaDriver, *, gate: bool) -> None:
        bundle = built.engines.bundle
        frame = self.cracked(300, 400)
        ignored = np.zeros((300, 400), np.bool_)
        ignored[:, :150] = True
        cpu = Detector(OnnxRuntime(bundle), bundle.manifest, gate=gate, pre_gate=PreGateSettings(enabled=True)).detect(
            frame, ignored=ignored
        )
        got = self.opened(built.engines, driver, gate=gate, pre_gate=True).detect(frame, ignored=ignored)
        assert np.array_equal(got.probability, cpu.probability)
        assert (got.tiles_ignored, got.tiles_segmented) == (cpu.tiles_ignored, cpu.tiles_segmented)
        assert 0 < got.tiles_segmented < got.tiles

    def test_a_bundle_without_a_gate(self, driver: CudaDriver, tmp_path: Path) -> None:
        bundle = load_bundle(make_bundle(tmp_path / "b", gate=False, overlap=8))
        engines = Engines(bundle=bundle, variant="fp32", cache=EngineCache(tmp_path / "engines"), timeout_s=120)
        engines.build(lambda _: None)
        frame = noise(150, 170)
        want = Detector(OnnxRuntime(bundle), bundle.manifest).detect(frame).probability
        assert np.array_equal(self.opened(engines, driver).detect(frame).probability, want)

    @pytest.mark.parametrize("frame", [noise(4, 4)[:, :, 0], noise(4, 4).astype(np.float32)])
    def test_what_is_no_rgb_frame_is_refused(self, on_gpu: GpuDetector, frame: UInt8) -> None:
        with pytest.raises(InferenceError, match="a frame is uint8"):
            on_gpu.detect(frame)

    def test_only_the_frame_goes_up_and_only_the_map_comes_down(self, on_gpu: GpuDetector, traffic: Traffic) -> None:
        frame = self.cracked(301, 411)
        on_gpu.detect(frame)
        up, down = traffic.of(lambda: on_gpu.detect(frame))
        tiles = len(TileGrid(height=301, width=411, size=64, overlap=16))
        assert frame.nbytes <= up <= frame.nbytes + tiles * (8 + 8 + 24)  # beside it, lists of tiles
        assert 301 * 411 <= down <= 301 * 411 + tiles * 4  # beside it, the gate's probabilities


def test_the_script_for_a_gpu_machine_runs_where_the_gpu_is_a_cpu(nvidia_variables: dict[str, Any]) -> None:
    """What it measures means nothing here; that it will not fail for its own faults there does."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu", "--json", "--small"], cwd=ROOT, env=variables(**nvidia_variables),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = {finding["what"]: finding["passed"] for finding in json.loads(done.stdout)["findings"]}
    assert found.pop("compute-sanitizer") is None
    assert found.pop("whole path with ONNX Runtime CUDA") is None
    assert set(found.values()) == {True}
    assert len(found) == 5


def test_the_script_for_a_gpu_machine_says_where_there_is_none() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu"], cwd=ROOT, env=variables(**nvidia_environment()),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "no CUDA driver on this machine" in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("pycuda") is None, reason="pycuda has no wheels, and was not built here")
def test_pycuda_drives_the_same_kernels(nvidia_variables: dict[str, Any], request: pytest.FixtureRequest) -> None:
    rest = {"LD_PRELOAD": str(request.getfixturevalue("pycuda_rest"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu", "--json", "--small", "--driver", "pycuda"],
        cwd=ROOT, env=variables(**nvidia_variables, **rest), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pycuda" in json.loads(done.stdout)["device"]
    found = {finding["what"]: finding["passed"] for finding in json.loads(done.stdout)["findings"]}
    assert [found.pop(what) for what in ("compute-sanitizer", "graph replay", "whole path with ONNX Runtime CUDA")] == [
        None
    ] * 3
    assert list(found.values()) == [True] * 4
