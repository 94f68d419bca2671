"""The figures of a bundle as a page of tables."""

from __future__ import annotations

from collections.abc import Sequence

from train.ship.figures import BundleFigures, Estimated, SetFigures

_SHOWN = (
    ("strict.ods", "strict ODS"),
    ("tolerance(2).ods", "ODS, 2 px"),
    ("strict.f1", "strict F1, shipped threshold"),
    ("tolerance(2).f1", "F1 2 px, shipped threshold"),
    ("cldice", "clDice"),
    ("false_cracks_per_clean_image", "false cracks per clean picture"),
)


def as_markdown(found: BundleFigures) -> str:
    """Return the page."""
    before, after = found.reliability_before, found.reliability
    lines = [
        f"# {found.bundle}: figures of {found.folds} folds",
        "",
        f"Threshold {found.threshold.value:.4f}: {found.threshold.chosen}.",
        f"Gate's threshold {found.gate_threshold.value:.6f}: {found.gate_threshold.chosen}.",
        "",
        f"Calibration `{found.calibration.model_dump()}` (reliability.png):",
        f"expected calibration error {before.error:.4f} before, {after.error:.4f} after;",
        f"above 5 %, each bin alike, {before.crack_error:.4f} before, {after.crack_error:.4f} after.",
        "",
        "Brackets: 95 % over pictures. Every picture is judged by a network that was not trained on it or its group.",
        *_sets("Held-back folds, segmenter alone", found.held_out),
        *_sets("Held-back folds, after the gate", found.after_gate),
        *_sets("Sets left out of the training", found.left_out),
        "",
        "## Gate",
        "| set | crack | clean | tile recall | clean tiles saved | error at 0.5 |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.name} | {one.crack} | {one.clean} | {_cell(one.tile_recall)} | {_cell(one.tiles_saved)} | "
        f"{_cell(one.error)} |"
        for one in found.gate
    ]
    if found.distractors:
        lines += ["", "## Distractors", "| set | share of its pixels called crack |", "|---|---|"]
        lines += [f"| {name} | {share:.5f} |" for name, share in found.distractors.items()]
    if len(found.compared) > 1:
        columns = sorted({key for row in found.compared.values() for key in row})
        lines += ["", "## Compared on the same folds: mean (lowest to highest of the seeds)"]
        lines += [f"| network | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for name, row in found.compared.items():
            cells = [f"{m:.3f} ({a:.3f} to {b:.3f})" for m, a, b in (row.get(key, (-1.0,) * 3) for key in columns)]
            cells = ["-" if key not in row else cell for key, cell in zip(columns, cells, strict=True)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _sets(title: str, sets: Sequence[SetFigures]) -> list[str]:
    if not sets:
        return []
    names = " | ".join(name for _, name in _SHOWN)
    rows = [
        f"| {one.name} | {one.pictures} ({one.with_crack} with a crack) | "
        + " | ".join(_cell(one.figures[key]) for key, _ in _SHOWN)
        + " |"
        for one in sets
    ]
    return ["", f"## {title}", f"| set | pictures | {names} |", "|---" * (len(_SHOWN) + 2) + "|", *rows]


def _cell(one: Estimated) -> str:
    if one.value is None:
        return "-"
    return f"{one.value:.3f}" + ("" if one.low is None or one.high is None else f" [{one.low:.3f}, {one.high:.3f}]")
