"""What every backend does with the networks of a bundle, whatever computes them: a segmenter and, mostly, a gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, NetRef, Precision
from agent.errors import BundleError, InferenceError
from agent.infer.backend import GateScores
from agent.infer.tiles import NO_GATE

Port = tuple[str, Sequence[int | None]]  # numpy's name of its type, and its shape; None where any size will do
Ports = Sequence[tuple[str, int]]  # type and rank of each output, in the graph's order
SEGMENTER_GIVES: Final[Ports] = (("uint8", 3),)
GATE_GIVES: Final[Ports] = (("float32", 1), ("float32", 1))


class Runs(Protocol):
    """One network, ready to run."""

    def run(self, tiles: UInt8) -> Sequence[NDArray[Any]]:
        """Return a fresh array for each output.

        Raises:
            InferenceError: the tiles do not fit, or the runtime failed.
        """
        ...


class TwoNetworks:
    """The part of a `Backend` that is the same on every runtime.

    Args:
        bundle: with the variant.
        variant: of both networks.
        load: makes a network ready and holds it to what the manifest promises.
    """

    def __init__(self, bundle: Bundle, variant: Precision, load: Callable[[NetRef, Ports], Runs]) -> None:
        manifest = bundle.manifest
        self._variant: Precision = variant
        self._segmenter = load(manifest.segmenter, SEGMENTER_GIVES)
        self._gate = load(manifest.gate, GATE_GIVES) if manifest.gate else None

    @property
    def variant(self) -> Precision:
        """The variant that was loaded."""
        return self._variant

    def infer(self, tiles: UInt8) -> UInt8:
        """See `Backend.infer`."""
        (probability,) = self._segmenter.run(tiles)
        return np.asarray(probability, np.uint8)

    def gate(self, tiles: UInt8) -> GateScores:
        """See `Backend.gate`."""
        if self._gate is None:
            raise InferenceError(NO_GATE)
        probability, margin = self._gate.run(tiles)
        return GateScores(probability, margin)


def check_ports(place: Path, edge: int, *, takes: Sequence[Port], gives: Sequence[Port], wanted: Ports) -> None:
    """Hold a graph's inputs and outputs to what the manifest promises.

    Args:
        place: of the graph's file.
        edge: of the network's tiles, px.
        takes: the graph's inputs.
        gives: its outputs.
        wanted: what they are to be.

    Raises:
        BundleError: they are others.
    """
    got_in = [(kind, list(shape)) for kind, shape in takes]
    got_out = [(kind, len(shape)) for kind, shape in gives]
    if got_in != [("uint8", [None, edge, edge, 3])] or got_out != list(wanted):
        raise BundleError(
            f"{place}: takes {got_in} and gives {got_out}, but the manifest says "
            f"uint8 (N, {edge}, {edge}, 3) and {list(wanted)}; export the bundle again"
        )
