"""A rendered flight as a folder: a flight record as an agent would write it, and the truth beside it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

import cv2
import numpy as np
import yaml
from pydantic import Field

from agent.about import version
from agent.contract.flight import FlightHeader
from agent.contract.strict import Strict
from agent.errors import InputError
from agent.record import FlightRecorder, frame_row, jsonl
from agent.record.layout import write_atomically, writing
from agent.simulate.cracks import CrackBranch, CrackShape
from agent.simulate.flight import CAMERA_NAME, RenderedFlight, RenderedFrame
from agent.simulate.inspection import telemetry
from agent.simulate.inspection.flight import InspectionFlight

TRUTH_FOLDER: Final = "truth"
TRUTH_FILE: Final = "truth/cracks.json"
MASKS_FOLDER: Final = "truth/masks"
TELEMETRY_FILE: Final = "telemetry.csv"  # of an inspection: what its sensors say, with their noise
DEVICE_FILE: Final = "device.yaml"  # of an inspection: the settings by which an agent reads that

AnyFlight: TypeAlias = RenderedFlight | InspectionFlight


class TrueBranch(Strict):
    """One unbranched centre line on the surface."""

    line_mm: tuple[tuple[float, float], ...] = Field(description="x along the wall, y downwards, mm.")
    width_mm: tuple[float, ...] = Field(description="Full width at each point, mm.")
    chainage_m: tuple[float, ...] | None = Field(default=None, description="At each point, in a tunnel.")
    clock_deg: tuple[float, ...] | None = Field(default=None, description="Likewise: 0 crown, 90 right, [0, 360).")


class TrueCrack(Strict):
    """One crack of the wall."""

    id: int
    length_mm: float = Field(description="Along all branches.")
    width_p50_mm: float = Field(description="Median over the points of all branches.")
    width_p95_mm: float = Field(description="95th percentile over the points of all branches.")
    width_max_mm: float
    branches: tuple[TrueBranch, ...]


class Truth(Strict):
    """`truth/cracks.json`. The masks beside it are 255 where a pixel is at least half crack or on a centre line."""

    schema_: Literal["truth/1"] = Field(default="truth/1", alias="schema")
    cracks: tuple[TrueCrack, ...]


def write_flight(
    flight: AnyFlight,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Render the flight into a folder, a frame at a time, and return how many frames it has.

    Args:
        flight: the flight.
        out: becomes a flight record whose frames are all kept, with `truth/cracks.json` and `truth/masks/`.
        overwrite: replace the run that is there.
        progress: called with the number of frames written so far.

    Raises:
        OutputError: the folder cannot be written to, or holds a run or anything else.
    """
    with kept_flight(flight, out, overwrite=overwrite) as keep:
        for rendered in flight:
            keep(rendered)
            progress(rendered.frame.index + 1)
    return len(flight)


@contextmanager
def kept_flight(flight: AnyFlight, out: Path, *, overwrite: bool = False) -> Iterator[Callable[[RenderedFrame], None]]:
    """Make a folder ready for a flight, truth and telemetry included, and give what writes a frame into it.

    Args:
        flight: the flight; whoever calls goes through its frames.
        out: see `write_flight`.
        overwrite: replace the run that is there.

    Raises:
        OutputError: the folder cannot be written to, or holds a run or anything else.
    """
    settings = flight.settings
    header = FlightHeader(
        mission_id=f"{settings.kind}-{settings.seed}",
        mode="rendered",
        device=CAMERA_NAME,
        complete=False,
        sources=(),
        bundle=None,
        runtime=None,
        variant=None,
        settings=settings.model_dump(mode="json"),
        version=version(),
        frames_kept="all",
    )
    with FlightRecorder.open(out, header, overwrite=overwrite) as record:
        _clear_masks(out)
        write_atomically(out / TRUTH_FILE, jsonl.line(truth_of(flight)))
        if isinstance(flight, InspectionFlight):
            _write_sensors(flight, out)

        def keep(rendered: RenderedFrame) -> None:
            file = record.keep_frame(rendered.frame, evidence=False)
            _, mask = cv2.imencode(".png", rendered.mask.astype(np.uint8) * 255)
            write_atomically(out / MASKS_FOLDER / f"{rendered.frame.name}.png", mask.tobytes())
            record.add(frame_row(rendered.frame, cracks=0, file=file, rendered=True))

        yield keep


def truth_of(flight: AnyFlight) -> Truth:
    """Return what is known about the cracks of a flight."""
    return Truth(cracks=tuple(_true_crack(i, crack, flight) for i, crack in enumerate(flight.cracks)))


def read_truth(folder: Path) -> Truth:
    """Return the truth of a written flight.

    Raises:
        InputError: there is none, or it is of another schema.
    """
    path = folder / TRUTH_FILE
    try:
        return Truth.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise InputError(f"{path}: cannot be read as the truth of a rendered flight ({exc})") from exc


def _true_crack(number: int, crack: CrackShape, flight: AnyFlight) -> TrueCrack:
    widths = np.concatenate([branch.width for branch in crack.branches])
    p50, p95 = np.percentile(widths, (50, 95))
    return TrueCrack(
        id=number,
        length_mm=crack.length,
        width_p50_mm=float(p50),
        width_p95_mm=float(p95),
        width_max_mm=float(widths.max()),
        branches=tuple(_true_branch(branch, flight) for branch in crack.branches),
    )


def _true_branch(branch: CrackBranch, flight: AnyFlight) -> TrueBranch:
    line = branch.line_xy
    known = TrueBranch(line_mm=tuple((x, y) for x, y in line.tolist()), width_mm=tuple(branch.width.tolist()))
    if not isinstance(flight, InspectionFlight) or flight.settings.kind != "tunnel":
        return known
    chainage, clock = flight.rig.chainage_m(line[:, 0]), flight.rig.clock_deg(line[:, 1])
    return known.model_copy(update={"chainage_m": tuple(chainage.tolist()), "clock_deg": tuple(clock.tolist())})


def _write_sensors(flight: InspectionFlight, out: Path) -> None:
    """Write the log of the carrier, and the settings that go with it."""
    lines = list(telemetry.rows(flight.settings, flight.rig))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_atomically(out / TELEMETRY_FILE, text.getvalue().encode())
    device = {"version": 1, "place": telemetry.place_settings(flight.settings)}
    write_atomically(out / DEVICE_FILE, yaml.safe_dump(device, sort_keys=False).encode())


def _clear_masks(out: Path) -> None:
    """Remove the masks of a longer flight that was here before."""
    with writing(out / MASKS_FOLDER):
        for path in (out / MASKS_FOLDER).glob("*.png"):
            if re.fullmatch(r"\d{6,}\.png", path.name):
                path.unlink()
