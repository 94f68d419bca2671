"""`crack-export`: parse, call, print. `verify` and `engine` run on a device, where there is no torch."""

# Imports stand inside the commands: `verify` and `engine` must not load torch.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.console import faults_told

if TYPE_CHECKING:
    from export.seal import Sealed

app = typer.Typer(
    name="crack-export",
    help="Turns checkpoints into sealed model bundles, and checks them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Calibrate = Annotated[
    list[Path] | None,
    typer.Option("--calibrate", help="Folder of pictures that INT8 takes its ranges from; else the settings' sets."),
]
Validate = Annotated[
    list[Path] | None,
    typer.Option("--validate", help="Folder with images/ and masks/ to judge variants on; else the settings' sets."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what --out holds.")]
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
    calibrate: Calibrate = None,
    validate: Validate = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a bundle: ONNX graphs with their variants, golden tiles, certificate, model card, manifest."""
    with _faults_told():
        from export.settings import load, named

        settings = named(load(config), name)
        from export.bundle import write_bundle
        from export.seal import Pictures

        pictures = Pictures(calibrate=calibrate or (), validate=validate or ())
        sealed = write_bundle(
            checkpoints, out, settings, pictures=pictures, overwrite=overwrite, show_progress=sys.stderr.isatty()
        )
        _tell(out, sealed)


@app.command()
def certify(
    folder: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")],
    out: Annotated[Path, typer.Option("--out", help="Becomes the bundle with its variants and certificate.")],
    config: Annotated[Path | None, typer.Option("--config", help="Settings, YAML; see configs/export.")] = None,
    calibrate: Calibrate = None,
    validate: Validate = None,
    overwrite: Overwrite = False,
) -> None:
    """Make variants and certificate of a bundle anew from its fp32 graphs; no checkpoint is needed."""
    with _faults_told():
        from export.seal import Pictures, certify_bundle
        from export.settings import load

        pictures = Pictures(calibrate=calibrate or (), validate=validate or ())
        sealed = certify_bundle(
            folder,
            out,
            load(config),
            pictures=pictures,
            overwrite=overwrite,
            show_progress=sys.stderr.isatty(),
        )
        _tell(out, sealed)


@app.command()
def engine(
    folder: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder, or a shipped one's name.")],
    cache: Annotated[Path, typer.Option("--cache", help="Where engines are kept: the device's runtime.engine.cache.")],
    precision: Annotated[str, typer.Option("--precision", help="fp32, fp16 or int8: which variant.")] = "fp32",
    workspace_mib: Annotated[int, typer.Option(min=16, max=65536, help="Most scratch memory of a tactic, MiB.")] = 1024,
    optimization_level: Annotated[int, typer.Option(min=0, max=5, help="0 builds fastest, 5 runs fastest.")] = 3,
    timeout: Annotated[float, typer.Option(min=10, help="A build that takes longer is ended, s.")] = 3600,
    as_json: JsonOut = False,
) -> None:
    """Build the TensorRT engines of a bundle on this device, before the agent needs them. Minutes each."""
    with faults_told("crack-export", interrupted="stopped; engines that were finished are kept"):
        from agent.infer.settings import EngineSettings
        from export.engine import build

        settings = EngineSettings(
            cache=cache, workspace_mib=workspace_mib, optimization_level=optimization_level, timeout_s=timeout
        )
        engines = build(str(folder), precision, settings, shown=sys.stderr.isatty())
        typer.echo(json.dumps(engines, indent=2) if as_json else "\n".join(one["engine"] for one in engines))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")],
    as_json: JsonOut = False,
) -> None:
    """Check hashes, schema and certificate, and each runtime here but TensorRT against torch's golden answers."""
    with _faults_told():
        from export.verify import verify as check

        found = check(folder)
        typer.echo(json.dumps(found.as_json(), indent=2) if as_json else found.as_text())


def _tell(out: Path, sealed: Sealed) -> None:
    manifest = sealed.manifest
    nets = "segmenter and gate" if manifest.gate else "segmenter"
    variants = ", ".join(manifest.segmenter.variants)
    typer.echo(f"{out}  {manifest.name}: {nets}, {variants}, {len(manifest.golden)} golden tiles")
    for variant, why in sealed.certificate.left_out.items():
        typer.echo(f"{variant} is left out: {why}", err=True)
