"""What the commands beside a run do: render a flight, write its reports again, find a lens, lay clocks together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from agent import progress
from agent.capture import open_sources
from agent.capture.photos import find_photos
from agent.capture.telemetry import open_telemetry
from agent.capture.telemetry.clock import ClockOffset, estimate_offset
from agent.errors import ConfigError, InputError, OutputError
from agent.place.calibrate import Calibration, calibrate, write_calibration
from agent.report import HandedOn, report_again
from agent.report.formats import parse_formats
from agent.settings import Settings
from agent.simulate.inspection.flight import render_inspection
from agent.simulate.inspection.settings import InspectionSettings
from agent.simulate.inspection.settings import load as load_inspection
from agent.simulate.write import write_flight


def simulate(
    scene: Path | None, changes: Mapping[str, object], out: Path, *, overwrite: bool, show_progress: bool
) -> int:
    """Render an inspection with known cracks into `out`, and return how many frames it has.

    Args:
        scene: its settings, YAML; None takes the defaults.
        changes: what the command line says instead, by setting.
        out: becomes a flight record with truth, telemetry and the device's settings beside it.
        overwrite: replace the run that is there.
        show_progress: on stderr.

    Raises:
        ConfigError: the settings do not fit.
        OutputError: `out` cannot be used.
    """
    settings = scene_settings(scene, changes)
    with progress.bar("rendering", settings.frames, shown=show_progress) as advance:
        return write_flight(render_inspection(settings), out, overwrite=overwrite, progress=lambda _: advance())


def scene_settings(scene: Path | None, changes: Mapping[str, object]) -> InspectionSettings:
    """Return the settings of a rendered inspection: a file's, or the defaults, with some changed.

    Raises:
        ConfigError: they do not fit.
    """
    given = {} if scene is None else load_inspection(scene).model_dump()
    return _inspection({**given, **changes})


def report(
    record: Path, out: Path, *, overwrite: bool, formats: Sequence[str] = (), pdf: bool = False, position: str = "keep"
) -> HandedOn:
    """Write the reports of a flight record again, in the formats asked for.

    Raises:
        CrackscoutError: see its kinds.
    """
    wanted, positions = parse_formats(formats, pdf=pdf, positions=position)
    return report_again(record, out, overwrite=overwrite, formats=wanted, positions=positions)


def calibrate_lens(pictures: Path, out: Path, *, board: str, square_mm: float, overwrite: bool) -> Calibration:
    """Find a lens from a folder of pictures of a checkerboard, and write it to `out`.

    Raises:
        ConfigError: `board` is not columns x rows.
        InputError: no pictures, or too few with the board.
        OutputError: `out` is there already, or cannot be written.
    """
    columns, _, rows = board.lower().partition("x")
    if not (columns.isdecimal() and rows.isdecimal() and min(int(columns), int(rows)) >= 3):
        raise ConfigError(f"--board {board}: give the inner corners as columns x rows, 3 at least, for instance 9x6")
    if out.exists() and not overwrite:
        raise OutputError(f"{out}: exists; choose another --out, or replace it with --overwrite")
    if not pictures.is_dir():
        raise InputError(f"{pictures}: no folder of pictures")
    photos, _ = find_photos(pictures, recursive=False)
    found = calibrate(photos, columns=int(columns), rows=int(rows), square_mm=square_mm)
    write_calibration(found, out)
    return found


def clock_offset(video: Path, telemetry: Path, settings: Settings) -> ClockOffset:
    """Estimate telemetry's clock minus a video's.

    Raises:
        InputError: either cannot be read, or does not move.
    """
    (source,) = open_sources([video], camera="camera")
    return estimate_offset(source.frames(0), open_telemetry(telemetry, settings.place))


def _inspection(values: Mapping[str, object]) -> InspectionSettings:
    try:
        return InspectionSettings.model_validate(values)
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors())
        raise ConfigError(f"the flight cannot be rendered: {faults}") from exc
