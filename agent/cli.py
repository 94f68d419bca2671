"""`crack-agent`: parse, call, print. What a command does stands in `agent.app` and `agent.tools`."""

# Imports stand inside the commands: `--help` must answer at once, and most of a second goes into loading the runtimes.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

# One thread: parallelism comes from workers, and OpenBLAS's own cost more than the small products here take.
# It counts only if it is set before numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Pydantic looks for plugins in every installed package before it makes its first model, and we use none.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from agent.console import INTERRUPTED, faults_told
from agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.settings import Settings

app = typer.Typer(
    name="crack-agent",
    help="Finds cracks in photos, videos and camera streams, measures and reports them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[Path | None, typer.Option("--config", help="Settings, YAML; see print-config.")]
BundleOption = Annotated[str | None, typer.Option("--bundle", help="A bundle's folder or a shipped one's name.")]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime", help="What the networks run on: onnxruntime, onnxruntime-cuda, openvino, tensorrt, auto."
    ),
]
VariantOption = Annotated[str | None, typer.Option("--variant", help="Of the networks: fp32, fp16 or int8.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run that the folder holds.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Open no page; end by itself.")]
JsonOut = Annotated[bool, typer.Option("--json", help="Print one summary object.")]

_faults_told = partial(faults_told, "crack-agent", interrupted="interrupted; what was written so far is kept")


def main() -> None:
    """Run the command line; SIGTERM ends it as Ctrl-C does, with what was done so far kept."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print version, shipped bundle and runtimes.")] = False,
) -> None:
    if version:
        from agent.about import about

        typer.echo(about())
        raise typer.Exit


@app.command()
def replay(
    sources: Annotated[list[Path], typer.Argument(help="Photos, folders of photos, videos or flight records.")],
    out: Annotated[Path, typer.Option("--out", help="Becomes a flight record with reports.")],
    bundle: BundleOption = None,
    config: Config = None,
    mm_per_px: Annotated[float | None, typer.Option(help="Size of a pixel on the surface, mm.")] = None,
    telemetry: Annotated[
        Path | None, typer.Option("--telemetry", help="DJI .srt, .csv, .jsonl, MAVLink .tlog or .bin: place and scale.")
    ] = None,
    camera: Annotated[str | None, typer.Option("--camera", help="Whose scale and lens of the settings to use.")] = None,
    runtime: RuntimeOption = None,
    save_probabilities: Annotated[bool, typer.Option("--save-probabilities", help="16-bit maps.")] = False,
    video: Annotated[bool, typer.Option("--video", help="Also write an overlay video.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Also deliver over MQTT.")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Also read nested folders.")] = False,
    overwrite: Overwrite = False,
    as_json: JsonOut = False,
) -> None:
    """Find the cracks in recorded pictures and report them."""
    with _faults_told():
        from agent import app as agent_app
        from agent.mission import ReplayOptions

        overrides = {"bundle": bundle, "runtime.name": runtime}
        options = ReplayOptions(
            sources=tuple(sources),
            out=out,
            mm_per_px=mm_per_px,
            telemetry=telemetry,
            camera=camera,
            save_probabilities=save_probabilities,
            video=video,
            publish=publish,
            recursive=recursive,
            overwrite=overwrite,
        )
        summary = agent_app.replay(options, _settings(config, overrides), show_progress=sys.stderr.isatty())
        typer.echo(json.dumps(summary.as_json()) if as_json else summary.as_text())
        if not summary.delivered:
            raise typer.Exit(1)


@app.command()
def run(
    config: Annotated[Path, typer.Option("--config", help="The device's settings, YAML.")],
    service: Annotated[
        bool,
        typer.Option("--service", help="Stay up whatever happens: safe mode, reload by SIGHUP, systemd's watchdog."),
    ] = False,
) -> None:
    """Watch the cameras of the settings until they end; as a service, until it is told to stop."""
    with _faults_told():
        if service:
            from agent.serving import serve

            return serve(config, os.environ)
        from agent import app as agent_app

        summary = agent_app.run(_settings(config, {}))
        typer.echo(summary.as_text())
        if not summary.delivered:
            raise typer.Exit(1)
    return None


@app.command()
def demo(
    flight: Annotated[str, typer.Option(help="tunnel or facade.")] = "tunnel",
    out: Annotated[Path, typer.Option("--out", help="Where the flight and its report go.")] = Path("demo"),
    seconds: Annotated[float, typer.Option(min=0.2, max=3600, help="Length of the flight.")] = 10,
    no_browser: NoBrowser = False,
    overwrite: Overwrite = False,
) -> None:
    """Render a tunnel or a facade, run the agent on it, show it live on the page; Ctrl-C ends it."""
    with _faults_told():
        from agent import app as agent_app

        terminal = sys.stdout.isatty()
        stay = terminal and not no_browser
        agent_app.demo(
            flight,
            out,
            seconds=seconds,
            overwrite=overwrite,
            settings=_settings(None, {}),
            show_progress=terminal,
            on_page=partial(_show, launch=stay),
            on_end=lambda summary, recall: typer.echo(f"{summary.as_text()}\n{recall.as_text()}"),
            stay=stay,
        )


@app.command()
def view(
    record: Annotated[Path, typer.Argument(help="A flight record, finished or still being written.")],
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Answer at another address; others then need the token.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: whichever is free.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only say where the page is.")] = False,
) -> None:
    """Open the page on a flight record, until Ctrl-C."""
    with _faults_told():
        from agent import app as agent_app

        given = {"dashboard.host": host, "dashboard.port": 0 if port is None and config is None else port}
        overrides = {name: value for name, value in given.items() if value is not None}
        shown = partial(_show, launch=sys.stdout.isatty() and not no_browser)
        try:
            agent_app.view(record, _settings(config, overrides), on_page=shown)
        except KeyboardInterrupt:
            typer.echo("closed")


@app.command()
def simulate(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Becomes a flight record with truth, telemetry.csv and device.yaml beside it."),
    ] = None,
    scene: Annotated[Path | None, typer.Option("--scene", help="Settings, YAML; see --print-scene.")] = None,
    flight: Annotated[str | None, typer.Option(help="tunnel or facade.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.2, max=3600, help="Length of the flight.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed is another wall.")] = None,
    print_scene: Annotated[bool, typer.Option("--print-scene", help="Print the settings, render nothing.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Render a tunnel or a facade with known cracks."""
    with _faults_told():
        from agent import tools

        options = {"kind": flight, "seconds": seconds, "seed": seed}
        changes = {name: value for name, value in options.items() if value is not None}
        if print_scene:
            from agent import strict_yaml

            settings = tools.scene_settings(scene, changes)
            typer.echo(strict_yaml.explained(settings, settings.model_dump(mode="json")), nl=False)
            return
        if out is None:
            raise ConfigError("simulate: give --out DIR, or --print-scene")
        frames = tools.simulate(scene, changes, out, overwrite=overwrite, show_progress=sys.stderr.isatty())
        typer.echo(f"{frames} frames and their truth in {out}")
        typer.echo(f"crack-agent replay {out} --telemetry {out}/telemetry.csv --config {out}/device.yaml --out RESULT")


@app.command()
def report(
    record: Annotated[Path, typer.Argument(help="A flight record.")],
    out: Annotated[Path, typer.Option("--out", help="Where the reports go.")],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="html, pdf, geojson, gpkg, csv, overlays, coco (with pictures, for training), dxf (the extra dxf), "
            "video, all; several with commas. By default html, geojson, gpkg, csv, overlays.",
        ),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also print report.pdf, by Chromium.")] = False,
    position: Annotated[
        str, typer.Option("--position", help="keep, or none: no position in anything written, pictures included.")
    ] = "keep",
    overwrite: Overwrite = False,
) -> None:
    """Write the reports of a flight record again, to read or to hand on."""
    with _faults_told():
        from agent import tools

        made = tools.report(record, out, overwrite=overwrite, formats=formats or (), pdf=pdf, position=position)
        for line in made.told:
            typer.echo(line)
        typer.echo(made.page)


@app.command()
def selftest(
    bundle: BundleOption = None,
    config: Config = None,
    runtime: RuntimeOption = None,
    variant: VariantOption = None,
    as_json: JsonOut = False,
) -> None:
    """Check the bundle's golden tiles on this device's runtime."""
    with _faults_told():
        from agent.selftest import selftest as answer_golden_tiles

        overrides = {"bundle": bundle, "runtime.name": runtime, "runtime.variant": variant}
        result = answer_golden_tiles(_settings(config, overrides))
        typer.echo(json.dumps(result.as_json()) if as_json else result.as_text())
        if not result.passed:
            raise typer.Exit(1)


@app.command()
def bench(
    bundle: BundleOption = None,
    config: Config = None,
    runtime: RuntimeOption = None,
    variant: VariantOption = None,
    repetitions: Annotated[int, typer.Option(min=1, max=10_000, help="Of each call; the median counts.")] = 20,
    as_json: JsonOut = False,
) -> None:
    """Measure this device: milliseconds per tile of gate and segmenter, and per stage of a rendered frame."""
    with _faults_told():
        from agent.bench import bench as measure

        overrides = {"bundle": bundle, "runtime.name": runtime, "runtime.variant": variant}
        figures = measure(_settings(config, overrides), repetitions=repetitions)
        typer.echo(json.dumps(figures.as_json()) if as_json else figures.as_text())


@app.command()
def check(
    config: Annotated[Path, typer.Option("--config", help="The device's settings, YAML.")],
    as_json: JsonOut = False,
) -> None:
    """Say whether this device could start, and if not, what to fix."""
    with _faults_told():
        from agent.health.checks import examine

        found = examine(config, os.environ)
        typer.echo(json.dumps(found.as_json()) if as_json else found.as_text())
        raise typer.Exit(found.exit_code)


@app.command()
def calibrate(
    pictures: Annotated[Path, typer.Argument(help="A folder of pictures of a checkerboard, from several sides.")],
    out: Annotated[Path, typer.Option("--out", help="OpenCV's file, for place.calibration: .yaml, .xml or .json.")],
    board: Annotated[str, typer.Option(help="Inner corners, columns x rows: one less than squares.")] = "9x6",
    square_mm: Annotated[float, typer.Option(min=0.001, help="Edge of a square.")] = 25.0,
    overwrite: Overwrite = False,
) -> None:
    """Find a camera's lens from pictures of a checkerboard."""
    with _faults_told():
        from agent import tools

        typer.echo(tools.calibrate_lens(pictures, out, board=board, square_mm=square_mm, overwrite=overwrite).as_text())


@app.command()
def cameras() -> None:
    """List the camera table: whose pixel pitch and focal length are known."""
    with _faults_told():
        from agent.place.lens import camera_table

        for one in camera_table():
            focal = "lens as EXIF or settings say" if one.focal_mm is None else f"{one.focal_mm:g} mm"
            checked = "checked" if one.checked else "not checked against its source"
            typer.echo(
                f"{', '.join(one.names)}: {one.pixel_pitch_um:g} um, {one.width_px} px wide, {focal}, "
                f"{one.shutter} shutter; {one.source}; {checked}"
            )


@app.command("clock-offset")
def clock_offset(
    video: Annotated[Path, typer.Argument(help="A video, or a flight record.")],
    telemetry: Annotated[Path, typer.Option("--telemetry", help="Its telemetry, on another clock.")],
    config: Config = None,
) -> None:
    """Estimate telemetry's clock minus the video's from when both move."""
    with _faults_told():
        from agent import tools

        found = tools.clock_offset(video, telemetry, _settings(config, {}))
        typer.echo(found.as_text())
        if not found.believable:
            raise typer.Exit(1)


@app.command()
def schema(
    topic: Annotated[str | None, typer.Argument(help="connection, info, state, mission, crack, gap, ...")] = None,
    asyncapi: Annotated[bool, typer.Option("--asyncapi", help="Print the AsyncAPI file of all topics.")] = False,
) -> None:
    """Print the JSON Schema of a topic's payload, or of all."""
    with _faults_told():
        from agent.contract.reports import REPORTS
        from agent.contract.schema_files import schema as schema_of

        if asyncapi:
            from agent.deliver.asyncapi import FILE

            typer.echo(FILE.read_text(encoding="utf-8"), nl=False)
            return
        schemas = {name: schema_of(name) for name in REPORTS}
        if topic is not None and topic not in schemas:
            raise ConfigError(f"{topic!r} is no topic with a schema; there are {', '.join(schemas)}")
        typer.echo(json.dumps(schemas if topic is None else schemas[topic], indent=2))


@app.command()
def standards() -> None:
    """List the standards that cracks can be graded by: values, clauses, and whether they were checked."""
    with _faults_told():
        from agent.severity.standard import listing

        typer.echo(listing(), nl=False)


@app.command("print-config")
def print_config(config: Config = None) -> None:
    """Print the settings as they are resolved, each with its meaning."""
    with _faults_told():
        from agent import settings

        typer.echo(settings.dump(_settings(config, {})), nl=False)


def _show(link: str, *, launch: bool) -> None:
    typer.echo(f"the page: {link}  (Ctrl-C ends it)" if launch else f"the page: {link}")
    sys.stdout.flush()
    if launch:
        typer.launch(link)


def _settings(config: Path | None, overrides: Mapping[str, object]) -> Settings:
    from agent import settings

    given = {name: value for name, value in overrides.items() if value is not None}
    return settings.load(config, environment=os.environ, overrides=given)
