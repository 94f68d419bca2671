"""Measuring cracks against the obvious library way, on a 12-megapixel map with 0.7 % crack pixels.

The library way labels, takes region properties, thins and transforms the whole frame (scikit-image and scipy); it says
nothing yet about width along the crack. Ours does everything up to the finished cracks. Process CPU time, one thread,
interleaved, medians; and the errors of length and width on bands of known size.

Run: python -m tests.bench.bench_measure
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage
from skimage import measure, morphology

from agent.contract.arrays import UInt8
from agent.contract.frame import UNKNOWN_SCALE
from agent.measure import MeasureSettings, measure_cracks
from tests.agent.measure.bands import coverage, generous_mask, photo

REPEATS = 7
TARGET = 15


def main() -> None:
    """Print the figures; with --json as one object."""
    cv2.setNumThreads(1)
    probability, frame = scene()
    ours, library = medians(lambda: ours_on(probability, frame), lambda: library_on(probability))
    lengths = length_errors()
    figures = {
        "crack_share": round(float((probability > 127).mean()), 4),
        "cracks": len(ours_on(probability, frame)),
        "ours_ms": round(ours, 1),
        "library_ms": round(library, 1),
        "ratio": round(library / ours, 1),
        "target": TARGET,
        "length_error_mean": round(float(lengths.mean()), 4),
        "length_error_mean_abs": round(float(np.abs(lengths).mean()), 4),
        "length_error_max": round(float(np.abs(lengths).max()), 4),
    }
    sys.stdout.write(json.dumps(figures) + "\n" if "--json" in sys.argv else table(figures))


def scene() -> tuple[UInt8, UInt8]:
    """Draw wandering cracks of 3 to 8 px on a 4000 x 3000 frame."""
    rng = np.random.default_rng(0)
    mask = np.zeros((3000, 4000), np.uint8)
    for _ in range(10):
        heading = rng.normal(0, 8, 2)
        path = np.cumsum(rng.normal(0, 6, (150, 2)) + heading, axis=0) + rng.uniform((600, 600), (3400, 2400))
        cv2.polylines(mask, [path.astype(np.int32)], False, 255, int(rng.integers(3, 9)))
    light = cv2.GaussianBlur(np.where(mask, 70, 170).astype(np.uint8), (0, 0), 1)
    return mask, np.repeat(light[..., None], 3, axis=2)


def ours_on(probability: UInt8, frame: UInt8) -> list[object]:
    """Measure everything."""
    return list(measure_cracks(probability, frame, threshold=0.5, scale=UNKNOWN_SCALE, settings=MeasureSettings()))


def library_on(probability: UInt8) -> None:
    """Label, describe, thin and transform the frame."""
    mask = probability > 127
    regions = measure.regionprops(measure.label(mask, connectivity=2))  # type: ignore[no-untyped-call]
    for region in regions:
        _ = region.area, region.bbox, region.orientation
    skeleton = morphology.skeletonize(mask)  # type: ignore[no-untyped-call]
    _ = 2 * ndimage.distance_transform_edt(mask)[skeleton]


def medians(*ways: Callable[[], object]) -> list[float]:
    """Return each way's median CPU time, ms."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(REPEATS):
        for way, taken in zip(ways, times, strict=True):
            start = time.process_time()
            way()
            taken.append(1000 * (time.process_time() - start))
    return [statistics.median(taken) for taken in times]


def length_errors() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the relative errors over widths of 1.5 to 10 px and all angles."""
    rng = np.random.default_rng(1)
    errors = []
    for width in (1.5, 2, 3, 5, 7, 10):
        for angle in np.arange(0, 180, 4.5):
            length = rng.uniform(80, 200)
            band = coverage(width=width, length=length, angle_deg=angle)
            frame = photo(band, darkness=0.5, blur=0.7, noise=0, rng=rng)
            probability = np.rint(255 * band).astype(np.uint8)
            (crack,) = measure_cracks(
                probability, frame, threshold=0.5, scale=UNKNOWN_SCALE, settings=MeasureSettings()
            )
            errors.append(crack.length_px / length - 1)
    return np.array(errors)


def width_table() -> str:
    """Return the errors of the median width by width and blur: bands of 0.2 to 0.6 darkness, 2 % noise."""
    rows = ["width blur | gradable | bias   rmse px"]
    for width in (1, 1.5, 2, 3, 4, 5, 8):
        for blur in (0.5, 1.0, 1.5):
            rng = np.random.default_rng(round(100 * width + 10 * blur))
            errors = []
            for _ in range(20):
                band = coverage(width=width, length=150, angle_deg=rng.uniform(0, 180))
                frame = photo(band, darkness=rng.uniform(0.2, 0.6), blur=blur, noise=0.02, rng=rng)
                cracks = measure_cracks(
                    generous_mask(band), frame, threshold=0.5, scale=UNKNOWN_SCALE, settings=MeasureSettings()
                )
                errors += [crack.width_p50_px - width for crack in cracks if crack.gradable and crack.width_p50_px]
            bias, rmse = (np.mean(errors), np.sqrt(np.mean(np.square(errors)))) if errors else (np.nan, np.nan)
            rows.append(f"{width:5} {blur:4} | {len(errors):3} / 20 | {bias:+.3f} {rmse:.3f}")
    return "\n".join(rows)


def table(figures: dict[str, float]) -> str:
    """Return the figures for people."""
    return "\n".join(f"{name:22} {value}" for name, value in figures.items()) + "\n\n" + width_table() + "\n"


if __name__ == "__main__":
    main()
