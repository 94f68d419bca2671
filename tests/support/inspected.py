"""A flight with everything that the page can show: severities, widths, poses, positions, gaps, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from agent.contract.flight import (
    Coverage,
    CoverageArea,
    CoverageWidths,
    CrackRow,
    FrameRow,
    NotGradable,
    PoseRow,
    SurfaceKind,
    TrackRow,
)
from agent.contract.reports import Severity
from agent.record import FlightRecorder
from tests.support.flights import frame, header, rows, skipped
from tests.support.page import track

SEVERITIES: tuple[Severity, ...] = ("severe", "high", "moderate", "low", "none", "ungraded")
AreaState = Literal["inspected", "not_gradable", "never_seen"]
CLASSES = {"low": "no intervention by this criterion"}  # the longest that a standard of ours has
WIDTH_MM = 160.0  # of a frame on the wall


def step(index: int) -> tuple[FrameRow, list[CrackRow], list[TrackRow]]:
    """Return a frame with two cracks and what happened to them."""
    row, (first, second) = rows(index)
    x_mm = 90.0 * index
    place = {
        "lat": 47.1 + index * 1e-5,
        "lon": 8.2 + index * 2e-5,
        "chainage_m": 10 + x_mm / 1000,
        "clock_deg": 350.0 + index,
    }
    placed = {**place, "clock_deg": place["clock_deg"] % 360, "position_of": "surface"}
    severity = SEVERITIES[index % len(SEVERITIES)]
    graded: dict[str, Any] = {"severity": severity}
    if severity != "ungraded":
        graded |= {
            "severity_standard": "aci-224r:1",
            "severity_class": CLASSES.get(severity, f"class {severity}"),
            "severity_p": 0.8,
        }
    width = 0.2 + 0.11 * index
    first = first.model_copy(
        update={
            **graded, **placed, "width_mm": width, "width_lo_mm": width * 0.8, "width_hi_mm": width * 1.3,
            "kind": "joint" if index % 9 == 8 else "crack",
        }
    )  # fmt: skip
    second = second.model_copy(update=placed)
    row = row.model_copy(
        update={
            "pose": PoseRow(x_mm=x_mm, y_mm=5.0 * (index % 3), rotation_deg=1.0), "lat": place["lat"],
            "lon": place["lon"], "chainage_m": place["chainage_m"], "clock_deg": placed["clock_deg"],
        }
    )  # fmt: skip
    return row, [first, second], [track(first, "new"), track(second, "new")]


def fly(recorder: FlightRecorder, begin: int, end: int, *, kept: bool = True) -> None:
    """Add frames to a record, their pictures too if they are to be kept."""
    for index in range(begin, end):
        row, cracks, tracks = step(index)
        file = recorder.keep_frame(frame(index), evidence=True) if kept else None
        recorder.add(row.model_copy(update={"file": file}), cracks, tracks)


def begin_flight(folder: Path, **changed: Any) -> FlightRecorder:
    """Begin a record that keeps its pictures."""
    return FlightRecorder.open(folder, header(frames_kept="all", **{"structure": "Gallery 4", **changed}))


def end_flight(recorder: FlightRecorder, frames: int, *, surface: SurfaceKind = "wall") -> None:
    """Write what was inspected, and close."""
    recorder.add(skipped(frames, reason="truncated JPEG", name="broken"))
    recorder.write_coverage(coverage(frames, surface))
    recorder.close(complete=True)


def coverage(frames: int, surface: SurfaceKind = "wall") -> Coverage:
    """Return boxes side by side: inspected, below it out of focus, too dark and never seen, a third of the way each.

    Cracks of 0.2 mm could be found on the left half, of 0.4 mm on the right one.
    """
    left, top, high, low, factor = {
        "wall": (0.0, 0.0, 100, 60, 1),
        "lining": (10_000.0, -1500.0, 2000, 1200, 1),
        "ground": (0.0, 0.0, 1000, 600, 4),
    }[surface]
    right = factor * (90.0 * frames + WIDTH_MM)
    third = right / 3

    def box(state: AreaState, reason: NotGradable | None, x: float, y: float, wide: float, tall: float) -> CoverageArea:
        x, y = x + left, y + top
        outline = ((x, y), (x + wide, y), (x + wide, y + tall), (x, y + tall))
        return CoverageArea(
            camera="cam0", surface=surface, state=state, reason=reason, outlines_mm=(outline,),
            area_m2=wide * tall / 1e6,
        )  # fmt: skip

    areas = (
        box("inspected", None, 0, 0, right, high),
        box("not_gradable", "blur", 0, high, third, low),
        box("not_gradable", "dark", third, high, third, low),
        box("never_seen", None, 2 * third, high, third, low),
    )
    width_mm = (0.2, 0.4, None, None)
    widths = CoverageWidths(
        camera="cam0", surface=surface, x_mm=left, y_mm=top, block_mm=(right / 2, high), columns=2, width_mm=width_mm
    )
    m2 = [area.area_m2 for area in areas]
    return Coverage(
        cell_mm=10, inspected_m2=m2[0], not_gradable_m2=m2[1] + m2[2], never_seen_m2=m2[3], target=True,
        not_gradable_blur_m2=m2[1], not_gradable_dark_m2=m2[2], not_gradable_bright_m2=0.0,
        not_gradable_ignored_m2=0.0, smallest_width_mm=0.3, smallest_width_worst_mm=0.4, unplaced_inspected_m2=None,
        unplaced_not_gradable_m2=None, unscaled_frames=0, unscaled_gradable=0.0, areas=areas, widths=(widths,),
        lining_radius_mm=4750.0 if surface == "lining" else None, ground_lat=47.1 if surface == "ground" else None,
        ground_lon=8.2 if surface == "ground" else None,
    )  # fmt: skip


def write_inspection(
    folder: Path, frames: int = 24, *, kept: bool = True, surface: SurfaceKind = "wall", **changed: Any
) -> Path:
    """Write a whole flight, and return its folder."""
    recorder = begin_flight(folder, **changed)
    fly(recorder, 0, frames, kept=kept)
    end_flight(recorder, frames, surface=surface)
    return folder
