"""MODEL_CARD.md: what a person should know before trusting a bundle."""

from __future__ import annotations

from collections.abc import Sequence

from agent.contract.bundle import GateRef, Metric, SegmenterRef, TrainingSet
from export.settings import ExportSettings


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
