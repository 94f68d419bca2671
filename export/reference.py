"""The trained networks behind the same protocol as every runtime: what a runtime is compared with."""

from __future__ import annotations

import numpy as np
import torch

from agent.contract.arrays import UInt8
from agent.errors import InferenceError
from agent.infer.backend import GateScores
from agent.infer.tiles import NO_GATE
from export.graphs import GateGraph, SegmenterGraph


class Torch:
    """The networks as they were trained, in torch, on tiles and pictures of any size that their stride divides."""

    variant = "fp32"

    def __init__(self, segmenter: SegmenterGraph, gate: GateGraph | None) -> None:
        self._segmenter = segmenter
        self._gate = gate

    @property
    def runtime(self) -> str:
        """For instance `torch 2.13.0`."""
        return f"torch {torch.__version__.split('+')[0]}"

    def infer(self, tiles: UInt8) -> UInt8:
        """See `Backend.infer`."""
        with torch.no_grad():
            return np.asarray(self._segmenter(torch.from_numpy(np.ascontiguousarray(tiles))).numpy(), np.uint8)

    def gate(self, tiles: UInt8) -> GateScores:
        """See `Backend.gate`."""
        if self._gate is None:
            raise InferenceError(NO_GATE)
        with torch.no_grad():
            probability, margin = self._gate(torch.from_numpy(np.ascontiguousarray(tiles)))
        return GateScores(probability.numpy(), margin.numpy())
