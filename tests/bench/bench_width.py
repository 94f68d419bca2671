"""How right widths, their intervals and lengths are, on photographs whose truth is known; each figure with its target.

Bands are straight and of one width and darkness, on rendered concrete. Cracks wander, branch, swell, change their
darkness, have dirt, spalls and lit edges beside them, and lie on concrete (60 %) or asphalt (40 %). Masks are a pixel
too wide, as a network's are; `network` takes the shipped bundle's instead. Sensor noise is 2 %. The width of a crack is
the 95th percentile of that of stretches of 15 px. No seed here was used to fit the interval.

Run: python -m tests.bench.bench_width [--quick] [--json]
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from agent.bundles import open_bundle
from agent.contract.arrays import Float64, UInt8
from agent.contract.crack import Crack
from agent.contract.frame import UNKNOWN_SCALE
from agent.detect import Detector
from agent.infer.onnx_runtime import OnnxRuntime
from agent.measure import MeasureSettings, measure_cracks
from agent.simulate.noise import log_uniform
from tests.bench.bench_measure import length_errors
from tests.support.width_scenes import WidthScene, band_scene, crack_scene

SEED = 2024  # the interval was fitted on others
WIDTHS = (0.0, 1.0, 1.5, 2.5, 3.5, 5.5, 9.0, 30.0)
BLURS = (0.5, 0.83, 1.17, 1.5)

Map = Callable[[WidthScene], tuple[UInt8, float]]  # probability x 255 and threshold


@dataclass(frozen=True, slots=True)
class Measured:
    """A crack's truth and what was measured of it."""

    truth: float
    blur: float
    crack: Crack | None

    @property
    def gradable(self) -> bool:
        """Whether a width was given."""
        return self.crack is not None and self.crack.gradable

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth."""
        one = self.crack
        return one is not None and (one.width_lo_px or 0) <= self.truth <= (one.width_hi_px or 0)

    @property
    def breadth(self) -> float:
        """Of the interval, px."""
        return (self.crack.width_hi_px or 0) - (self.crack.width_lo_px or 0) if self.crack else 0.0


def main() -> None:
    """Print the figures; with --json as one object."""
    cv2.setNumThreads(1)
    cracks, bands, through = (200, 4, 40) if "--quick" in sys.argv else (2000, 20, 200)
    figures: dict[str, Any] = {
        "bands": band_figures(bands),
        "known_darkness": known_darkness_figures(bands),
        "unknown_darkness": unknown_darkness_figures(6 * bands),
        "cracks": interval_figures(measured_cracks(cracks)),
        "network": interval_figures(measured_cracks(through, network_map())),
        "length": length_figures(),
    }
    sys.stdout.write(json.dumps(figures) + "\n" if "--json" in sys.argv else table(figures))


def band_figures(count: int) -> list[dict[str, Any]]:
    """Return the errors of the typical (median) and of the 95th percentile width of bands of 0.2 to 0.6 darkness."""
    rows = []
    for width in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0):
        for blur in (0.5, 1.0, 1.5):
            typical, wide = [], []
            for number in range(count):
                rng = np.random.default_rng([SEED, 1, number, round(10 * width), round(10 * blur)])
                scene = band_scene(rng, width=width, blur=blur, darkness=rng.uniform(0.2, 0.6))
                crack = measured(scene).crack
                if crack is not None and crack.gradable:
                    typical.append((crack.width_p50_px or 0) - width)
                    wide.append((crack.width_px or 0) - width)
            bias, rmse = _bias_rmse(typical)
            rows.append({
                "width": width, "blur": blur, "n": count, "gradable": len(typical),
                "bias": bias, "rmse": rmse, "p95_bias": _bias_rmse(wide)[0], "p95_rmse": _bias_rmse(wide)[1],
                "target": "bias 0.05, rmse 0.15",
            })  # fmt: skip
    return rows


def known_darkness_figures(count: int) -> list[dict[str, Any]]:
    """Return the errors on bands of 0.5 to 1 px whose darkness is told by the setting."""
    rows = []
    for width in (0.5, 0.75, 1.0):
        for blur in (0.5, 1.0, 1.5):
            errors = []
            for number in range(count):
                rng = np.random.default_rng([SEED, 2, number, round(100 * width), round(10 * blur)])
                darkness = rng.uniform(0.2, 0.6)
                scene = band_scene(rng, width=width, blur=blur, darkness=darkness)
                crack = measured(scene, settings=MeasureSettings(darkness=darkness, min_contrast=0)).crack
                if crack is not None and crack.gradable:
                    errors.append((crack.width_p50_px or 0) - width)
            bias, rmse = _bias_rmse(errors)
            rows.append({
                "width": width, "blur": blur, "n": count, "gradable": len(errors), "bias": bias, "rmse": rmse,
                "target": "bias 0.15",
            })  # fmt: skip
    return rows


def unknown_darkness_figures(count: int) -> dict[str, Any]:
    """Return how often bands of 0.5 to 2 px, of 0.1 to 0.6 darkness that nobody told, are graded, and how well."""
    seen = []
    for number in range(count):
        rng = np.random.default_rng([SEED, 3, number])
        width, blur = log_uniform(rng, 0.5, 2.0), rng.uniform(0.5, 1.5)
        scene = band_scene(rng, width=width, blur=blur, darkness=rng.uniform(0.1, 0.6))
        seen.append(measured(scene))
    graded = [one for one in seen if one.gradable]
    covered = _round(np.mean([one.covered for one in graded])) if graded else None
    return {"n": count, "gradable": len(graded), "coverage": covered, "target": "0.85 to 0.95, or not gradable"}


def measured_cracks(count: int, probability: Map | None = None, *, seed: int = SEED) -> Iterator[Measured]:
    """Yield rendered cracks of 0.8 to 8 px, blur 0.5 to 1.5 px, darkness 0.1 to 0.6, and what was measured of them."""
    for number in range(count):
        rng = np.random.default_rng([seed, 4, number])
        width, blur = log_uniform(rng, 0.8, 8), rng.uniform(0.5, 1.5)
        yield measured(crack_scene(rng, width=width, blur=blur, darkness=rng.uniform(0.1, 0.6)), probability)


def measured(scene: WidthScene, probability: Map | None = None, *, settings: MeasureSettings | None = None) -> Measured:
    """Measure the crack of a scene: the longest that was found."""
    marked, threshold = (scene.mask, 0.5) if probability is None else probability(scene)
    cracks = measure_cracks(
        marked, scene.image_rgb, threshold=threshold, scale=UNKNOWN_SCALE, settings=settings or MeasureSettings()
    )
    truth, blur = scene.width_px, scene.blur_px
    return Measured(truth, blur, max(cracks, key=lambda crack: crack.length_px, default=None))


def network_map() -> Map:
    """Return what the shipped bundle's segmenter makes of a scene."""
    bundle = open_bundle("default")
    detector = Detector(OnnxRuntime(bundle), bundle.manifest, gate=False)
    threshold = bundle.manifest.segmenter.threshold.value
    return lambda scene: (detector.detect(scene.image_rgb).probability, threshold)


def interval_figures(seen: Iterator[Measured]) -> dict[str, Any]:
    """Return how often the 90 % interval holds the truth, of the graded, by width and blur."""
    every = list(seen)
    graded = [one for one in every if one.gradable]
    near_three = [one.breadth for one in graded if 2.5 <= one.truth < 3.5]
    cells = []
    for low, high in itertools.pairwise(WIDTHS):
        for sharp, soft in itertools.pairwise(BLURS):
            cell = [one for one in every if low <= one.truth < high and sharp <= one.blur < soft]
            known = [one for one in cell if one.gradable]
            if cell:
                cells.append({
                    "width": f"{low:g}-{high:g}", "blur": f"{sharp:g}-{soft:g}",
                    "n": len(cell), "gradable": len(known),
                    "coverage": _round(np.mean([one.covered for one in known])) if known else None,
                    "breadth": _round(np.median([one.breadth for one in known])) if known else None,
                })  # fmt: skip
    errors = [(one.crack.width_px or 0) / one.truth - 1 for one in graded if one.crack is not None]
    return {
        "n": len(every),
        "gradable": len(graded),
        "coverage": _round(np.mean([one.covered for one in graded])) if graded else None,
        "coverage_target": "0.88 to 0.92",
        "breadth_at_3_px": _round(np.median(near_three)) if near_three else None,
        "breadth_target": 0.6,
        "relative_error_median": _round(np.median(errors)) if errors else None,
        "cells": cells,
    }


def length_figures() -> dict[str, Any]:
    """Return the relative errors of lengths on bands."""
    errors = np.abs(length_errors())
    return {"mean": _round(errors.mean()), "max": _round(errors.max()), "target": "mean 0.01, max 0.06"}


def table(figures: dict[str, Any]) -> str:
    """Return the figures for people."""
    lines = []
    for name, part in figures.items():
        rows = part if isinstance(part, list) else [part]
        lines.append(f"-- {name}")
        lines += ["  ".join(f"{key} {value}" for key, value in row.items() if key != "cells") for row in rows]
        for row in rows:
            lines += [
                "    " + "  ".join(f"{key} {value}" for key, value in cell.items()) for cell in row.get("cells", ())
            ]
    return "\n".join(lines) + "\n"


def _bias_rmse(errors: list[float]) -> tuple[float | None, float | None]:
    every: Float64 = np.array(errors, np.float64)
    return (_round(every.mean()), _round(np.sqrt(np.square(every).mean()))) if errors else (None, None)


def _round(value: object) -> float:
    return round(float(np.asarray(value)), 3)


if __name__ == "__main__":
    main()
