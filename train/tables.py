"""A paper's table, repeated: its rows are trained, scored with its own metric, and printed beside what it prints.

A table is a folder of `configs/train/papers`: one settings file per row, and `table.yaml`, which names the rows, the
metric and the paper's figures. A row is trained once per seed into a folder of its own; a row that is there already is
not trained again, so rows that name one file and differ in what they are judged by share a run. Figures are those of
the last weights on the pictures that were held back, or on all of another set: nothing is chosen by them. A row may
also be quoted: the paper's figures alone. How a table looks: `train.tables_shown`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import Field, PositiveInt, model_validator
from typing_extensions import Self

from agent import strict_yaml
from agent.contract.strict import Strict
from agent.errors import ConfigError
from train.checkpoint import load_checkpoint
from train.data.sources import open_source
from train.fit import LAST, RUN_NAME, TimeOverError, fit
from train.held_back import judge_held_back, multiply_adds
from train.settings import PairSource, PoolSource, Settings, load

TABLE_FILE: Final = "table.yaml"
GAP: Final = "gap "  # before a metric's name: what a row has more of it than the row that it is held against


class Row(Strict):
    """One row of a paper's table."""

    label: str
    config: str | None = Field(default=None, description="A settings file beside table.yaml; none in a quoted row.")
    quoted: str | None = Field(default=None, description="Why nothing is trained: the paper's figures stand alone.")
    epochs: PositiveInt | None = Field(default=None, description="Where rows differ in it alone; None is the file's.")
    paper: dict[str, float] = Field(description="What the paper prints, by our metric's name, as a share of 1.")
    quick: bool = Field(default=True, description="Whether --quick trains it.")
    quick_settings: tuple[str, ...] = Field(default=(), description="What --quick changes in this row beside the rest.")
    reconstruction: bool = Field(
        default=False, description="Whether its network was built from less than its paper's own description."
    )
    judged_on: str | None = Field(default=None, description="One of `sets`, in place of what the run held back.")
    against: str | None = Field(default=None, description="The label of the row that gaps are held against.")

    @model_validator(mode="after")
    def _trained_or_quoted(self) -> Self:
        if (self.config is None) == (self.quoted is None):
            raise ValueError(f"{self.label}: give either config, or quoted with the reason why nothing is trained")
        extras = ("epochs", "quick_settings", "reconstruction", "judged_on", "against")
        given = [name for name in extras if self.quoted is not None and getattr(self, name)]
        if given:
            raise ValueError(f"{self.label}: a quoted row has no {', '.join(given)}")
        return self


class PaperTable(Strict):
    """`table.yaml`."""

    title: str
    source: str = Field(description="Paper and number of the table.")
    note: str = Field(description="What keeps our figures from being the paper's.")
    metrics: dict[str, str] = Field(min_length=1, description="Our metric's name -> the paper's, with its definition.")
    quick: tuple[str, ...] = Field(description="Settings that --quick changes in every row: section.key=value.")
    quick_epochs: PositiveInt | None = Field(default=None, description="Of every row under --quick.")
    stretched: bool = Field(
        default=False, description="Whether each map is stretched to [0, 1] before it is judged: the DeepLab paper's."
    )
    sets: dict[str, PairSource] = Field(default_factory=dict, description="Whole sets that rows are judged on.")
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rows_name_what_is_there(self) -> Self:
        labels = [row.label for row in self.rows]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"two rows are called {', '.join(twice)}; give each a label of its own")
        for row in self.rows:
            if row.judged_on is not None and row.judged_on not in self.sets:
                raise ValueError(f"{row.label}: judged_on {row.judged_on} is none of sets, {', '.join(self.sets)}")
            if row.against is not None and row.against not in labels:
                raise ValueError(f"{row.label}: against {row.against!r} is no row's label")
        return self


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
    table = strict_yaml.load(path, PaperTable)
    named = [row.config for row in table.rows if row.config is not None]
    faults = [f"{config}: not beside it" for config in named if not (folder / config).is_file()]
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
        The table, of the rows that were asked for and with a note that says what `overrides` changed; and the rows that
        are trained and judged: all that are not quoted, unless time was over.

    Raises:
        CrackscoutError: see `train.fit.fit`.
        KeyboardInterrupt: stopped by a signal.
    """
    table = read_table(folder)
    if overrides:
        table = table.model_copy(update={"note": f"{table.note} Changed here: {', '.join(overrides)}."})
    chosen = chosen_rows(table, quick=quick, only=only)
    table = table.model_copy(update={"rows": tuple(r for r in table.rows if r in chosen or _quotes(r, only))})
    for row in chosen:  # what is missing is told before anything is trained
        if row.judged_on is not None:
            settings = _settings(folder, table, row, out, quick=quick, seed=0, data=data, overrides=overrides)
            open_source(table.sets[row.judged_on], settings)
    results: list[Result] = []
    for row in chosen:
        runs = []
        for seed in range(seeds):
            settings = _settings(folder, table, row, out, quick=quick, seed=seed, data=data, overrides=overrides)
            told(f"{row.label}, seed {seed}: {settings.optimiser.epochs} epochs into {settings.folder}")
            try:
                runs.append((settings, _trained(settings, until)))
            except TimeOverError:
                return table, _with_gaps(results)
        results.append(_judged(row, table, runs))
    return table, _with_gaps(results)


def chosen_rows(table: PaperTable, *, quick: bool, only: Sequence[str]) -> list[Row]:
    """Return the rows that are to be trained.

    Raises:
        ConfigError: none is called so, or none of them is trained, or none under --quick.
    """
    for part in only:
        if not any(part in row.label for row in table.rows):
            raise ConfigError(f"--rows {part!r}: no row's label holds it; there are {_listed(table.rows)}")
    trained = [row for row in table.rows if row.quoted is None]
    named = [row for row in trained if _called(row, only)]
    if not named:
        raise ConfigError(f"--rows: what they name is only quoted from the paper; trained are {_listed(trained)}")
    rows = [row for row in named if row.quick or not quick]
    if not rows:
        small = [row for row in trained if row.quick]
        raise ConfigError(f"--rows: none of them is for --quick; those are {_listed(small)}")
    return rows


def _called(row: Row, only: Sequence[str]) -> bool:
    return not only or any(part in row.label for part in only)


def _quotes(row: Row, only: Sequence[str]) -> bool:
    return row.quoted is not None and _called(row, only)


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
    if row.config is None:
        raise AssertionError(row.label)  # quoted rows are not trained
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
        by = settings if row.judged_on is None else _on_another_set(settings, table.sets[row.judged_on])
        judged = judge_held_back(net, by, stretched=table.stretched)
        for name, found in values.items():
            wanted = name.removeprefix(GAP)
            if wanted not in judged.figures:
                raise ConfigError(f"metrics: {wanted!r} is none; there are {', '.join(judged.figures)}")
            value = judged.figures[wanted]
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


def _on_another_set(settings: Settings, other: PairSource) -> Settings:
    """Return a run's settings with all of another set held back, and nothing else."""
    own = [source.model_copy(update={"validation": 0.0}) for source in settings.data.sources]
    sources = (*own, other.model_copy(update={"validation": 1.0}))
    return settings.model_copy(
        update={"data": settings.data.model_copy(update={"sources": sources, "folds": None, "fold": None})}
    )


def _with_gaps(results: Sequence[Result]) -> list[Result]:
    """Return the rows with what each gap is: seed by seed, less the row held against; none without such a row."""
    of = {result.row.label: result.values for result in results}
    finished = []
    for result in results:
        other = of.get(result.row.against or "", {})
        values = {
            name: _less(found, other.get(name, [])) if name.startswith(GAP) else found
            for name, found in result.values.items()
        }
        finished.append(replace(result, values=values))
    return finished


def _less(values: Sequence[float], others: Sequence[float]) -> list[float]:
    if len(values) != len(others):  # a seed without the figure: whose is not known
        return []
    return [value - other for value, other in zip(values, others, strict=True)]
