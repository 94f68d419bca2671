"""A rendered flight of 60 s against its truth: what is found, what is false, which sightings are one crack, coverage.

Five legs of 12 s, 1920 x 1080 at 10 frames a second, 0.2 to 1 mm per px, eight cracks each, 0.1 to 5 mm wide where the
scale shows them; by turns along a tunnel with joints and along a facade with courses and shadows, and over every leg
hang two cables that move against the wall. Seeds from 9001 on are used nowhere else.

Recall: share of the true metres in view of a width that some crack, or sighting of one, covers within 4 px. False: a
crack as a whole of which less than half lies within 6 px of a true one. Identity after Ristani et al. (ECCV 2016
workshops): each true crack is matched with the one crack whose sightings cover most of it, one to one; precision and
recall are the matched metres of sightings over all true sighted metres and over all that have any true crack.

Run: python -m tests.bench.bench_flight [--detector network|mask] [--seconds S] [--size WxH] [--json] [--keep DIR]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.bundles import open_bundle
from agent.contract.arrays import Bool, Float64, UInt8
from agent.contract.flight import BundleUsed, CrackRow, FlightHeader
from agent.contract.frame import Frame, Pose
from agent.detect import Detection, Detector
from agent.infer.onnx_runtime import OnnxRuntime
from agent.measure import MeasureSettings, measure_cracks
from agent.pipeline import Pipeline
from agent.record import FlightRecord, FlightRecorder, read_flight
from agent.simulate.flight import RenderedFlight, frame_from_surface, render_flight, surface_from_frame
from agent.simulate.scene import SceneSettings
from agent.track import Survey
from agent.track.settings import CoverageSettings, TrackSettings
from agent.track.untangle import untangling

LEGS_MM_PER_PX = (0.2, 0.35, 0.5, 0.7, 1.0)
CRACKS_A_LEG = 8
STEP_PX = 60  # of the camera between two frames
LEG_APART_MM = 20_000.0
SEED = 9001
NEAR_PX = 4.0  # of a true line: found
FALSE_PX = 6.0  # farther from every true line: false
CABLE_NEARER = 0.12  # share of the distance to the wall that the cables hang in front of it
TARGETS = {
    "recall_from_2_px": (">=", 0.95),
    "recall_1_to_2_px": (">=", 0.7),
    "false_per_100_m2": ("<=", 1.0),
    "identity_precision": (">=", 0.95),
    "identity_recall": (">=", 0.95),
    "coverage_area_error": ("<=", 0.02),
}


@dataclass(frozen=True)
class Leg:
    """One pass, moved to a place of its own on the surface."""

    flight: RenderedFlight
    offset_mm: float  # added to y
    cables: tuple[tuple[float, float, float], ...]  # x of the upper end, lean, width: mm; on a plane before the wall

    def points(self) -> Iterator[tuple[int, Float64, Float64]]:
        """Yield the wall's cracks: number, points (N, 2) mm on the surface every quarter mm or px, width there."""
        for number, crack in enumerate(self.flight.cracks):
            for branch in crack.branches:
                yield number, branch.line_xy + np.array((0, self.offset_mm)), branch.width


def legs(seconds: float, width: int, height: int) -> list[Leg]:
    """Return the legs of a flight of `seconds`."""
    made = []
    for number, mm_per_px in enumerate(LEGS_MM_PER_PX):
        scene = SceneSettings(
            kind="tunnel" if number % 2 == 0 else "facade",
            seconds=seconds / len(LEGS_MM_PER_PX),
            fps=10,
            width_px=width,
            height_px=height,
            mm_per_px=mm_per_px,
            speed_mm_s=STEP_PX * mm_per_px * 10,
            cracks=CRACKS_A_LEG,
            width_mm=(max(0.1, 0.4 * mm_per_px), 5.0),
            seed=SEED + number,
        )
        flight = render_flight(scene)
        rng = np.random.default_rng([SEED, number])
        length = flight.wall_mm[0]
        cables = tuple(
            (length * share, float(rng.uniform(-0.25, 0.25)), float(rng.uniform(3, 7) * mm_per_px))
            for share in (0.35, 0.7)
        )
        made.append(Leg(flight, number * LEG_APART_MM, cables))
    return made


@dataclass
class Drawn:
    """The frames of a flight, with what the truth says about each; the mask is kept for the frame that is in work."""

    legs: Sequence[Leg]
    mask: UInt8 = field(default_factory=lambda: np.zeros((1, 1), np.uint8))
    outlines: list[Float64] = field(default_factory=list)  # (4, 2) on the surface, mm

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        for leg in self.legs:
            for rendered in leg.flight:
                frame = rendered.frame
                pose = frame.pose
                assert pose is not None
                mm_per_px = frame.scale.mm_per_px or 1.0
                picture, hidden = _with_cables(frame, leg, mm_per_px)
                self.mask = np.where(rendered.mask & ~hidden, 255, 0).astype(np.uint8)
                corner = np.array([(0, 0), (frame.width, 0), (frame.width, frame.height), (0, frame.height)]) - 0.5
                matrix = surface_from_frame(pose, mm_per_px)
                self.outlines.append(corner @ matrix[:, :2].T + matrix[:, 2] + (0, leg.offset_mm))
                yield replace(
                    frame,
                    index=index,
                    name=f"{index:06d}",
                    image_rgb=picture,
                    encoded=None,
                    media_time_ns=index * 100_000_000,
                    pose=Pose(x_mm=pose.x_mm, y_mm=pose.y_mm + leg.offset_mm, rotation_deg=pose.rotation_deg),
                )
                index += 1


class TrueMask:
    """A detector that knows the truth: it tells tracking's faults from the network's."""

    def __init__(self, drawn: Drawn) -> None:
        self._drawn = drawn

    def detect(self, image_rgb: UInt8, *, ignored: Bool | None = None) -> Detection:
        thick = np.asarray(cv2.dilate(self._drawn.mask, np.ones((3, 3), np.uint8)), np.uint8)
        return Detection(probability=thick, tiles=0, tiles_segmented=0, run_seconds=0.0)


def fly(drawn: Drawn, out: Path, *, detector: str) -> FlightRecord:
    """Run the agent over the frames, and return its record."""
    bundle = open_bundle("default")
    backend = OnnxRuntime(bundle)
    threshold = bundle.manifest.segmenter.threshold.value if detector == "network" else 0.5
    header = FlightHeader(
        mission_id="bench", mode="replay", device="bench", complete=False, sources=(),
        bundle=BundleUsed(name=bundle.manifest.name, sha256=bundle.sha256), runtime=backend.runtime,
        variant=backend.variant, settings={}, version="bench",
    )  # fmt: skip
    with FlightRecorder.open(out, header) as recorder:
        pipeline = Pipeline(
            finder=Detector(backend, bundle.manifest) if detector == "network" else TrueMask(drawn),
            backend=backend,
            measure=untangling(partial(measure_cracks, threshold=threshold, settings=MeasureSettings())),
            survey=Survey("bench", TrackSettings(), CoverageSettings()),
            record=recorder,
            listeners=[],
            mission_id="bench",
        )
        pipeline.run(drawn)
        pipeline.end()
    return read_flight(out)


def scores(drawn: Drawn, record: FlightRecord) -> dict[str, float]:
    """Compare a record with the truth."""
    truth = [_Truth.of(leg) for leg in drawn.legs]
    whole = {crack.crack_id: crack for _, crack in record.whole_cracks()}
    final_of = _survivors(record)
    covered: dict[tuple[int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    of_crack: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])  # sighted px: all, on a true line
    for row, cracks in record.sightings():
        assert row.pose is not None
        assert row.scale_mm_px is not None
        number = _leg_of(row.pose.y_mm)
        known = truth[number]
        pose = Pose(x_mm=row.pose.x_mm, y_mm=row.pose.y_mm, rotation_deg=row.pose.rotation_deg)
        known.see(frame_from_surface(pose, row.scale_mm_px), (row.height, row.width))
        to_surface = surface_from_frame(pose, row.scale_mm_px)
        for crack in cracks:
            name = final_of.get(crack.crack_id)
            if name is None or name not in whole:
                continue
            line = np.concatenate([np.array(branch.line_px) for branch in crack.branches])
            on_wall = line @ to_surface[:, :2].T + to_surface[:, 2]
            near = known.find(on_wall, FALSE_PX * row.scale_mm_px)
            share = crack.length_px / max(len(line), 1)
            of_crack[name][0] += crack.length_px
            of_crack[name][1] += float((near >= 0).sum()) * share
            if whole[name].kind == "crack":
                known.mark(on_wall, NEAR_PX * row.scale_mm_px)
            for one in np.unique(near[near >= 0]).tolist():
                covered[number, one][name] += float((near == one).sum()) * share
    return _figures(drawn, record, truth, whole, covered, of_crack)


@dataclass
class _Truth:
    """The true lines of a leg as points, with what was in view and what was found of them."""

    xy: Float64  # (N, 2) mm
    width: Float64  # (N,) mm
    weight: Float64  # (N,) mm of length
    crack: Float64  # (N,) number
    mm_per_px: float
    in_view: Bool
    found: Bool

    @classmethod
    def of(cls, leg: Leg) -> _Truth:
        parts = []
        for number, line, width in leg.points():
            step = np.hypot(*np.diff(line, axis=0).T)
            middle = (line[1:] + line[:-1]) / 2
            parts.append((middle, (width[1:] + width[:-1]) / 2, step, np.full(len(step), number)))
        xy, width, weight, crack = (np.concatenate(column) for column in zip(*parts, strict=True))
        none = np.zeros(len(xy), np.bool_)
        return cls(xy, width, weight, crack, leg.flight.settings.mm_per_px, none, none.copy())

    def see(self, to_frame: Float64, hw: tuple[int, int]) -> None:
        px = self.xy @ to_frame[:, :2].T + to_frame[:, 2]
        self.in_view |= (px >= 8).all(axis=1) & (px < (hw[1] - 8, hw[0] - 8)).all(axis=1)

    def find(self, points: Float64, reach: float) -> Float64:
        """The number of the true crack nearest to each point, -1 where none is within reach."""
        nearest, distance = _nearest(points, self.xy)
        return np.where(distance <= reach, self.crack[nearest], -1)

    def mark(self, points: Float64, reach: float) -> None:
        low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
        around = np.flatnonzero(((self.xy >= low) & (self.xy <= high)).all(axis=1) & ~self.found)
        if len(around):
            _, distance = _nearest(self.xy[around], points)
            self.found[around[distance <= reach]] = True


def _figures(
    drawn: Drawn,
    record: FlightRecord,
    truth: Sequence[_Truth],
    whole: dict[str, CrackRow],
    covered: dict[tuple[int, int], dict[str, float]],
    of_crack: dict[str, list[float]],
) -> dict[str, float]:
    def recall(low: float, high: float) -> float:
        found = total = 0.0
        for one in truth:
            chosen = one.in_view & (one.width >= low * one.mm_per_px) & (one.width < high * one.mm_per_px)
            total += float(one.weight[chosen].sum())
            found += float(one.weight[chosen & one.found].sum())
        return found / total if total else float("nan")

    area = _union_m2(drawn.outlines)
    coverage = record.coverage()
    assert coverage is not None
    assert coverage.inspected_m2 is not None
    assert coverage.not_gradable_m2 is not None
    told = coverage.inspected_m2 + coverage.not_gradable_m2
    real = {name for name, (all_, on) in of_crack.items() if on >= 0.5 * all_}
    false = [name for name, crack in whole.items() if crack.kind == "crack" and name not in real]
    matched = _matched(covered)
    sighted = sum(sum(names.values()) for names in covered.values())
    by_name: dict[str, float] = defaultdict(float)
    for names in covered.values():
        for name, length in names.items():
            by_name[name] += length
    hit = sum(covered[key][name] for key, name in matched.items())
    return {
        "recall_from_2_px": recall(2, np.inf),
        "recall_1_to_2_px": recall(1, 2),
        "recall_below_1_px": recall(0, 1),
        "false_per_100_m2": 100 * len(false) / area,
        "identity_precision": hit / max(sum(by_name[name] for name in matched.values()), 1e-9),
        "identity_recall": hit / max(sighted, 1e-9),
        "coverage_area_error": abs(told / area - 1),
        "true_cracks": float(sum(len(leg.flight.cracks) for leg in drawn.legs)),
        "true_cracks_seen": float(len(covered)),
        "reported_cracks": float(record.header.cracks),
        "reported_others": float(record.header.others),
        "retracted": float(record.header.retracted),
        "others_that_are_cracks": float(sum(whole[name].kind != "crack" for name in real if name in whole)),
        "false_cracks": float(len(false)),
        "area_m2": area,
        "not_gradable_m2": coverage.not_gradable_m2,
        "frames": float(record.header.frames),
    }


def _matched(covered: dict[tuple[int, int], dict[str, float]]) -> dict[tuple[int, int], str]:
    """One crack for each true one, the longest common length first."""
    pairs = sorted(
        ((length, key, name) for key, names in covered.items() for name, length in names.items()), reverse=True
    )
    matched: dict[tuple[int, int], str] = {}
    for _, key, name in pairs:
        if key not in matched and name not in matched.values():
            matched[key] = name
    return matched


def _survivors(record: FlightRecord) -> dict[str, str]:
    """Which crack each crack id became; those retracted without a successor are left out."""
    parent: dict[str, str | None] = {}
    for row in record.tracks():
        parent[row.crack_id] = row.crack_id
        if row.event == "retracted":
            parent[row.crack_id] = row.parents[0] if row.parents else None

    def last(name: str | None) -> str | None:
        while name is not None and parent.get(name) != name:
            name = parent.get(name)
        return name

    return {name: end for name in parent if (end := last(name)) is not None}


def _with_cables(frame: Frame, leg: Leg, mm_per_px: float) -> tuple[UInt8, Bool]:
    """Hang the cables before the wall: nearer to the camera they move faster through the picture."""
    pose = frame.pose
    assert pose is not None
    picture = frame.image_rgb.astype(np.float32)
    hidden = np.zeros(picture.shape[:2], np.bool_)
    matrix = frame_from_surface(pose, mm_per_px)
    middle = np.array([frame.width, frame.height]) / 2
    for x, lean, width in leg.cables:
        y = np.linspace(-100, leg.flight.wall_mm[1] + 100, 80)
        line = np.column_stack([x + lean * y + 6 * np.sin(y / 900), y])
        px = (line @ matrix[:, :2].T + matrix[:, 2] - middle) / (1 - CABLE_NEARER) + middle
        stroke = np.zeros(picture.shape[:2], np.uint8)
        thick = max(1, round(width / mm_per_px / (1 - CABLE_NEARER)))
        cv2.polylines(stroke, [np.rint(px * 16).astype(np.int32)], False, 255, thick, cv2.LINE_AA, 4)
        alpha = cv2.GaussianBlur(stroke, (0, 0), 0.7).astype(np.float32)[..., None] / np.float32(255)
        picture += alpha * (np.float32(38) - picture)
        hidden |= stroke > 127
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8), hidden


def _leg_of(y_mm: float) -> int:
    return int(np.clip(round(y_mm / LEG_APART_MM), 0, len(LEGS_MM_PER_PX) - 1))


def _union_m2(outlines: Sequence[Float64], step_mm: float = 0.5) -> float:
    """The area that all outlines cover together, drawn on a grid far finer than the agent's cells."""
    total = 0.0
    by_leg: dict[int, list[Float64]] = defaultdict(list)
    for outline in outlines:
        by_leg[_leg_of(float(outline[:, 1].min()))].append(outline)
    for parts in by_leg.values():
        points = np.concatenate(parts)
        low = points.min(axis=0)
        size = np.ceil((points.max(axis=0) - low) / step_mm).astype(int) + 2
        canvas = np.zeros((size[1], size[0]), np.uint8)
        for outline in parts:
            cv2.fillPoly(canvas, [np.rint((outline - low) / step_mm * 16).astype(np.int32)], 1, shift=4)
        total += cv2.countNonZero(canvas) * (step_mm / 1000) ** 2
    return total


def _nearest(points: Float64, among: Float64) -> tuple[NDArray[np.intp], Float64]:
    """The index and distance of the nearest of `among` for each point, a block at a time."""
    index, distance = np.zeros(len(points), np.intp), np.full(len(points), np.inf)
    for first in range(0, len(points), 512):
        part = points[first : first + 512]
        low, high = part.min(axis=0) - 50, part.max(axis=0) + 50
        close = np.flatnonzero(((among >= low) & (among <= high)).all(axis=1))
        if not len(close):
            continue
        gap = np.hypot(*(part[:, None] - among[close][None]).transpose(2, 0, 1))
        best = gap.argmin(axis=1)
        index[first : first + 512] = close[best]
        distance[first : first + 512] = gap[np.arange(len(part)), best]
    return index, distance


def main() -> None:
    """Print the scores beside their targets; with --json as one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", choices=("network", "mask"), default="network")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="leave the flight record here")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    width, height = map(int, asked.size.split("x"))
    drawn = Drawn(legs(asked.seconds, width, height))
    with tempfile.TemporaryDirectory() as folder:
        out = asked.keep or Path(folder) / "record"
        found = scores(drawn, fly(drawn, out, detector=asked.detector))
    if asked.json:
        sys.stdout.write(json.dumps({name: round(value, 4) for name, value in found.items()}) + "\n")
        return
    for name, value in found.items():
        sense, target = TARGETS.get(name, ("", None))
        met = "" if target is None else f"{sense} {target:<6g} {'met' if _met(value, sense, target) else 'MISSED'}"
        sys.stdout.write(f"{name:24} {value:10.4g}   {met}\n")


def _met(value: float, sense: str, target: float) -> bool:
    return value >= target if sense == ">=" else value <= target


if __name__ == "__main__":
    main()
