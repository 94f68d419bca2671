"""MODEL_CARD.md: what a person should know before trusting a bundle."""

from __future__ import annotations

from collections.abc import Sequence

from agent.contract.bundle import GateRef, Metric, SegmenterRef, TrainingSet
from agent.contract.certificate import Certificate, Measured
from export.settings import ExportSettings

_VARIANTS = "## Variants"
_NO_TORCH = (
    "So what is said of F1, width and gate below is a change against fp32, not against the trained network: a fault of "
    "fp32 on photos would not show, and the row of the reference itself shows nothing there."
)
_COLUMNS = (
    "variant",
    "runtime",
    "golden tiles: farthest, flipped",
    "largest change of F1 (2 px)",
    "of mean width (median of pictures), px",
    "stitched against whole: flipped",
    "passed",
)


def model_card(
    *,
    settings: ExportSettings,
    segmenter: SegmenterRef,
    gate: GateRef | None,
    training: Sequence[TrainingSet],
    metrics: Sequence[Metric],
) -> str:
    """Return the card as Markdown, from the same values that the manifest holds."""
    field = segmenter.receptive_field_px
    halo = "unbounded" if field == "unbounded" else f"{field} px wide"
    lines = [
        f"# {settings.name}",
        "",
        settings.summary,
        "",
        f"Licence of the weights: {settings.licence}",
        "",
        "## Networks",
        (
            f"- Segmenter: `{segmenter.architecture}`, {segmenter.parameters:,} parameters, tiles of "
            f"{segmenter.tile_px} px, overlap {segmenter.overlap_px} px, stride {segmenter.stride_px} px, "
            f"receptive field {halo}. {segmenter.input} in, {segmenter.output} out."
        ),
        f"  Threshold {segmenter.threshold.value:.3f}: {segmenter.threshold.chosen}.",
    ]
    if gate is not None:
        lines += [
            (
                f"- Gate: `{gate.architecture}`, {gate.parameters:,} parameters, sees the tile at 1/{gate.downscale} "
                f"of its size. {gate.input} in, {gate.output} out."
            ),
            f"  Threshold {gate.threshold.value:.4f}: {gate.threshold.chosen}.",
        ]
    lines += ["", "## Training data", "| set | pictures | licence as stated at the source |", "|---|---|---|"]
    lines += [f"| {one.name} | {one.images} | {one.licence} |" for one in training]
    lines += ["", "## Figures", "| metric | value | data | definition |", "|---|---|---|---|"]
    lines += [f"| {one.name} | {one.value:g} | {one.data} | {one.definition} |" for one in metrics]
    if settings.fails:
        lines += ["", "## What fails", *(f"- {line}" for line in settings.fails)]
    if settings.training:
        lines += ["", "## To train it again", "```", *settings.training, "```"]
    return "\n".join(lines) + "\n"


def with_variants(card: str, certificate: Certificate) -> str:
    """Return the card with the section on variants as the certificate has it, in the place of an older one."""
    parts = [part for part in card.rstrip("\n").split("\n## ") if not part.startswith(_VARIANTS[3:])]
    places = [index for index, part in enumerate(parts) if part.startswith(("What fails", "To train"))]
    parts.insert(min(places, default=len(parts)), _section(certificate))
    return "\n## ".join(part.rstrip("\n") + "\n" for part in parts)


def _section(certificate: Certificate) -> str:
    lines = [
        _VARIANTS[3:],
        f"Golden tiles (rendered) are compared with torch's answers, validation pictures with {certificate.reference}.",
        *([] if certificate.reference.startswith("torch ") else [_NO_TORCH]),
        "All figures: `certificate.json`.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---" * len(_COLUMNS) + "|",
        *map(_row, certificate.measured),
    ]
    lines += [f"- {variant} is left out: {why}" for variant, why in certificate.left_out.items()]
    if certificate.calibration:
        lines += ["", f"INT8 took its ranges from {', '.join(certificate.calibration)}."]
    lines += ["", "Not measured on: " + "; ".join(f"{name} ({why})" for name, why in certificate.absent.items()) + "."]
    return "\n".join(lines)


def _row(one: Measured) -> str:
    changes = [abs(part.tolerance_f1_change) for part in one.validation if part.tolerance_f1_change is not None]
    widths = [part.median_width_change_px for part in one.validation if part.median_width_change_px is not None]
    cells = (
        one.variant,
        one.runtime,
        f"{one.golden.max_difference} of 255, {one.golden.flipped_share:.4%}",
        f"{max(changes):.4f}" if changes else "-",
        f"{max(widths):.3f}" if widths else "-",
        f"{one.stitched.flipped_share:.4%}" if one.stitched else "-",
        "yes" if one.passed else "no",
    )
    return f"| {' | '.join(cells)} |"
