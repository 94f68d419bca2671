"""A rendered flight as a folder: a flight record as an agent would write it, and the truth beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from pydantic import Field

from agent.about import version
from agent.contract.flight import FlightHeader
from agent.contract.strict import Strict
from agent.errors import InputError
from agent.record import FlightRecorder, frame_row, jsonl
from agent.record.layout import write_atomically, writing
from agent.simulate.cracks import CrackShape
from agent.simulate.flight import CAMERA_NAME, RenderedFlight

TRUTH_FOLDER: Final = "truth"
TRUTH_FILE: Final = "truth/cracks.json"
MASKS_FOLDER: Final = "truth/masks"


class TrueBranch(Strict):
    """One unbranched centre line on the surface."""

    line_mm: tuple[tuple[float, float], ...] = Field(description="x along the wall, y downwards, mm.")
    width_mm: tuple[float, ...] = Field(description="Full width at each point, mm.")


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
    flight: RenderedFlight,
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
        for rendered in flight:
            file = record.keep_frame(rendered.frame, evidence=False)
            _, mask = cv2.imencode(".png", rendered.mask.astype(np.uint8) * 255)
            write_atomically(out / MASKS_FOLDER / f"{rendered.frame.name}.png", mask.tobytes())
            record.add(frame_row(rendered.frame, cracks=0, file=file, rendered=True))
            progress(rendered.frame.index + 1)
    return len(flight)


def truth_of(flight: RenderedFlight) -> Truth:
    """Return what is known about the cracks of a flight."""
    return Truth(cracks=tuple(_true_crack(i, crack) for i, crack in enumerate(flight.cracks)))


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


def _true_crack(number: int, crack: CrackShape) -> TrueCrack:
    widths = np.concatenate([branch.width for branch in crack.branches])
    p50, p95 = np.percentile(widths, (50, 95))
    return TrueCrack(
        id=number,
        length_mm=crack.length,
        width_p50_mm=float(p50),
        width_p95_mm=float(p95),
        width_max_mm=float(widths.max()),
        branches=tuple(
            TrueBranch(line_mm=tuple((x, y) for x, y in branch.line_xy.tolist()), width_mm=tuple(branch.width.tolist()))
            for branch in crack.branches
        ),
    )


def _clear_masks(out: Path) -> None:
    """Remove the masks of a longer flight that was here before."""
    with writing(out / MASKS_FOLDER):
        for path in (out / MASKS_FOLDER).glob("*.png"):
            if re.fullmatch(r"\d{6,}\.png", path.name):
                path.unlink()
