"""A paper's table, repeated: its rows are trained, scored with its own metric, and printed beside what it prints.

A table is a folder of `configs/train/papers`: one settings file per row, and `table.yaml`, which names the rows, the
metric and the paper's figures. A row is trained once per seed into a folder of its own; a row that is there already is
not trained again. Figures are those of the last weights on the pictures that were held back: nothing is chosen by them.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field, PositiveInt, ValidationError
from rich.table import Table as Drawn

from agent import strict_yaml
from agent.contract.strict import Strict
from agent.errors import ConfigError
from train.checkpoint import load_checkpoint
from train.fit import LAST, RUN_NAME, TimeOverError, fit
from train.held_back import judge_held_back, multiply_adds
from train.settings import PoolSource, Settings, load

TABLE_FILE: Final = "table.yaml"


class Row(Strict):
    """One row of a paper's table."""

    label: str
    config: str = Field(description="A settings file beside table.yaml.")
    epochs: PositiveInt | None = Field(default=None, description="Where rows differ in it alone; None is the file's.")
    paper: dict[str, float] = Field(description="What the paper prints, by our metric's name, as a share of 1.")
    quick: bool = Field(default=True, description="Whether --quick trains it.")
    quick_settings: tuple[str, ...] = Field(default=(), description="What --quick changes in this row beside the rest.")
    reconstruction: bool = Field(
        default=False, description="Whether its network was built from less than its paper's own description."
    )


class PaperTable(Strict):
    """`table.yaml`."""

    title: str
    source: str = Field(description="Paper and number of the table.")
    note: str = Field(description="What keeps our figures from being the paper's.")
    metrics: dict[str, str] = Field(min_length=1, description="Our metric's name -> the paper's, with its definition.")
    quick: tuple[str, ...] = Field(description="Settings that --quick changes in every row: section.key=value.")
    quick_epochs: PositiveInt | None = Field(default=None, description="Of every row under --quick.")
    rows: tuple[Row, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a row, over the seeds."""

    row: Row
    values: dict[str, list[float]]  # metric -> one value per seed
    epochs: int
    seconds: float  # of training, mean over the seeds
    parameters: int
    multiply_adds: int  # of one picture
    frames_per_second: float  # on this machine, whole pictures


def read_table(folder: Path) -> PaperTable:
    """Read `table.yaml` and check that every row's settings file is there.

    Raises:
        ConfigError: no such table, or one that does not fit.
    """
    path = folder / TABLE_FILE
    if not path.is_file():
        known = sorted(p.parent.name for p in folder.parent.glob(f"*/{TABLE_FILE}"))
        raise ConfigError(f"{path}: no such table; there are {', '.join(known) or 'none'} in {folder.parent}")
    file = strict_yaml.read(path)
    faults = [f"line {place.line}: {fault}" for place, fault in file.faults]
    try:
        table = PaperTable.model_validate(file.values)
    except ValidationError as exc:
        faults += [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in exc.errors()]
        raise ConfigError(f"{path}: {'; '.join(faults)}") from exc
    faults += [f"{row.config}: not beside it" for row in table.rows if not (folder / row.config).is_file()]
    if faults:
        raise ConfigError(f"{path}: {'; '.join(faults)}")
    return table


def run_table(
    folder: Path,
    out: Path,
    *,
    quick: bool = False,
    seeds: int = 1,
    data: Path | None = None,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    until: float | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[PaperTable, list[Result]]:
    """Train and judge every row.

    Args:
        folder: with table.yaml.
        out: where the runs go, one folder per row and seed.
        quick: with `quick` and `quick_epochs` of the table, and its quick rows alone.
        seeds: how many runs of each row, from seed 0.
        data: in place of the rows' data.root, or the folder of the one set that a row has.
        overrides: `section.key=value` for every row, behind all that the table changes.
        only: rows whose label holds one of these; none for all.
        until: on the monotonic clock; the run that goes on then is stopped, to be taken up by the same call.
        told: is told what is being trained.

    Returns:
        The table, whose note says what `overrides` changed, and the rows that are done: all, unless time was over.

    Raises:
        CrackscoutError: see `train.fit.fit`.
        KeyboardInterrupt: stopped by a signal.
    """
    table = read_table(folder)
    if overrides:
        table = table.model_copy(update={"note": f"{table.note} Changed here: {', '.join(overrides)}."})
    results: list[Result] = []
    for row in chosen_rows(table, quick=quick, only=only):
        runs = []
        for seed in range(seeds):
            settings = _settings(folder, table, row, out, quick=quick, seed=seed, data=data, overrides=overrides)
            told(f"{row.label}, seed {seed}: {settings.optimiser.epochs} epochs into {settings.folder}")
            try:
                runs.append((settings, _trained(settings, until)))
            except TimeOverError:
                return table, results
        results.append(_judged(row, table, runs))
    return table, results


def chosen_rows(table: PaperTable, *, quick: bool, only: Sequence[str]) -> list[Row]:
    """Return the rows that are to be trained.

    Raises:
        ConfigError: none is called so, or none of them is for --quick.
    """
    for part in only:
        if not any(part in row.label for row in table.rows):
            raise ConfigError(f"--rows {part!r}: no row's label holds it; there are {_listed(table.rows)}")
    rows = [row for row in table.rows if (row.quick or not quick) and (not only or any(p in row.label for p in only))]
    if not rows:
        small = [row for row in table.rows if row.quick]
        raise ConfigError(f"--rows: none of them is for --quick; those are {_listed(small)}")
    return rows


def _listed(rows: Sequence[Row]) -> str:
    return "; ".join(row.label for row in rows)


def _settings(
    folder: Path,
    table: PaperTable,
    row: Row,
    out: Path,
    *,
    quick: bool,
    seed: int,
    data: Path | None,
    overrides: Sequence[str] = (),
) -> Settings:
    epochs = (table.quick_epochs if quick else None) or row.epochs
    name = f"{Path(row.config).stem}-{row.epochs or 'as-it-is'}-{'quick' if quick else 'whole'}-{seed}"
    changes = [
        *(table.quick if quick else ()),
        *(row.quick_settings if quick else ()),
        *([f"optimiser.epochs={epochs}"] if epochs else []),
        *overrides,
        f"seed={seed}",
        f"out={json.dumps(str(out / name))}",
    ]
    config = folder / row.config
    if data is not None:
        changes += _at(data, load(config, changes))
    return load(config, changes)


def _at(data: Path, settings: Settings) -> list[str]:
    """Return what makes a row read below `data`: the folder of its sets, or the one set that it has."""
    sources = [source for source in settings.data.sources if not isinstance(source, PoolSource)]
    root = data
    if len(sources) == 1 and not (data / sources[0].folder).is_dir() and data.resolve().name == sources[0].folder.name:
        root = data.resolve().parents[len(sources[0].folder.parts) - 1]
    return [f"data.root={json.dumps(str(root))}"]


def _trained(settings: Settings, until: float | None) -> float:
    """Train, or find it done; return the seconds it took.

    Raises:
        TimeOverError: it was stopped by the clock.
    """
    record = settings.folder / RUN_NAME
    if record.exists():
        content = json.loads(record.read_text(encoding="utf-8"))
        before = Settings.model_validate(content["settings"])
        if before.model_copy(update={"compute": settings.compute}) != settings:  # where it runs is no part of a row
            raise ConfigError(f"{settings.folder}: holds a run with other settings; remove it, or name another --out")
        if "result" in content:
            return float(content["result"]["seconds"])
    return fit(settings, resume=record.exists(), until=until).seconds


def _judged(row: Row, table: PaperTable, runs: Sequence[tuple[Settings, float]]) -> Result:
    values: dict[str, list[float]] = {name: [] for name in table.metrics}
    for settings, _ in runs:
        net, passport = load_checkpoint(settings.folder / LAST)
        judged = judge_held_back(net, settings)
        for name, found in values.items():
            if name not in judged.figures:
                raise ConfigError(f"metrics: {name!r} is none; there are {', '.join(judged.figures)}")
            value = judged.figures[name]
            if value is not None:
                found.append(value)
    return Result(
        row=row,
        values=values,
        epochs=runs[0][0].optimiser.epochs,
        seconds=statistics.mean(seconds for _, seconds in runs),
        parameters=passport.parameters,
        multiply_adds=multiply_adds(net, judged.extent_hw, passport.stride_px),
        frames_per_second=judged.frames_per_second,
    )


def named(row: Row) -> str:
    """Return what a table calls a row."""
    return f"{row.label} (reconstruction)" if row.reconstruction else row.label


def drawn(table: PaperTable, results: Sequence[Result]) -> Drawn:
    """Return the table for a terminal: ours beside the paper's."""
    shown = Drawn(title=f"{table.title} ({table.source})", caption=table.note)
    shown.add_column("row")
    for metric in table.metrics.values():
        shown.add_column(f"{metric}: ours")
        shown.add_column("paper")
    for column in ("epochs", "seconds", "parameters", "multiply-adds", "GFLOP", "frames/s"):
        shown.add_column(column, justify="right")
    for result in results:
        cells = [named(result.row)]
        for name in table.metrics:
            printed = result.row.paper.get(name)
            cells += [_with_spread(result.values[name]), "-" if printed is None else f"{printed:.4f}"]
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
    """Write a line per row: mean, standard deviation and number of seeds of each metric, and the paper's figure."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        of_metrics = [f"{name} {what}" for name in table.metrics for what in ("mean", "sd", "seeds", "paper")]
        writer.writerow(["row", *of_metrics, "epochs", "seconds", "parameters", "multiply_adds", "frames_per_second"])
        for result in results:
            cells: list[object] = [named(result.row)]
            for name in table.metrics:
                found = result.values[name]
                mean = f"{statistics.mean(found):.6f}" if found else ""
                deviation = f"{statistics.stdev(found):.6f}" if len(found) > 1 else ""
                cells += [mean, deviation, len(found), result.row.paper.get(name, "")]
            cells += [result.epochs, f"{result.seconds:.1f}", result.parameters, result.multiply_adds]
            writer.writerow([*cells, f"{result.frames_per_second:.2f}"])


def save_picture(table: PaperTable, results: Sequence[Result], path: Path) -> None:
    """Draw a bar per row and metric with a dot per seed, and the paper's figure as a line."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - heavy, and for this alone

    figure = Figure(figsize=(5.2 * len(table.metrics) + 1.5, 0.55 * len(results) + 1.8), layout="constrained")
    axes = figure.subplots(1, len(table.metrics), sharey=True, squeeze=False)[0]
    labels = [named(result.row) for result in results]
    for ax, (name, told) in zip(axes, table.metrics.items(), strict=True):
        for place, result in enumerate(results):
            found = result.values[name]
            if found:
                ax.barh(place, statistics.mean(found), color="#7a9ec2", height=0.6)
                ax.plot(found, [place] * len(found), "o", color="#1f3b57", markersize=4)
            if name in result.row.paper:
                ax.plot([result.row.paper[name]] * 2, [place - 0.38, place + 0.38], color="#c0392b", linewidth=2.5)
        ax.set_yticks(range(len(labels)), labels)
        ax.set_title(told, fontsize=9)
        ax.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    figure.suptitle(f"{table.title}: bars and dots are ours, red lines the paper's", fontsize=10)
    figure.savefig(path, dpi=110)
