"""`crack-export`: parse, call, print. `verify` runs on a device, where there is no torch."""

# Imports stand inside the commands: `verify` must not load torch.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from agent.console import faults_told

app = typer.Typer(
    name="crack-export",
    help="Turns checkpoints into sealed model bundles, and checks them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

JsonOut = Annotated[bool, typer.Option("--json", help="Print one object.")]

_faults_told = partial(faults_told, "crack-export", interrupted="stopped; nothing was written")


def main() -> None:
    """Run the command line."""
    app()


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print version, shipped bundle and runtimes.")] = False,
) -> None:
    if version:
        from agent.about import about

        typer.echo(about())
        raise typer.Exit


@app.command()
def bundle(
    checkpoints: Annotated[list[Path], typer.Argument(help="Of a segmenter, and of a gate if there is to be one.")],
    out: Annotated[Path, typer.Option("--out", help="Becomes the bundle.")],
    config: Annotated[Path | None, typer.Option("--config", help="Settings, YAML; see configs/export.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The bundle's name; else the settings'.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what --out holds.")] = False,
) -> None:
    """Write a bundle: ONNX graphs, golden tiles, model card, manifest."""
    with _faults_told():
        from export.settings import load, named

        settings = named(load(config), name)
        from export.bundle import write_bundle

        manifest = write_bundle(checkpoints, out, settings, overwrite=overwrite)
        nets = "segmenter and gate" if manifest.gate else "segmenter"
        typer.echo(f"{out}  {manifest.name}: {nets}, {len(manifest.golden)} golden tiles")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")],
    as_json: JsonOut = False,
) -> None:
    """Check hashes and schema, and that ONNX Runtime answers the golden tiles as torch did."""
    with _faults_told():
        from export.verify import verify as check

        found = check(folder)
        typer.echo(json.dumps(found.as_json(), indent=2) if as_json else found.as_text())
