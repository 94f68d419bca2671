"""The cascade with the frame on the GPU: one upload of uint8, one download of the map.

In between it is cut, gated, segmented and stitched there. Only lists of tiles go up beside it, and the gate's
probabilities come down, which decide what is segmented. Says what `Detector` says on the same networks. Not yet run on
a Jetson or any other GPU.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import Bool, UInt8
from agent.contract.bundle import Manifest
from agent.contract.tiling import Tile, TileGrid
from agent.detect.detector import Detection
from agent.detect.memory import MemoryBudget
from agent.detect.pre_gate import FACTOR, PreGate
from agent.detect.settings import PreGateSettings
from agent.detect.tiles import ReducedTiles, TileCutter
from agent.errors import InferenceError
from agent.infer.cuda.driver import CudaDriver, Pointer
from agent.infer.cuda.kernels import FrameKernels


class DeviceNetwork(Protocol):
    """A network whose tiles and answers are on the GPU; see `agent.infer.tensorrt.engine.Context`."""

    @property
    def largest_batch(self) -> int:
        """Tiles in one call, at most."""
        ...

    def enqueue(self, count: int, tiles: Pointer, answers: Sequence[Pointer], stream: int) -> None:
        """Put the network's work on a stream."""
        ...


class GpuDetector:
    """See `Detector`; one frame at a time.

    Args:
        driver: the GPU.
        kernels: loaded by it.
        segmenter: uint8 (n, tile, tile, 3) -> uint8 (n, tile, tile).
        gate: uint8 (n, edge, edge, 3) -> float32 probability (n,), float32 margin (n,); None segments every tile.
        stream: on which everything runs.
        manifest: the bundle's.
        gate_threshold: on the gate's probability; None takes the bundle's.
        pre_gate: the classical look at each tile before the networks, on the CPU.
        memory: what the frames of all detectors of the process share; None sets no bound.
    """

    def __init__(
        self,
        driver: CudaDriver,
        kernels: FrameKernels,
        *,
        segmenter: DeviceNetwork,
        gate: DeviceNetwork | None,
        stream: int,
        manifest: Manifest,
        gate_threshold: float | None = None,
        pre_gate: PreGateSettings | None = None,
        memory: MemoryBudget | None = None,
    ) -> None:
        self._driver, self._kernels, self._stream = driver, kernels, stream
        self._segmenter, self._gate = segmenter, gate
        self._net, self._gate_ref = manifest.segmenter, manifest.gate
        self._gate_threshold = gate_threshold
        self._pre_gate = pre_gate or PreGateSettings()
        self._memory = memory
        self._lock = threading.Lock()
        self._buffers: dict[str, _Buffer] = {}

    def detect(self, image_rgb: UInt8, *, ignored: Bool | None = None) -> Detection:
        """Return the crack probability of every pixel.

        Args:
            image_rgb: (H, W, 3) of any size from 1 x 1.
            ignored: (H, W), True where no crack is to be reported.

        Raises:
            InferenceError: not such a picture, one that needs more memory than it may have, or the GPU failed.
        """
        if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
            raise InferenceError(f"a frame is uint8 (H, W, 3), got {image_rgb.dtype} {image_rgb.shape}")
        height, width = image_rgb.shape[:2]
        if ignored is not None and ignored.shape != (height, width):
            raise InferenceError(f"ignored is {ignored.shape}, but the frame has {(height, width)} px")
        with self._lock, self._memory.frame(height, width) if self._memory else nullcontext():
            self._driver.attach()
            return self._detect(image_rgb, ignored)

    def close(self) -> None:
        """Do nothing: what it holds goes with the driver."""

    def _detect(self, image: UInt8, ignored: Bool | None) -> Detection:
        height, width = image.shape[:2]
        grid = TileGrid(height=height, width=width, size=self._net.tile_px, overlap=self._net.overlap_px)
        tiles = list(grid)
        seen = tiles if ignored is None else [tile for tile in tiles if not ignored[tile.own_y, tile.own_x].all()]
        start = time.thread_time()
        frame = self._buffer("frame", image.nbytes)
        frame.put(image, self._stream)
        passed = self._passed(image, frame.there, self._pre_gated(image, seen))
        probability = self._segmented(frame.there, (height, width), passed)
        seconds = time.thread_time() - start
        if ignored is not None:
            probability[ignored] = 0
        return Detection(
            probability=probability,
            tiles=len(tiles),
            tiles_segmented=len(passed),
            run_seconds=seconds,
            tiles_ignored=len(tiles) - len(seen),
        )

    def _pre_gated(self, image: UInt8, tiles: list[Tile]) -> list[Tile]:
        if not self._pre_gate.enabled:
            return tiles
        halved = ReducedTiles(TileCutter(image, self._net.tile_px), FACTOR)
        return list(filter(PreGate(halved, self._net.tile_px, self._pre_gate), tiles))

    def _passed(self, image: UInt8, frame: Pointer, tiles: list[Tile]) -> list[Tile]:
        """Return the tiles that the gate lets through."""
        gate, ref, stream = self._gate, self._gate_ref, self._stream
        if gate is None or ref is None or not tiles:
            return tiles
        batch = gate.largest_batch
        origins = self._buffer("origins", 8 * len(tiles))
        origins.put(_origins(tiles), stream)
        reduced = self._buffer("reduced", batch * 3 * ref.tile_px**2).there
        answers = [self._buffer(name, 4 * batch).there for name in ("probability", "margin")]
        scores = self._buffer("scores", 4 * len(tiles)).here[: 4 * len(tiles)].view(np.float32)
        for first, count in _parts(len(tiles), batch):
            self._kernels.reduce_tiles(
                frame, image.shape[:2], Pointer(origins.there + 8 * first), count,
                edge=ref.tile_px, factor=ref.downscale, tiles=reduced, stream=stream,
            )  # fmt: skip
            gate.enqueue(count, reduced, answers, stream)
            self._driver.download(scores[first : first + count], answers[0], stream)
        self._driver.wait(stream)
        threshold = ref.threshold.value if self._gate_threshold is None else self._gate_threshold
        return [tile for tile, score in zip(tiles, scores.tolist(), strict=True) if score >= threshold]

    def _segmented(self, frame: Pointer, hw: tuple[int, int], tiles: list[Tile]) -> UInt8:
        """Return the map (H, W), 0 where no tile was segmented."""
        stream, size, batch = self._stream, self._net.tile_px, self._segmenter.largest_batch
        pixels = hw[0] * hw[1]
        probability = self._buffer("map", pixels)
        self._driver.fill(probability.there, 0, pixels, stream)
        if tiles:
            origins, owned = self._buffer("origins", 8 * len(tiles)), self._buffer("owned", 24 * len(tiles))
            origins.put(_origins(tiles), stream)
            owned.put(_owned(tiles), stream)
            cut = self._buffer("tiles", batch * 3 * size**2).there
            maps = self._buffer("maps", batch * size**2).there
            for first, count in _parts(len(tiles), batch):
                at = Pointer(origins.there + 8 * first)
                self._kernels.cut_tiles(frame, hw, at, count, size=size, tiles=cut, stream=stream)
                self._segmenter.enqueue(count, cut, [maps], stream)
                at = Pointer(owned.there + 24 * first)
                self._kernels.stitch_maps(
                    maps, at, count, size=size, width=hw[1], probability=probability.there, stream=stream
                )
        here = probability.here[:pixels]
        self._driver.download(here, probability.there, stream)
        self._driver.wait(stream)
        return here.reshape(hw).copy()

    def _buffer(self, name: str, nbytes: int) -> _Buffer:
        """Return memory of at least this size; a larger one takes the place of a smaller."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.nbytes < nbytes:
            self._driver.wait(self._stream)
            if buffer is not None:
                buffer.give_back()
            buffer = self._buffers[name] = _Buffer(self._driver, nbytes)
        return buffer


class _Buffer:
    """Memory on the GPU, and page-locked memory here to exchange it through."""

    def __init__(self, driver: CudaDriver, nbytes: int) -> None:
        self._driver, self.nbytes = driver, nbytes
        self.there = driver.allocate(nbytes)
        self.here = driver.pinned(nbytes)

    def put(self, array: NDArray[Any], stream: int) -> None:
        """Copy an array to the GPU. What went up before through this buffer must have arrived."""
        part = self.here[: array.nbytes]
        part.view(array.dtype).reshape(array.shape)[...] = array
        self._driver.upload(self.there, part, stream)

    def give_back(self) -> None:
        """Free both."""
        self._driver.free(self.there)
        self._driver.unpin(self.here)


def _parts(count: int, batch: int) -> Iterator[tuple[int, int]]:
    for first in range(0, count, batch):
        yield first, min(batch, count - first)


def _origins(tiles: Sequence[Tile]) -> NDArray[np.int32]:
    return np.array([(tile.y, tile.x) for tile in tiles], np.int32)


def _owned(tiles: Sequence[Tile]) -> NDArray[np.int32]:
    return np.array([(t.own_y.start, t.own_y.stop, t.own_x.start, t.own_x.stop, t.y, t.x) for t in tiles], np.int32)
