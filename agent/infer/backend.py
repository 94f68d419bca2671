"""What the agent asks of a runtime. Every runtime inherits the same contract suite in tests/support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from agent.contract.arrays import Float32, UInt8

RuntimeName = Literal["onnxruntime", "onnxruntime-cuda", "openvino", "tensorrt", "auto"]  # as settings call them


@dataclass(frozen=True, slots=True, eq=False)
class GateScores:
    """What the gate says of each tile."""

    probability: Float32  # (N,) that the tile holds a crack, [0, 1]
    margin: Float32  # (N,) logit of crack minus logit of clean


class Backend(Protocol):
    """One bundle, loaded on one runtime. Calls may come from several threads at once."""

    @property
    def runtime(self) -> str:
        """The runtime's name and version, as the flight record names it."""
        ...

    @property
    def variant(self) -> str:
        """Which variant of the networks runs: fp32, fp16 or int8."""
        ...

    def infer(self, tiles: UInt8) -> UInt8:
        """Map (N, H, W, 3) RGB to a fresh (N, H, W) crack probability x 255.

        Raises:
            InferenceError: tiles of another shape than the bundle's, or the runtime failed.
        """
        ...

    def gate(self, tiles: UInt8) -> GateScores:
        """Say of each of (N, h, w, 3) reduced tiles whether it holds a crack.

        Raises:
            InferenceError: the bundle has no gate, tiles of another shape, or the runtime failed.
        """
        ...
