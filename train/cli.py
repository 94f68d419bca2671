"""`crack-train`: parse, call, print. What a command does stands in the module that it calls."""

# Imports stand inside the commands: a fault in the settings is told before lightning is loaded.
# ruff: noqa: PLC0415

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.console import faults_told
from agent.errors import ConfigError

if TYPE_CHECKING:
    from train.settings import Grouping

app = typer.Typer(
    name="crack-train",
    help="Trains crack networks and says how good they are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

plot = typer.Typer(help="Draw what a trained network has inside.", no_args_is_help=True)
app.add_typer(plot, name="plot")

JsonOut = Annotated[bool, typer.Option("--json", help="Print one object.")]

_faults_told = partial(
    faults_told,
    "crack-train",
    interrupted="stopped; what was finished is kept; fit goes on with --resume, table and ship by the same command",
)


def main() -> None:
    """Run the command line."""
    app()


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print version, shipped bundle and runtimes.")] = False,
) -> None:
    if version:
        from importlib import metadata

        from agent.about import about

        typer.echo(about())
        typer.echo(f"training: torch {metadata.version('torch')}, lightning {metadata.version('lightning')}")
        raise typer.Exit


@app.command()
def fit(
    config: Annotated[Path, typer.Argument(help="Settings, YAML; see configs/train.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value", metavar="[KEY=VALUE]...")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last whole epoch.")] = False,
) -> None:
    """Train a segmenter or a gate; print-config tells every setting.

    Memory is short? compute.checkpoint_gradients=true, compute.precision=bf16-mixed, a smaller optimiser.batch.
    """
    with _faults_told():
        from train import settings as train_settings

        chosen = train_settings.load(config, overrides or [])
        from train.fit import BEST
        from train.fit import fit as run
        from train.ranks import this_process

        result = run(chosen, resume=resume, progress=sys.stderr.isatty())
        if not this_process().first:
            return
        for message, times in result.skipped.items():
            typer.echo(f"skipped {times} times: {message}", err=True)
        if result.near_duplicates:
            first, second = result.near_duplicates[0]
            typer.echo(
                f"near-duplicates on both sides of the split: {len(result.near_duplicates)}, for example {first} ~ "
                f"{second}; what is judged by them is memory, so group them (data.sources.N.groups)",
                err=True,
            )
        score = "no score" if result.best_score is None else f"score {result.best_score:.4f}"
        typer.echo(f"{chosen.folder / BEST}  epoch {result.best_epoch} of {result.epochs}, {score}")


@app.command("print-config")
def print_config(
    config: Annotated[Path, typer.Argument(help="Settings, YAML; see configs/train.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value", metavar="[KEY=VALUE]...")] = None,
) -> None:
    """Print a run's settings as they are resolved, each with its meaning."""
    with _faults_told():
        from train import settings as train_settings

        typer.echo(train_settings.dump(train_settings.load(config, overrides or [])), nl=False)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A bundle's folder, a shipped one's name, or a checkpoint.")],
    images: Annotated[Path | None, typer.Option("--images", help="Folder of photos.")] = None,
    masks: Annotated[Path | None, typer.Option("--masks", help="Folder of their masks, of equal stems.")] = None,
    classes: Annotated[Path | None, typer.Option("--classes", help="Folder with crack/ and clean/.")] = None,
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", help="Write what was found, drawn on the photos, and precision-recall curves."),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="On the probability; the model's own if not given.")] = None,
    as_json: JsonOut = False,
) -> None:
    """Say how good a model is on photos with masks, or a gate on class folders."""
    with _faults_told():
        if (images is None) == (classes is None):
            raise ConfigError("evaluate: give either --images DIR (with --masks DIR) or --classes DIR")
        from train.judge import judge_classes, judge_pairs, open_model

        judged = open_model(model)
        if images is not None:
            found = judge_pairs(judged, images, masks, threshold=threshold, pictures=pictures)
        else:
            found = judge_classes(judged, classes or Path(), threshold=threshold)
        if as_json:
            typer.echo(found.model_dump_json(indent=2))
            return
        from rich.console import Console

        from train.evaluate import render

        # a pipe says nothing of its width, and the definitions need room
        Console(width=None if sys.stdout.isatty() else 150).print(render(found))


@app.command()
def table(
    paper: Annotated[str, typer.Argument(help="A folder of configs/train/papers, or a path to one like it.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="section.key=value for every row, such as optimiser.epochs=20", metavar="[KEY=VALUE]..."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small networks and few steps: the order of rows in kind.")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Runs of each row.")] = 1,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the data sets, or the one set of the rows.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the runs go; runs/tables/PAPER if not given.")
    ] = None,
    rows: Annotated[
        list[str] | None, typer.Option("--rows", help="Rows whose label holds this; may be given again. Else all.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="Stop after so many; the same command goes on.")
    ] = None,
) -> None:
    """Train the rows of a paper's table and print ours beside the paper's; what is trained already is kept."""
    with _faults_told():
        from rich.console import Console

        from train import tables, tables_shown

        folder = Path(paper) if Path(paper).is_dir() else Path("configs/train/papers") / paper
        place = out or Path("runs/tables") / folder.name

        def told(line: str) -> None:
            typer.echo(line, err=True)

        until = None if minutes is None else time.monotonic() + 60 * minutes
        found, results = tables.run_table(
            folder,
            place,
            quick=quick,
            seeds=seeds,
            data=data,
            overrides=overrides or (),
            only=rows or (),
            until=until,
            told=told,
        )
        wanted = len(tables.chosen_rows(found, quick=quick, only=rows or ()))
        if not results:
            told(f"time is over before the first of {wanted} rows was done; the same command goes on")
            raise KeyboardInterrupt
        stem = place / ("quick" if quick else "whole")
        tables_shown.save_csv(found, results, stem.with_suffix(".csv"))
        tables_shown.save_picture(found, results, stem.with_suffix(".png"))
        Console(width=None if sys.stdout.isatty() else 200).print(tables_shown.drawn(found, results))
        typer.echo(f"{stem}.csv  {stem}.png")
        if len(results) < wanted:
            told(f"time is over: {len(results)} of {wanted} rows; the same command goes on")
            raise KeyboardInterrupt


Run = Annotated[Path, typer.Argument(help="A run's folder, or a checkpoint.")]
PlotsOut = Annotated[Path | None, typer.Option("--out", help="Folder of the pictures; RUN/plots if not given.")]


@plot.command("features")
def plot_features(
    run: Run,
    out: PlotsOut = None,
    patches: Annotated[int, typer.Option(min=4, max=20000, help="At most so many of the held-back patches.")] = 1000,
) -> None:
    """Lay out a gate's features by t-SNE, coloured by class and by kappa, the attack's steps that each stands."""
    with _faults_told():
        from train import plots

        net, settings = plots.open_run(run)
        cloud = plots.feature_cloud(net, settings, limit=patches)
        if cloud.skipped:
            typer.echo(f"skipped {len(cloud.skipped)}: {cloud.skipped[0]}", err=True)
        written = plots.plot_features(cloud, plots.folder_of(run, out), title=settings.name)
        typer.echo("  ".join(map(str, written)))


@plot.command("maps")
def plot_maps(
    run: Run,
    out: PlotsOut = None,
    image: Annotated[Path | None, typer.Option("--image", help="A photo; the first held back with a crack.")] = None,
) -> None:
    """Draw what each module of a Spiral-Net passes on for one photo."""
    with _faults_told():
        from train import plots

        net, settings = plots.open_run(run)
        picture = plots.held_back_picture(settings) if image is None else plots.given_picture(image)
        typer.echo(plots.plot_maps(net, picture, plots.folder_of(run, out), title=settings.name))


@app.command()
def ship(
    plan: Annotated[Path, typer.Argument(help="Plan, YAML; see configs/train/ship.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.key=value for every run", metavar="[KEY=VALUE]...")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="A bundle of the plan; else all of them.")] = None,
    until: Annotated[str, typer.Option("--until", help="runs, figures or export: how far to go.")] = "export",
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="Stop after so many; the same command goes on.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option("--parallel", min=1, help="Runs side by side; else the plan's.")
    ] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="List the runs and their steps.")] = False,
) -> None:
    """Train, judge and export the bundles that ship; what is done already is kept."""
    with _faults_told():
        from train.ship import ship as shipping

        if until not in {"runs", "figures", "export"}:
            raise ConfigError(f"--until {until}: must be runs, figures or export")
        if dry:
            planned = shipping.steps_planned(plan, only or (), overrides or ())
            for name, steps, crops in planned:
                typer.echo(f"{name}  {steps} steps of {crops} crops")
            typer.echo(f"{len(planned)} runs, {sum(n * c for _, n, c in planned):,} crops in all")
            return
        made = shipping.ship(
            plan,
            only=only or (),
            overrides=overrides or (),
            until=until,  # type: ignore[arg-type]  # checked above
            minutes=minutes,
            parallel=parallel,
            told=lambda line: typer.echo(line, err=True),
        )
        typer.echo("\n".join(map(str, made)))


@app.command("check-data")
def check_data(
    folder: Annotated[Path, typer.Argument(help="With images/ and masks/, or with crack/ and clean/.")],
    groups: Annotated[str, typer.Option(help="Groups of a split: file, runs[:GAP] or blocks[:SIZE].")] = "file",
    as_json: JsonOut = False,
) -> None:
    """Look for missing and unfit masks, near-duplicates, and groups that leak."""
    with _faults_told():
        from train.data.check import check_folder

        found = check_folder(folder, _grouping(groups))
        if as_json:
            typer.echo(found.model_dump_json(indent=2))
        else:
            share = "" if found.crack_share is None else f", {found.crack_share:.2%} crack pixels"
            empty = "" if found.without_crack is None else f", {found.without_crack} without a crack"
            typer.echo(f"{found.folder}: {found.pictures} pictures in {found.groups} groups{share}{empty}")
            typer.echo("sizes: " + ", ".join(f"{size} ({n})" for size, n in sorted(found.sizes.items())))
            typer.echo(
                f"near-duplicates: {len(found.near_duplicates)}, of them parted by the groups: {len(found.leaks)}"
            )
            for first, second in found.leaks or found.near_duplicates:
                typer.echo(f"  {first} ~ {second}")
            for fault in found.faults:
                typer.echo(f"  {fault.file}: {fault.fault}")
        if found.faults:
            worst = found.faults[0]
            raise ConfigError(f"{worst.file}: {worst.fault}; {len(found.faults)} to fix in all")


def _grouping(text: str) -> Grouping:
    from pydantic import ValidationError

    from train.settings import Grouping

    rule, _, number = text.partition(":")
    fields: dict[str, object] = {"rule": rule}
    if number:
        fields["gap" if rule == "runs" else "size"] = number
    try:
        return Grouping.model_validate(fields)
    except ValidationError as exc:
        raise ConfigError(f"--groups {text}: must be file, runs, runs:GAP, blocks or blocks:SIZE") from exc
