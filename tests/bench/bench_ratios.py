"""The nine ratios that Crackscout's speed is judged by, each beside its target; process CPU time, one worker, medians.

The peers (SAHI without its full-frame pass, MONAI) live in an environment of their own: `make .venv-bench/.peers`.
Where they are missing their ratios are left out, and it is said. SAHI stitches no map, so that ours does more here.

Run: python -m tests.bench.bench_ratios [--json] [--frames N]
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import train  # noqa: F401 - it mends a torchvision that was built for another torch
from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, load_bundle
from agent.contract.frame import UNKNOWN_SCALE
from agent.detect import Detector
from agent.infer.backend import GateScores
from agent.infer.onnx_runtime import OnnxRuntime
from agent.measure import MeasureSettings, measure_cracks
from tests.bench.bench_detect import cold_start
from tests.support import bench_nets
from tests.support.commands import crack

REPEATS = 3
HEIGHT, WIDTH = 3024, 4032
MEGAPIXELS = HEIGHT * WIDTH / 1e6
FRAMES = 1000
PHOTOS = 4  # of a replay: the first pays for what is done once
POSITIVE = 0.05  # of the tiles, in the comparison with SAHI


@dataclass
class Figures:
    """Names, values and targets, in the order in which they were measured."""

    rows: list[tuple[str, float | str, str]] = field(default_factory=list)

    def add(self, name: str, value: float | str, target: str = "") -> None:
        """Add a line; a target is for instance `<= 1.02`."""
        self.rows.append((name, round(value, 3) if isinstance(value, float) else value, target))

    def as_text(self) -> str:
        """Return a table."""
        return "".join(
            f"{name:66} {value!s:>10}  {target:9} {_met(value, target)}\n" for name, value, target in self.rows
        )


def main() -> None:
    """Print the figures; with --json as one object."""
    cv2.setNumThreads(1)
    frames = int(sys.argv[sys.argv.index("--frames") + 1]) if "--frames" in sys.argv else FRAMES
    figures = Figures()
    frame = picture()
    with tempfile.TemporaryDirectory() as folder:
        for name, replay_most, sahi_least in (("light", 1.10, 4), ("unet8", 1.05, 8)):
            place = bench_nets.write_bundle(Path(folder, name), name)
            bundle = load_bundle(place)
            if name == "light":
                figures.add("1 tile loop / runs, light", tile_loop(bundle, frame), "<= 1.02")
            first, later = replay(place)
            figures.add(f"2 whole replay of 12 MP / runs, {name}", later.ratio, f"<= {replay_most}")
            figures.add(f"2 the same of the first photo, with all that is done once, {name}", first.ratio)
            sahi_ratios(figures, bundle, frame, name, sahi_least)
            figures.add(f"5 cascade speed-up / ideal 1/(g/s + p), {name}", cascade(bundle, frame), ">= 0.9")
        figures.add("6 skimage + scipy / our measurement, and length errors", "see below", "bench_measure")
        above, growth = memory(frames)
        figures.add("7 memory above runtime and model, 12 MP, stub net, MB", above, "<= 150")
        figures.add(f"7 growth over the last half of {frames} frames, MB", growth, "<= 5")
    first_tile, whole = cold_start().values()
    figures.add("8 cold start to the first tile / bare runtime", first_tile, "<= 1.5")
    figures.add("8 selftest with all its golden tiles / bare runtime", whole)
    figures.add("9 cost outside the network, ms per megapixel, unet8", later.outside, "<= 10")
    figures.add("9 the same of the first photo, with all that is done once, unet8", first.outside)
    rows = {name: {"value": value, "target": target} for name, value, target in figures.rows}
    sys.stdout.write(json.dumps(rows) + "\n" if "--json" in sys.argv else figures.as_text())


def picture(seed: int = 0) -> UInt8:
    """Draw wandering dark cracks, 0.7 % of 12 megapixels, on grainy light concrete."""
    rng = np.random.default_rng(seed)
    light = cv2.resize(rng.normal(0, 12, (48, 64)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    grey = 170 + light + rng.normal(0, 3, (HEIGHT, WIDTH)).astype(np.float32)
    for _ in range(10):
        heading = rng.normal(0, 8, 2)
        path = np.cumsum(rng.normal(0, 6, (150, 2)) + heading, axis=0) + rng.uniform((600, 600), (3400, 2400))
        cv2.polylines(grey, [path.astype(np.int32)], False, 60.0, int(rng.integers(3, 9)))
    return np.asarray(np.repeat(cv2.GaussianBlur(grey, (0, 0), 1).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))


def tile_loop(bundle: Bundle, frame: UInt8) -> float:
    """Compare the loop over all tiles with the runtime's own calls in it."""
    detector = Detector(OnnxRuntime(bundle), bundle.manifest, gate=False)
    ratios: list[float] = []
    for _ in range(REPEATS):
        seconds, found = _timed(lambda: detector.detect(frame))
        ratios.append(seconds / found.run_seconds)
    return statistics.median(ratios)


@dataclass(frozen=True)
class Replayed:
    """What one photo costs, decode to report."""

    whole: float  # CPU seconds
    run: float  # of them in the runtime's calls

    @property
    def ratio(self) -> float:
        """The whole over the runs."""
        return self.whole / self.run

    @property
    def outside(self) -> float:
        """What the rest costs, ms per megapixel."""
        return (self.whole - self.run) * 1000 / MEGAPIXELS


def replay(place: Path) -> tuple[Replayed, Replayed]:
    """Return what a photo costs that comes first, and what each of those that follow does."""
    alone, together = [], []
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        photos.mkdir()
        for seed in range(PHOTOS):
            cv2.imwrite(str(photos / f"{seed}.jpg"), picture(seed))
        for _ in range(REPEATS):
            alone.append(_replayed(photos / "0.jpg", place, Path(folder, "out")))
            together.append(_replayed(photos, place, Path(folder, "out")))
    one, every = (min(runs, key=lambda run: run.whole) for runs in (alone, together))
    return one, Replayed((every.whole - one.whole) / (PHOTOS - 1), (every.run - one.run) / (PHOTOS - 1))


def _replayed(source: Path, place: Path, out: Path) -> Replayed:
    done = crack(
        "crack-agent", "replay", source, "--out", out, "--bundle", place, "--json", "--overwrite",
        CRACKSCOUT_RUNTIME__WORKERS="1", CRACKSCOUT_DETECT__GATE="false",
    )  # fmt: skip
    summary = json.loads(done.stdout)
    return Replayed(sum(summary["stage_seconds"].values()), summary["run_seconds"])


def cascade(bundle: Bundle, frame: UInt8) -> float:
    """Return the speed-up by the gate over what it could be at best: gate g, segmenter s, share of positive tiles p."""
    backend = OnnxRuntime(bundle)
    every = Detector(backend, bundle.manifest, gate=False)
    threshold = _threshold(bundle, frame)
    gated = Detector(backend, bundle.manifest, gate_threshold=threshold)
    shares: list[float] = []
    for _ in range(REPEATS):
        all_seconds, found = _timed(lambda: every.detect(frame))
        gated_seconds, passed = _timed(lambda: gated.detect(frame))
        s = found.run_seconds / found.tiles
        g = (passed.run_seconds - s * passed.tiles_segmented) / passed.tiles
        ideal = 1 / (max(g, 1e-9) / s + passed.tiles_segmented / passed.tiles)
        shares.append(all_seconds / gated_seconds / ideal)
    return statistics.median(shares)


def sahi_ratios(figures: Figures, bundle: Bundle, frame: UInt8, name: str, least: int) -> None:
    """Add what SAHI costs over ours, with a stub and with the network."""
    if importlib.util.find_spec("sahi") is None:
        figures.add(f"3, 4 SAHI / ours, {name}", "no SAHI", "make .venv-bench/.peers")
        return
    from tests.bench import peers

    if name == "light":
        stub = Stub()
        detector = Detector(stub, bundle.manifest, gate=False)
        ours = _median(lambda: detector.detect(frame))
        figures.add(
            "3 SAHI / ours, slicing + normalising, stub net", _median(lambda: peers.sahi(frame, None)) / ours, ">= 20"
        )
        figures.add("3 MONAI / ours, the same with stitching", _median(lambda: peers.monai(frame)) / ours)
    backend = OnnxRuntime(bundle)
    threshold = _threshold(bundle, frame)
    gated = Detector(backend, bundle.manifest, gate_threshold=threshold)
    settings = MeasureSettings()

    def whole() -> object:
        found = gated.detect(frame)
        return measure_cracks(found.probability, frame, threshold=0.5, scale=UNKNOWN_SCALE, settings=settings)

    ratio = _median(lambda: peers.sahi(frame, backend)) / _median(whole)
    figures.add(f"4 SAHI / ours on the same file, 5 % positive tiles, {name}", ratio, f">= {least}")


def memory(frames: int) -> tuple[float, float]:
    """Return the most memory above that before the first frame, and how much it grows in the last half, MB."""
    manifest = load_bundle(Path("agent/bundles/default").resolve()).manifest
    detector = Detector(Stub(), manifest, gate=False)
    frame = picture()
    settings = MeasureSettings()
    gc.collect()
    before, most, half = _resident_mb(), 0.0, 0.0
    for index in range(frames):
        image = frame.copy()  # as a camera hands it over
        found = detector.detect(image)
        measure_cracks(found.probability, image, threshold=0.5, scale=UNKNOWN_SCALE, settings=settings)
        most = max(most, _resident_mb())
        if index == frames // 2:
            half = most
    return most - before, most - half


class Stub:
    """A network that costs nothing and sees no crack."""

    runtime, variant = "stub", "fp32"

    def infer(self, tiles: UInt8) -> UInt8:
        return np.zeros(tiles.shape[:3], np.uint8)

    def gate(self, tiles: UInt8) -> GateScores:
        nothing = np.zeros(len(tiles), np.float32)
        return GateScores(nothing, nothing)


def _threshold(bundle: Bundle, frame: UInt8) -> float:
    """Return the gate's threshold at which 5 % of the frame's tiles pass."""
    scores: list[float] = []

    class Listening(OnnxRuntime):
        def gate(self, tiles: UInt8) -> GateScores:
            answer = super().gate(tiles)
            scores.append(float(answer.probability[0]))
            return answer

    Detector(Listening(bundle), bundle.manifest, gate_threshold=1.0).detect(frame)
    return float(np.quantile(scores, 1 - POSITIVE, method="lower")) + 1e-9


def _median(work: Callable[[], object]) -> float:
    return statistics.median(_timed(work)[0] for _ in range(REPEATS))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _met(value: float | str, target: str) -> str:
    word, _, bound = target.partition(" ")
    if isinstance(value, str) or word not in {"<=", ">="}:
        return ""
    return "met" if (value <= float(bound) if word == "<=" else value >= float(bound)) else "MISSED"


if __name__ == "__main__":
    main()
