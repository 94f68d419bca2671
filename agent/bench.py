"""How fast this device is with a bundle: milliseconds per tile of each network, and CPU seconds per stage of a frame.

What it measures stands beside each figure. Wall times of a machine that does other things are noise: CPU times of the
process are given as well, and ratios between devices should be made from runs of this command alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np

from agent.bundles import open_bundle
from agent.choose import serving, workers
from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle
from agent.contract.frame import Scale
from agent.health.readings import read_sysfs
from agent.infer.backend import Backend
from agent.infer.engine_process import log_progress
from agent.infer.runtimes import open_backend
from agent.measure import measure_cracks
from agent.settings import Settings
from agent.simulate.flight import render_flight
from agent.simulate.scene import SceneSettings

WARM_UP: Final = 3  # runs that are not counted: caches, clocks and memory settle
FRAME_HW: Final = (1536, 2048)  # about 3 megapixels, with the rendered crack in it


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Of one call, over the repetitions."""

    wall_ms_median: float
    wall_ms_p95: float
    cpu_ms_median: float  # of the whole process


@dataclass(frozen=True, kw_only=True)
class BenchFigures:
    """What a device does with a bundle."""

    bundle: str
    runtime: str
    variant: str
    workers: int
    repetitions: int
    tile_px: int
    segmenter_tile: Timing
    gate_tile: Timing | None  # None in a bundle without a gate
    frame_megapixels: float
    frame_tiles: int
    frame_tiles_segmented: int
    stages: dict[str, Timing]  # decode, detect, measure, encode: of one rendered frame
    frames_per_second: float  # 1 / the sum of the stages' median wall times, one frame after the other
    hottest_c: float | None  # at the end; None where it cannot be read

    def as_json(self) -> dict[str, Any]:
        """Return one object."""
        return asdict(self)

    def as_text(self) -> str:
        """Return a few lines for a person."""

        def line(name: str, timing: Timing) -> str:
            return (
                f"{name:16} {timing.wall_ms_median:9.2f} ms   p95 {timing.wall_ms_p95:9.2f} ms   "
                f"CPU {timing.cpu_ms_median:9.2f} ms"
            )

        heat = "" if self.hottest_c is None else f", {self.hottest_c:.0f} °C at the end"
        return "\n".join(
            [
                f"{self.bundle} on {self.runtime} {self.variant}, median of {self.repetitions}{heat}",
                line("segmenter, tile", self.segmenter_tile),
                *([line("gate, tile", self.gate_tile)] if self.gate_tile else []),
                (
                    f"a rendered frame of {self.frame_megapixels:.1f} MP, {self.workers} workers, "
                    f"{self.frame_tiles_segmented} of {self.frame_tiles} tiles passed the gate"
                ),
                *(line(name, timing) for name, timing in self.stages.items()),
                f"{self.frames_per_second:.2f} frames a second, one after the other",
            ]
        )


def bench(settings: Settings, *, repetitions: int) -> BenchFigures:
    """Measure.

    Args:
        settings: for the bundle, the runtime, the detector and the measurement.
        repetitions: of each call, >= 1.

    Raises:
        BundleError: the bundle cannot be used.
        RuntimeUnavailableError: this device does not have the runtime.
        EngineError: TensorRT cannot build its engines.
    """
    runtime = settings.runtime
    bundle = open_bundle(settings.bundle)
    count = workers(settings)
    backend = open_backend(
        runtime.name, bundle, variant=runtime.variant, workers=count, engine=runtime.engine, tell=log_progress
    )
    frame = _frame()
    photo = np.asarray(cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1], np.uint8)
    detector = serving(backend, bundle, settings).detector
    with closing(detector):
        found = detector.detect(frame)
        segmenter = bundle.manifest.segmenter
        chosen = settings.detect.segmenter_threshold
        threshold = segmenter.threshold.value if chosen is None else chosen
        scale = Scale(mm_per_px=0.5, source="setting")
        calls: dict[str, Callable[[], object]] = {
            "decode": lambda: cv2.imdecode(photo, cv2.IMREAD_COLOR_RGB),
            "detect": lambda: detector.detect(frame),
            "measure": lambda: measure_cracks(
                found.probability, frame, scale=scale, threshold=threshold, settings=settings.measure
            ),
            "encode": lambda: cv2.imencode(".jpg", frame),
        }
        stages = {name: _timed(call, repetitions) for name, call in calls.items()}
        tile_px = segmenter.tile_px
        tile = np.ascontiguousarray(frame[None, :tile_px, :tile_px])
        return BenchFigures(
            bundle=f"{bundle.manifest.name} {bundle.sha256[:12]}",
            runtime=backend.runtime,
            variant=backend.variant,
            workers=count,
            repetitions=repetitions,
            tile_px=tile_px,
            segmenter_tile=_timed(lambda: backend.infer(tile), repetitions),
            gate_tile=_gate(bundle, backend, frame, repetitions),
            frame_megapixels=frame.shape[0] * frame.shape[1] / 1e6,
            frame_tiles=found.tiles,
            frame_tiles_segmented=found.tiles_segmented,
            stages=stages,
            frames_per_second=1000 / sum(timing.wall_ms_median for timing in stages.values()),
            hottest_c=read_sysfs(settings.heat.root).hottest_c,
        )


def _frame() -> UInt8:
    """Return a rendered frame at the size of a small camera; the same on every device."""
    scene = SceneSettings.model_validate({"kind": "tunnel", "seconds": 1, "seed": 1})
    image = next(iter(render_flight(scene).frames())).frame.image_rgb
    return np.asarray(cv2.resize(image, FRAME_HW[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def _gate(bundle: Bundle, backend: Backend, frame: UInt8, repetitions: int) -> Timing | None:
    gate = bundle.manifest.gate
    if gate is None:
        return None
    tile = np.ascontiguousarray(frame[None, : gate.tile_px, : gate.tile_px])
    return _timed(lambda: backend.gate(tile), repetitions)


def _timed(call: Callable[[], object], repetitions: int) -> Timing:
    for _ in range(WARM_UP):
        call()
    wall, cpu = [], []
    for _ in range(repetitions):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    return Timing(
        wall_ms_median=round(1000 * statistics.median(wall), 3),
        wall_ms_p95=round(1000 * float(np.percentile(wall, 95)), 3),
        cpu_ms_median=round(1000 * statistics.median(cpu), 3),
    )
