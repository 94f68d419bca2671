"""`certificate.json`: how far each variant of a bundle's networks, on each runtime, lies from the trained networks.

The certificate names the files that were measured by their hashes, so that it cannot pass for other ones. The limits
stand here, once, for the export that decides what ships and for the agent that checks what it was given.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from agent.contract.strict import Strict

CERTIFICATE_NAME: Final = "certificate.json"
CERTIFICATE_SCHEMA: Final = "certificate/1"
REFERENCE_KIND: Final = (
    "onnxruntime",
    "cpu",
)  # computes a graph as it is written; a variant ships where it passes there
Precision = Literal["fp32", "fp16", "int8"]
Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Limits(Strict):
    """What a variant may differ by before it is left out, or, on a device, refused."""

    golden_levels: int | None = Field(description="Of 255, at any pixel of the golden tiles; None: not held to levels.")
    golden_flipped: Share = Field(description="Share of the golden pixels that change sides of the threshold.")
    golden_gate: Share = Field(description="Of the gate's probability on a golden tile.")
    f1_change: Share = Field(description="Of the F1 with 2 px tolerance, either way, in each validation set.")
    gate_lost: Share = Field(description="Of the crack tiles that the reference's gate passes, in each validation set.")


# fp32 is the same computation in another order: the rounding of x.5 may tip. Lower precisions are held to what they
# are used for: which pixels are called crack. A steep edge can differ by many levels there and mean nothing.
LIMITS: Final[dict[Precision, Limits]] = {
    "fp32": Limits(golden_levels=1, golden_flipped=0.001, golden_gate=0.001, f1_change=0.001, gate_lost=0.001),
    "fp16": Limits(golden_levels=None, golden_flipped=0.001, golden_gate=0.01, f1_change=0.005, gate_lost=0.005),
    "int8": Limits(golden_levels=None, golden_flipped=0.005, golden_gate=0.1, f1_change=0.01, gate_lost=0.01),
}


class GoldenFigures(Strict):
    """Against torch's answers to the golden tiles."""

    tiles: int = Field(ge=1)
    max_difference: int = Field(ge=0, le=255, description="Levels of 255.")
    differing_share: Share = Field(description="Of the pixels, by any level.")
    flipped_share: Share = Field(description="Of the pixels, that change sides of the threshold.")
    max_gate_difference: Share | None = Field(description="Of the probability; None without a gate.")


class DataFigures(Strict):
    """Against the reference's answers on one validation set. Maps are stitched, of every tile, without the gate."""

    data: str
    images: int = Field(ge=1)
    max_difference: int = Field(ge=0, le=255, description="Levels of 255.")
    flipped_share: Share = Field(description="Of the pixels, that change sides of the threshold.")
    strict_f1: Share | None = Field(description="Pixel on pixel at the threshold, counts pooled; None: 0/0.")
    strict_f1_change: float | None = Field(description="Against the reference's.")
    tolerance_f1: Share | None = Field(description="Within 2 px at the threshold, counts pooled; None: 0/0.")
    tolerance_f1_change: float | None = Field(description="Against the reference's.")
    median_width_change_px: float | None = Field(
        description="Median over pictures of the change of each one's mean crack width, unsigned, px; "
        "None: no picture in which both found cracks."
    )
    gate_lost: Share | None = Field(
        description="Share of the crack pictures whose first tile the reference's gate passes and this one stops."
    )


class StitchedFigures(Strict):
    """The map stitched of tiles at the shipped overlap against that of the whole picture, one rendered picture."""

    overlap_px: int
    max_difference: int = Field(ge=0, le=255)
    flipped_share: Share


class Measured(Strict):
    """One variant on one runtime."""

    variant: Precision
    runtime: str = Field(description="With its version.")
    files: dict[str, Sha256] = Field(description="What was measured: each network's file.")
    golden: GoldenFigures
    validation: tuple[DataFigures, ...]
    stitched: StitchedFigures | None = Field(description="None: not measured.")
    passed: bool
    reason: str | None = Field(description="Why it did not pass.")
    note: str | None = Field(default=None, description="What the figures do not show.")


class Certificate(Strict):
    """`certificate.json`."""

    schema_: Literal["certificate/1"] = Field(alias="schema")
    bundle: str
    reference: str = Field(description="What validation sets are compared with. Golden answers are always torch's.")
    limits: dict[Precision, Limits]
    calibration: tuple[str, ...] = Field(description="The pictures that the INT8 variant's ranges were taken from.")
    measured: tuple[Measured, ...]
    left_out: dict[Precision, str] = Field(
        description="Variants that do not ship, as they failed on ONNX Runtime, and why. One that failed on another "
        "runtime alone ships and is refused there."
    )
    absent: dict[str, str] = Field(description="Runtimes that nothing was measured on, and why.")

    def covers(self, variant: Precision, files: dict[str, str]) -> bool:
        """Say whether these files, {name: sha256}, were measured as this variant and passed on ONNX Runtime."""
        found = [one for one in self.measured if one.variant == variant]
        return all(one.files == files for one in found) and any(
            one.passed for one in found if runtime_kind(one.runtime) == REFERENCE_KIND
        )

    def refusal(self, variant: str, runtime: str) -> str | None:
        """Say why a variant must not run on a runtime, whatever its version: it was measured there and failed."""
        for one in self.measured:
            if one.variant == variant and not one.passed and runtime_kind(one.runtime) == runtime_kind(runtime):
                return f"{variant} on {one.runtime} did not pass its certificate: {one.reason}"
        return None


def runtime_kind(runtime: str) -> tuple[str, ...]:
    """Return a runtime's name and device without its version: of `openvino 2026.4.1 cpu f32`, (openvino, cpu)."""
    name, *others = runtime.split()
    return (name, *others[1:2])
