"""`python -m tests.gpu` (`make test-gpu`): what only a GPU can show, in one run, as a table or as JSON.

Kernels against their twins bit for bit, compute-sanitizer, cut and stitch as a fraction of the device's copy bandwidth,
pinned memory, two streams, graph replay, and the whole path with ONNX Runtime's CUDA provider between the kernels.
Not yet run on a GPU. Ends with 1 if anything was wrong; what the machine lacks is named and counts as not run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from agent.bundles import open_bundle
from agent.contract.arrays import Int32, UInt8
from agent.contract.bundle import Bundle, NetRef
from agent.contract.tiling import TileGrid
from agent.detect import Detector
from agent.detect.on_gpu import GpuDetector
from agent.infer.cuda import twins
from agent.infer.cuda.driver import CudaDriver, Pointer, open_driver
from agent.infer.cuda.kernels import FrameKernels
from agent.infer.onnx_runtime import OnnxRuntime
from tests.support.gpu_kernels import cut, put, reduced, stitched

TILE, OVERLAP, BATCH = 512, 64, 8
ODD_SIZES: Final = ((1, 1), (1, 517), (513, 511), (377, 533), (1047, 3))
SANITIZER_EXIT: Final = 99


@dataclass(frozen=True)
class Load:
    """How much is measured."""

    hw: tuple[int, int] = (3024, 4032)  # 12 MP
    repeats: int = 20


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    passed: bool | None  # None: not run, and `says` why
    says: str


def main() -> int:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--small", action="store_true", help="a small frame: to try the script, not to measure")
    parser.add_argument("--only", choices=[check.__name__ for check in CHECKS], help="run one check")
    parser.add_argument("--driver", choices=["cuda.bindings", "pycuda"], help="else the first that is installed")
    options = parser.parse_args()
    driver = open_driver(options.driver)
    load = Load(hw=(601, 803), repeats=1) if options.small else Load()
    findings = []
    for check in CHECKS:
        if options.only in {None, check.__name__}:
            try:
                findings.append(check(driver, load))
            except Exception as exc:  # noqa: BLE001 - one check that fails must not hide the others
                findings.append(Finding(check.__name__, passed=False, says=f"{type(exc).__name__}: {exc}"))
    capability = ".".join(map(str, driver.gpu.compute_capability))
    device = f"{driver.gpu.name}, sm {capability}, CUDA {driver.gpu.cuda[0]}.{driver.gpu.cuda[1]}, {driver.name}"
    if options.json:
        print(json.dumps({"device": device, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        print(device)
        for finding in findings:
            mark = {True: "passed", False: "FAILED", None: "not run"}[finding.passed]
            print(f"{mark:8} {finding.what}: {finding.says}")
    driver.close()
    return int(any(finding.passed is False for finding in findings))


def kernels(driver: CudaDriver, _: Load) -> Finding:
    """Bit for bit the twins, on odd sizes."""
    loaded = FrameKernels(driver)
    wrong = []
    for seed, (height, width) in enumerate(ODD_SIZES):
        frame, grid = _noise(height, width, seed), TileGrid(height=height, width=width, size=96, overlap=24)
        places, rectangles = _origins(grid), _owned(grid)
        maps = np.random.default_rng(seed).integers(0, 256, (len(grid), 96, 96), np.uint8)
        same = [np.array_equal(cut(driver, loaded, frame, places, 96), twins.cut_tiles(frame, places, 96))]
        for factor in (1, 2, 3, 4):
            got = reduced(driver, loaded, frame, places, 96 // factor, factor)
            same.append(np.array_equal(got, twins.reduce_tiles(frame, places, 96 // factor, factor)))
        got = stitched(driver, loaded, maps, rectangles, (height, width))
        same.append(np.array_equal(got, twins.stitch_maps(maps, rectangles, height, width)))
        if not all(same):
            wrong.append(f"{width}x{height}")
    return Finding("kernels and twins", not wrong, f"differ on {wrong}" if wrong else f"{len(ODD_SIZES)} sizes, equal")


def sanitizer(_driver: CudaDriver, _load: Load) -> Finding:
    """No access out of bounds and no race, as compute-sanitizer sees it."""
    what = "compute-sanitizer"
    if not shutil.which("compute-sanitizer"):
        return Finding(what, None, "not on the path")
    command = ["compute-sanitizer", "--error-exitcode", str(SANITIZER_EXIT), sys.executable, "-m", "tests.gpu"]
    done = subprocess.run([*command, "--only", "kernels"], capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    if "ERROR SUMMARY" not in text:
        return Finding(what, None, f"does not work here: {text.strip()[-200:]}")
    return Finding(what, done.returncode == 0, text[text.index("ERROR SUMMARY") :].splitlines()[0])


def bandwidth(driver: CudaDriver, load: Load) -> Finding:
    """Cut and stitch of a 12 MP frame, as a fraction of the device's own copies."""
    loaded, stream = FrameKernels(driver), driver.stream()
    height, width = load.hw
    grid = TileGrid(height=height, width=width, size=TILE, overlap=OVERLAP)
    frame, places, rectangles = (
        put(driver, array, stream) for array in (_noise(height, width), _origins(grid), _owned(grid))
    )
    tiles, maps = driver.allocate(len(grid) * 3 * TILE**2), driver.allocate(len(grid) * TILE**2)
    probability, elsewhere = driver.allocate(height * width), driver.allocate(len(grid) * 3 * TILE**2)
    count, moved = len(grid), len(grid) * 3 * TILE**2

    def cutting() -> None:
        loaded.cut_tiles(frame, load.hw, places, count, size=TILE, tiles=tiles, stream=stream)

    def stitching() -> None:
        loaded.stitch_maps(maps, rectangles, count, size=TILE, width=width, probability=probability, stream=stream)

    copy_ms = _milliseconds(driver, stream, lambda: _copy(elsewhere, tiles, moved, stream), load.repeats)
    cut_ms, stitch_ms = (_milliseconds(driver, stream, work, load.repeats) for work in (cutting, stitching))
    rate = 2 * moved / copy_ms / 1e6
    cut_share = copy_ms / cut_ms
    stitch_share = (height * width / moved) * copy_ms / stitch_ms
    says = (
        f"copy {rate:.0f} GB/s; cut {cut_ms:.3f} ms, {cut_share:.0%} of the copy rate; "
        f"stitch {stitch_ms:.3f} ms, {stitch_share:.0%}; {count} tiles of {TILE}"
    )
    return Finding(f"cut and stitch, {width}x{height}", True, says)


def pinned(driver: CudaDriver, load: Load) -> Finding:
    """A frame goes up from page-locked memory."""
    stream, frame = driver.stream(), _noise(*load.hw)
    there, here = driver.allocate(frame.nbytes), driver.pinned(frame.nbytes)
    here[...] = frame.reshape(-1)
    locked = _milliseconds(driver, stream, lambda: driver.upload(there, here, stream), load.repeats)
    pageable = _milliseconds(driver, stream, lambda: driver.upload(there, frame, stream), load.repeats)
    back = driver.pinned(frame.nbytes)
    driver.download(back, there, stream)
    driver.wait(stream)
    says = f"{frame.nbytes / locked / 1e6:.1f} GB/s page-locked, {frame.nbytes / pageable / 1e6:.1f} GB/s pageable"
    return Finding(f"upload of {load.hw[1]}x{load.hw[0]}", bool(np.array_equal(back, here)), says)


def streams(driver: CudaDriver, _: Load) -> Finding:
    """Two threads with a stream each do not disturb one another."""
    loaded = FrameKernels(driver)
    grid = TileGrid(height=601, width=803, size=96, overlap=24)
    wrong: list[int] = []

    def work(seed: int) -> None:
        driver.attach()
        for turn in range(10):
            frame = _noise(601, 803, 100 * seed + turn)
            got = cut(driver, loaded, frame, _origins(grid), 96)
            if not np.array_equal(got, twins.cut_tiles(frame, _origins(grid), 96)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Finding("two streams", not wrong, "differ" if wrong else "20 frames, equal")


def graph(driver: CudaDriver, _: Load) -> Finding:
    """A recorded cut is replayed on another frame at the same address."""
    if driver.name.startswith("pycuda"):
        return Finding("graph replay", None, "pycuda has no graphs")
    loaded, stream = FrameKernels(driver), driver.stream()
    grid = TileGrid(height=601, width=803, size=96, overlap=24)
    places, first, second = _origins(grid), _noise(601, 803, 1), _noise(601, 803, 2)
    frame, origins = put(driver, first, stream), put(driver, places, stream)
    want = twins.cut_tiles(second, places, 96)
    tiles, here, up = driver.allocate(want.nbytes), driver.pinned(want.nbytes), driver.pinned(second.nbytes)

    def cutting() -> None:
        loaded.cut_tiles(frame, (601, 803), origins, len(grid), size=96, tiles=tiles, stream=stream)

    cutting()
    driver.wait(stream)
    recorded = driver.captured(stream, cutting)
    up[...] = second.reshape(-1)
    driver.upload(frame, up, stream)
    driver.replay(recorded, stream)
    driver.download(here, tiles, stream)
    driver.wait(stream)
    same = bool(np.array_equal(here.reshape(want.shape), want))
    return Finding("graph replay", same, "equal on another frame" if same else "stale or wrong")


def whole_path(driver: CudaDriver, load: Load) -> Finding:
    """Upload, gate, segment, stitch, download, with ONNX Runtime's CUDA provider as the networks."""
    what = "whole path with ONNX Runtime CUDA"
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return Finding(what, None, f"this onnxruntime has {ort.get_available_providers()}; install onnxruntime-gpu")
    bundle, stream = open_bundle("default"), driver.stream()
    manifest = bundle.manifest
    on_gpu = GpuDetector(
        driver,
        FrameKernels(driver),
        segmenter=_OrtNetwork(bundle, manifest.segmenter, stream),
        gate=_OrtNetwork(bundle, manifest.gate, stream) if manifest.gate else None,
        stream=stream,
        manifest=manifest,
    )
    frame = np.asarray(np.clip(np.random.default_rng(0).normal(170, 12, (*load.hw, 3)), 0, 255), np.uint8)
    frame[load.hw[0] // 2 :][:4] = 60
    want, got = Detector(OnnxRuntime(bundle), manifest).detect(frame), on_gpu.detect(frame)
    worst = int(np.abs(got.probability.astype(np.int16) - want.probability).max())
    took = _milliseconds(driver, stream, lambda: on_gpu.detect(frame), load.repeats)
    says = (
        f"{took:.1f} ms a frame of {load.hw[1]}x{load.hw[0]}, {got.tiles_segmented} of {got.tiles} tiles; "
        f"worst difference {worst} of 255"
    )
    return Finding(what, worst <= 2 and got.tiles_segmented == want.tiles_segmented, says)


CHECKS: Final = (kernels, sanitizer, bandwidth, pinned, streams, graph, whole_path)


class _OrtNetwork:
    """A network on ONNX Runtime's CUDA provider, on our stream and our addresses."""

    largest_batch = BATCH

    def __init__(self, bundle: Bundle, net: NetRef, stream: int) -> None:
        options = {"user_compute_stream": str(stream), "cudnn_conv_algo_search": "HEURISTIC"}
        provider = [("CUDAExecutionProvider", options)]
        self._session = ort.InferenceSession(bundle.read(net.variants["fp32"]), providers=provider)
        if self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise RuntimeError("ONNX Runtime fell back to the CPU")
        self._edge = net.tile_px

    def enqueue(self, count: int, tiles: Pointer, answers: Sequence[Pointer], stream: int) -> None:
        binding = self._session.io_binding()
        (taken,) = self._session.get_inputs()
        shape = (count, self._edge, self._edge, 3)
        binding.bind_input(taken.name, "cuda", 0, np.uint8, shape, int(tiles))
        for given, pointer in zip(self._session.get_outputs(), answers, strict=True):
            kind: Any = np.uint8 if given.type == "tensor(uint8)" else np.float32
            whole = (count, self._edge, self._edge) if len(given.shape) == 3 else (count,)
            binding.bind_output(given.name, "cuda", 0, kind, whole, int(pointer))
        self._session.run_with_iobinding(binding)


def _milliseconds(driver: CudaDriver, stream: int, work: Callable[[], object], repeats: int) -> float:
    """Return the median on the GPU's own clock, after one run that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start, end = driver.event(), driver.event()
        driver.record(start, stream)
        work()
        driver.record(end, stream)
        times.append(driver.elapsed_ms(start, end))
    return statistics.median(times)


def _copy(to: Pointer, source: Pointer, nbytes: int, stream: int) -> None:
    from cuda.bindings import driver as cuda

    (code,) = cuda.cuMemcpyDtoDAsync(int(to), int(source), nbytes, stream)
    if code.value:
        raise RuntimeError(f"cuMemcpyDtoDAsync gave {code.name}")


def _noise(height: int, width: int, seed: int = 0) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _origins(grid: TileGrid) -> Int32:
    return np.array([(tile.y, tile.x) for tile in grid], np.int32)


def _owned(grid: TileGrid) -> Int32:
    return np.array([(t.own_y.start, t.own_y.stop, t.own_x.start, t.own_x.stop, t.y, t.x) for t in grid], np.int32)


if __name__ == "__main__":
    sys.exit(main())
