"""How a paper's table looks: for a terminal, as CSV, as a picture. Its rows stand in the paper's order."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table as Drawn

from train.tables import PaperTable, Result, Row


def named(row: Row) -> str:
    """Return what a table calls a row."""
    if row.quoted is not None:
        return f"{row.label} (quoted)"
    return f"{row.label} (reconstruction)" if row.reconstruction else row.label


def _rows(table: PaperTable, results: Sequence[Result]) -> Iterator[tuple[Row, Result | None]]:
    """Yield the table's rows that are done, each with what became of it, and the quoted ones, with None."""
    done = {result.row.label: result for result in results}
    for row in table.rows:
        if row.quoted is not None or row.label in done:
            yield row, done.get(row.label)


def drawn(table: PaperTable, results: Sequence[Result]) -> Drawn:
    """Return the table for a terminal: ours beside the paper's."""
    quoted = [f"{row.label}: quoted, {row.quoted}." for row in table.rows if row.quoted is not None]
    shown = Drawn(title=f"{table.title} ({table.source})", caption=" ".join([table.note, *quoted]))
    shown.add_column("row")
    for metric in table.metrics.values():
        shown.add_column(f"{metric}: ours")
        shown.add_column("paper")
    for column in ("epochs", "seconds", "parameters", "multiply-adds", "GFLOP", "frames/s"):
        shown.add_column(column, justify="right")
    for row, result in _rows(table, results):
        cells = [named(row)]
        for name in table.metrics:
            printed = row.paper.get(name)
            ours = "-" if result is None else _with_spread(result.values[name])
            cells += [ours, "-" if printed is None else f"{printed:.4f}"]
        if result is None:
            shown.add_row(*cells, *["-"] * 6)
            continue
        shown.add_row(
            *cells,
            str(result.epochs),
            f"{result.seconds:.0f}",
            f"{result.parameters:,}",
            f"{result.multiply_adds / 1e9:.2f} G",
            f"{2 * result.multiply_adds / 1e9:.2f}",
            f"{result.frames_per_second:.1f}",
        )
    return shown


def _with_spread(values: Sequence[float]) -> str:
    if not values:
        return "none"
    spread = f" ({statistics.stdev(values):.4f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def save_csv(table: PaperTable, results: Sequence[Result], path: Path) -> None:
    """Write a line per row: mean, standard deviation and number of seeds of each metric, and the paper's figure.

    In a quoted row what is ours is empty, and `quoted` says why.
    """
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        of_metrics = [f"{name} {what}" for name in table.metrics for what in ("mean", "sd", "seeds", "paper")]
        of_run = ["epochs", "seconds", "parameters", "multiply_adds", "frames_per_second"]
        writer.writerow(["row", *of_metrics, *of_run, "quoted"])
        for row, result in _rows(table, results):
            cells: list[object] = [named(row)]
            for name in table.metrics:
                found = [] if result is None else result.values[name]
                mean = f"{statistics.mean(found):.6f}" if found else ""
                deviation = f"{statistics.stdev(found):.6f}" if len(found) > 1 else ""
                cells += [mean, deviation, len(found), row.paper.get(name, "")]
            if result is None:
                writer.writerow([*cells, *[""] * len(of_run), row.quoted])
                continue
            cells += [result.epochs, f"{result.seconds:.1f}", result.parameters, result.multiply_adds]
            writer.writerow([*cells, f"{result.frames_per_second:.2f}", ""])


def save_picture(table: PaperTable, results: Sequence[Result], path: Path) -> None:
    """Draw a bar per row and metric with a dot per seed, and the paper's figure as a line."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - heavy, and for this alone

    rows = list(_rows(table, results))
    figure = Figure(figsize=(5.2 * len(table.metrics) + 1.5, 0.55 * len(rows) + 1.8), layout="constrained")
    axes = figure.subplots(1, len(table.metrics), sharey=True, squeeze=False)[0]
    labels = [named(row) for row, _ in rows]
    for ax, (name, told) in zip(axes, table.metrics.items(), strict=True):
        for place, (row, result) in enumerate(rows):
            found = [] if result is None else result.values[name]
            if found:
                ax.barh(place, statistics.mean(found), color="#7a9ec2", height=0.6)
                ax.plot(found, [place] * len(found), "o", color="#1f3b57", markersize=4)
            if name in row.paper:
                ax.plot([row.paper[name]] * 2, [place - 0.38, place + 0.38], color="#c0392b", linewidth=2.5)
        ax.set_yticks(range(len(labels)), labels)
        ax.set_title(told, fontsize=9)
        ax.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    figure.suptitle(f"{table.title}: bars and dots are ours, red lines the paper's", fontsize=10)
    figure.savefig(path, dpi=110)
