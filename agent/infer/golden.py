"""Compare a runtime with torch's answers to the bundle's golden tiles: two runtimes are compared, never trusted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, FileRef
from agent.errors import BundleError
from agent.infer.backend import Backend

TOLERANCE: Final = 1  # levels of 255: the rounding of x.5 may tip either way
GATE_TOLERANCE: Final = 1e-3  # of the probability


@dataclass(frozen=True, kw_only=True)
class GoldenAnswers:
    """How far a runtime's answers lie from torch's."""

    runtime: str
    bundle: str
    tiles: int
    max_difference: int  # levels of 255
    differing_share: float  # of the pixels, by any level
    max_gate_difference: float | None  # of the probability; None in a bundle without a gate

    @property
    def passed(self) -> bool:
        """Whether they are the same within rounding."""
        return self.max_difference <= TOLERANCE and (self.max_gate_difference or 0) <= GATE_TOLERANCE

    def as_json(self) -> dict[str, Any]:
        """Return one flat object."""
        return {**asdict(self), "passed": self.passed}

    def as_text(self) -> str:
        """Return one line for a person."""
        gate = "" if self.max_gate_difference is None else f", the gate's {self.max_gate_difference:.1e}"
        return (
            f"{'passed' if self.passed else 'FAILED'}: {self.bundle} on {self.runtime}: {self.tiles} golden tiles, "
            f"largest difference from torch {self.max_difference} of 255, "
            f"{self.differing_share:.2%} of the pixels differ{gate}"
        )


def compare_golden(bundle: Bundle, backend: Backend) -> GoldenAnswers:
    """Run every golden tile of the bundle on the backend.

    Raises:
        BundleError: the bundle has no golden tiles, or one that is no picture.
    """
    gate = bundle.manifest.gate
    differences: list[UInt8] = []
    gate_differences: list[float] = []
    for golden in bundle.manifest.golden:
        tile = _picture(bundle, golden.tile, cv2.IMREAD_COLOR_RGB)
        want = _picture(bundle, golden.probability, cv2.IMREAD_GRAYSCALE)
        differences.append(np.asarray(cv2.absdiff(backend.infer(tile[None])[0], want), np.uint8))
        if gate is not None and golden.gate_probability is not None:
            small = np.asarray(cv2.resize(tile, (gate.tile_px,) * 2, interpolation=cv2.INTER_AREA), np.uint8)
            gate_differences.append(abs(float(backend.gate(small[None]).probability[0]) - golden.gate_probability))
    if not differences:
        raise BundleError(f"{bundle.folder}: the bundle holds no golden tiles to compare with; export it again")
    return GoldenAnswers(
        runtime=backend.runtime,
        bundle=f"{bundle.manifest.name} {bundle.sha256[:12]}",
        tiles=len(differences),
        max_difference=max(int(difference.max()) for difference in differences),
        differing_share=float(np.mean([np.count_nonzero(difference) / difference.size for difference in differences])),
        max_gate_difference=max(gate_differences, default=None),
    )


def _picture(bundle: Bundle, ref: FileRef, flags: int) -> UInt8:
    picture = cv2.imdecode(np.frombuffer(bundle.read(ref), np.uint8), flags)
    edge = bundle.manifest.segmenter.tile_px
    if picture is None or picture.shape[:2] != (edge, edge):
        raise BundleError(f"{bundle.path(ref)}: not a picture of {edge} x {edge} px; export the bundle again")
    return np.asarray(picture, np.uint8)
