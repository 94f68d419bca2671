"""A frame of any size -> tiles -> gates -> segmentation of what passes -> one probability map."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from agent.contract.arrays import Bool, UInt8
from agent.contract.bundle import Manifest
from agent.contract.tiling import Tile, TileGrid
from agent.detect.memory import MemoryBudget
from agent.detect.pre_gate import FACTOR, PreGate
from agent.detect.settings import PreGateSettings
from agent.detect.tiles import ReducedTiles, TileCutter
from agent.errors import InferenceError
from agent.infer.backend import Backend

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detection:
    """What the networks made of a frame."""

    probability: UInt8  # (H, W) crack probability x 255; 0 where no tile was segmented, and where the frame is ignored
    tiles: int
    tiles_segmented: int
    run_seconds: float  # CPU seconds inside the runtime's own calls, all workers together
    tiles_ignored: int = 0  # lay under the ignored part as a whole, and were never looked at


class Detector:
    """Runs a bundle's cascade over frames; keeps nothing from one to the next.

    Args:
        backend: the bundle on a runtime.
        manifest: the bundle's, for tile size, overlap and the gate's threshold.
        gate: False asks no gate of each tile. Without effect where the bundle has none.
        gate_threshold: on the gate's probability; None takes the bundle's.
        pre_gate: the classical look at each tile before the networks; None takes the default, which is off.
        workers: threads that share the backend, >= 1.
        memory: what the frames of all detectors of the process share; None sets no bound.
    """

    def __init__(
        self,
        backend: Backend,
        manifest: Manifest,
        *,
        gate: bool = True,
        gate_threshold: float | None = None,
        pre_gate: PreGateSettings | None = None,
        workers: int = 1,
        memory: MemoryBudget | None = None,
    ) -> None:
        self._backend = backend
        self._segmenter = manifest.segmenter
        self._gate = manifest.gate if gate else None
        self._gate_threshold = gate_threshold
        self._pre_gate = pre_gate or PreGateSettings()
        self._memory = memory
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tile") if workers > 1 else None

    def detect(self, image_rgb: UInt8, *, ignored: Bool | None = None) -> Detection:
        """Return the crack probability of every pixel.

        Args:
            image_rgb: (H, W, 3) of any size from 1 x 1.
            ignored: (H, W), True where no crack is to be reported: the carrier's own gear.

        Raises:
            InferenceError: not such a picture, one that needs more memory than it may have, or the runtime failed.
        """
        if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
            raise InferenceError(f"a frame is uint8 (H, W, 3), got {image_rgb.dtype} {image_rgb.shape}")
        height, width = image_rgb.shape[:2]
        if ignored is not None and ignored.shape != (height, width):
            raise InferenceError(f"ignored is {ignored.shape}, but the frame has {(height, width)} px")
        with self._memory.frame(height, width) if self._memory else nullcontext():
            return self._detect(image_rgb, ignored)

    def close(self) -> None:
        """End the worker threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _detect(self, image_rgb: UInt8, ignored: Bool | None) -> Detection:
        height, width = image_rgb.shape[:2]
        net = self._segmenter
        tiles = list(TileGrid(height=height, width=width, size=net.tile_px, overlap=net.overlap_px))
        seen = tiles if ignored is None else [t for t in tiles if not ignored[t.own_y, t.own_x].all()]
        cutter = TileCutter(image_rgb, net.tile_px)
        passed, gate_seconds = self._passed(cutter, seen)
        probability = np.zeros((height, width), np.uint8)

        def segment(tile: Tile) -> float:
            (map_,), seconds = _timed(self._backend.infer, cutter.cut(tile)[None])
            probability[tile.own_y, tile.own_x] = map_[tile.crop]
            return seconds

        seconds = sum(self._each(segment, passed))
        if ignored is not None:
            probability[ignored] = 0
        return Detection(
            probability=probability,
            tiles=len(tiles),
            tiles_segmented=len(passed),
            run_seconds=gate_seconds + seconds,
            tiles_ignored=len(tiles) - len(seen),
        )

    def _passed(self, cutter: TileCutter, tiles: list[Tile]) -> tuple[list[Tile], float]:
        """Return the tiles that the gates let through, and the seconds that the network among them took."""
        gate, pre_gate = self._gate, self._pre_gate
        halved = ReducedTiles(cutter, FACTOR) if pre_gate.enabled else None
        if halved is not None:
            tiles = list(filter(PreGate(halved, cutter.size, pre_gate), tiles))
        if gate is None:
            return tiles, 0.0
        threshold = gate.threshold.value if self._gate_threshold is None else self._gate_threshold
        reduced = halved if halved is not None and gate.downscale == FACTOR else ReducedTiles(cutter, gate.downscale)

        def ask(tile: Tile) -> tuple[bool, float]:
            scores, seconds = _timed(self._backend.gate, reduced.cut(tile)[None])
            return bool(scores.probability[0] >= threshold), seconds

        answers = list(self._each(ask, tiles))
        passed = [tile for tile, (has_crack, _) in zip(tiles, answers, strict=True) if has_crack]
        return passed, sum(seconds for _, seconds in answers)

    def _each(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return self._pool.map(work, items) if self._pool else map(work, items)


def _timed(call: Callable[[UInt8], R], tiles: UInt8) -> tuple[R, float]:
    """Return what the call gives and the CPU seconds of this thread, in which the runtime does its work."""
    start = time.thread_time()
    result = call(tiles)
    return result, time.thread_time() - start
