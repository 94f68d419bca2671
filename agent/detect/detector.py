"""A frame of any size -> tiles -> gate -> segmentation of what passes -> one probability map."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.bundle import Manifest
from agent.contract.tiling import Tile, TileGrid
from agent.errors import InferenceError
from agent.infer.backend import Backend

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detection:
    """What the networks made of a frame."""

    probability: UInt8  # (H, W) crack probability x 255; 0 where the gate let no tile through
    tiles: int
    tiles_segmented: int
    run_seconds: float  # CPU seconds inside the runtime's own calls, all workers together


class Detector:
    """Runs a bundle's cascade over frames; keeps nothing from one to the next.

    Args:
        backend: the bundle on a runtime.
        manifest: the bundle's, for tile size, overlap and the gate's threshold.
        gate: False segments every tile. Without effect where the bundle has no gate.
        gate_threshold: on the gate's probability; None takes the bundle's.
        workers: threads that share the backend, >= 1.
    """

    def __init__(
        self,
        backend: Backend,
        manifest: Manifest,
        *,
        gate: bool = True,
        gate_threshold: float | None = None,
        workers: int = 1,
    ) -> None:
        self._backend = backend
        self._segmenter = manifest.segmenter
        self._gate = manifest.gate if gate else None
        self._gate_threshold = gate_threshold
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tile") if workers > 1 else None

    def detect(self, image_rgb: UInt8) -> Detection:
        """Return the crack probability of every pixel.

        Args:
            image_rgb: (H, W, 3) of any size from 1 x 1.

        Raises:
            InferenceError: not such a picture, or the runtime failed.
        """
        if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
            raise InferenceError(f"a frame is uint8 (H, W, 3), got {image_rgb.dtype} {image_rgb.shape}")
        height, width = image_rgb.shape[:2]
        net = self._segmenter
        grid = TileGrid(height=height, width=width, size=net.tile_px, overlap=net.overlap_px)
        padded = _pad(image_rgb, grid.padded_hw)
        tiles = list(grid)
        passed, gate_seconds = self._passed(padded, tiles)
        probability = np.zeros((height, width), np.uint8)

        def segment(tile: Tile) -> float:
            view = padded[tile.y : tile.y + net.tile_px, tile.x : tile.x + net.tile_px]
            (map_,), seconds = _timed(self._backend.infer, view[None])
            probability[tile.own_y, tile.own_x] = map_[tile.crop]
            return seconds

        seconds = sum(self._each(segment, passed))
        return Detection(
            probability=probability, tiles=len(tiles), tiles_segmented=len(passed), run_seconds=gate_seconds + seconds
        )

    def close(self) -> None:
        """End the worker threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _passed(self, padded: UInt8, tiles: list[Tile]) -> tuple[list[Tile], float]:
        """Return the tiles that the gate lets through, and the seconds it took."""
        gate = self._gate
        if gate is None:
            return tiles, 0.0
        threshold = gate.threshold.value if self._gate_threshold is None else self._gate_threshold
        factor, edge = gate.downscale, gate.tile_px
        height, width = padded.shape[:2]
        # one resize of the frame instead of one per tile, which would double the gate's cost
        small = np.asarray(
            cv2.resize(padded, (width // factor, height // factor), interpolation=cv2.INTER_AREA), np.uint8
        )

        def ask(tile: Tile) -> tuple[bool, float]:
            y, x = tile.y // factor, tile.x // factor
            scores, seconds = _timed(self._backend.gate, small[None, y : y + edge, x : x + edge])
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


def _pad(image: UInt8, padded_hw: tuple[int, int]) -> UInt8:
    """Extend the lower and right edges by reflection, which hides no crack and invents no edge."""
    below, right = padded_hw[0] - image.shape[0], padded_hw[1] - image.shape[1]
    if not below and not right:
        return image
    return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8)
