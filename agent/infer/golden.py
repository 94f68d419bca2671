"""Compare a runtime with torch's answers to the bundle's golden tiles: two runtimes are compared, never trusted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, FileRef, Precision
from agent.contract.certificate import LIMITS, GoldenFigures
from agent.errors import BundleError, InferenceError
from agent.infer.backend import Backend


@dataclass(frozen=True, kw_only=True)
class GoldenAnswers:
    """How far a runtime's answers lie from torch's."""

    runtime: str
    variant: Precision
    bundle: str
    tiles: int
    max_difference: int  # levels of 255
    differing_share: float  # of the pixels, by any level
    flipped_share: float  # of the pixels, that change sides of the segmenter's threshold
    max_gate_difference: float | None  # of the probability; None in a bundle without a gate

    @property
    def figures(self) -> GoldenFigures:
        """As a certificate holds them."""
        return GoldenFigures(
            tiles=self.tiles,
            max_difference=self.max_difference,
            differing_share=round(self.differing_share, 7),
            flipped_share=round(self.flipped_share, 7),
            max_gate_difference=None if self.max_gate_difference is None else round(self.max_gate_difference, 6),
        )

    @property
    def passed(self) -> bool:
        """Whether they lie within what `agent.contract.certificate.LIMITS` allows the variant."""
        return self.fault is None

    @property
    def fault(self) -> str | None:
        """The limit that was passed, with both figures; None where none was."""
        limits = LIMITS[self.variant]
        if limits.golden_levels is not None and self.max_difference > limits.golden_levels:
            return f"{self.max_difference} levels of 255 on a golden tile, at most {limits.golden_levels} are allowed"
        if self.flipped_share > limits.golden_flipped:
            return (
                f"{self.flipped_share:.3%} of the golden pixels change sides of the threshold, "
                f"at most {limits.golden_flipped:.3%} may"
            )
        gate = self.max_gate_difference
        if gate is not None and not gate <= limits.golden_gate:  # what is no number is refused too
            return f"the gate is off by {self.max_gate_difference:.1e}, at most {limits.golden_gate:g} is allowed"
        return None

    def as_json(self) -> dict[str, Any]:
        """Return one flat object."""
        return {**asdict(self), "passed": self.passed}

    def as_text(self) -> str:
        """Return one line for a person."""
        gate = "" if self.max_gate_difference is None else f", the gate's {self.max_gate_difference:.1e}"
        return (
            f"{'passed' if self.passed else 'FAILED'}: {self.bundle} {self.variant} on {self.runtime}: "
            f"{self.tiles} golden tiles, largest difference from torch {self.max_difference} of 255, "
            f"{self.differing_share:.2%} of the pixels differ, {self.flipped_share:.3%} change sides{gate}"
        )


def distrust(bundle: Bundle, backend: Backend) -> str | None:
    """Say why a runtime that was opened must not be relied on; None where it may.

    The bundle's hashes, schema and certificate were checked when it was loaded; here it is whether the variant was
    certified at all, and whether this machine answers the golden tiles as torch did.

    Raises:
        BundleError: the bundle has no golden tiles, or one that is no picture.
    """
    if backend.variant != "fp32" and bundle.certificate is None:
        return f"{bundle.manifest.name} holds no certificate for its {backend.variant} variant"
    if bundle.certificate is not None and (refusal := bundle.certificate.refusal(backend.variant, backend.runtime)):
        return refusal
    try:
        answers = compare_golden(bundle, backend)
    except InferenceError as exc:
        return f"{backend.runtime} fails on a golden tile ({exc})"
    return None if answers.fault is None else f"{backend.variant} on {backend.runtime}: {answers.fault}"


def compare_golden(bundle: Bundle, backend: Backend) -> GoldenAnswers:
    """Run every golden tile of the bundle on the backend.

    Raises:
        BundleError: the bundle has no golden tiles, or one that is no picture.
    """
    gate = bundle.manifest.gate
    level = bundle.manifest.segmenter.threshold.value * 255
    differences: list[UInt8] = []
    flipped: list[float] = []
    gate_differences: list[float] = []
    for golden in bundle.manifest.golden:
        tile = _picture(bundle, golden.tile, cv2.IMREAD_COLOR_RGB)
        want = _picture(bundle, golden.probability, cv2.IMREAD_GRAYSCALE)
        got = backend.infer(tile[None])[0]
        differences.append(np.asarray(cv2.absdiff(got, want), np.uint8))
        flipped.append(float(np.mean((got >= level) != (want >= level))))
        if gate is not None and golden.gate_probability is not None:
            small = np.asarray(cv2.resize(tile, (gate.tile_px,) * 2, interpolation=cv2.INTER_AREA), np.uint8)
            gate_differences.append(abs(float(backend.gate(small[None]).probability[0]) - golden.gate_probability))
    if not differences:
        raise BundleError(f"{bundle.folder}: the bundle holds no golden tiles to compare with; export it again")
    return GoldenAnswers(
        runtime=backend.runtime,
        variant=cast("Precision", backend.variant),
        bundle=f"{bundle.manifest.name} {bundle.sha256[:12]}",
        tiles=len(differences),
        max_difference=max(int(difference.max()) for difference in differences),
        differing_share=float(np.mean([np.count_nonzero(difference) / difference.size for difference in differences])),
        flipped_share=float(np.mean(flipped)),
        max_gate_difference=float(np.max(gate_differences)) if gate_differences else None,
    )


def _picture(bundle: Bundle, ref: FileRef, flags: int) -> UInt8:
    picture = cv2.imdecode(np.frombuffer(bundle.read(ref), np.uint8), flags)
    edge = bundle.manifest.segmenter.tile_px
    if picture is None or picture.shape[:2] != (edge, edge):
        raise BundleError(f"{bundle.path(ref)}: not a picture of {edge} x {edge} px; export the bundle again")
    return np.asarray(picture, np.uint8)
