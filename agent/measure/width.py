"""Width of cracks from the darkness across them.

A dark band of width w and depth D (its darkness against the surface, 0 to 1), blurred by whatever keeps the sum of the
light, loses w * D of light per px of its length: the integral of the profile along the normal. Divided by the depth
this is the width, at any angle and below a pixel too. The depth is seen only where the band is wider than the blur.

So the mean profile of each stretch of a crack is asked which depths it allows (`band`), given that a frame has one blur
and a crack about one darkness; the losses along the line, less what the surface's texture adds to their spread, become
widths; and what remains open of the depth, with the texture, becomes the 90 % interval of the 95th percentile. Where
that is too wide, only width times darkness was seen: the crack is not gradable, and the width given is the mask's.

The interval's four figures were fitted on 2600 rendered cracks; `tests/bench/bench_width.py` checks it on others.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import Float32, Float64, UInt8
from agent.measure.band import SAMPLES, darkness_quantiles, snapped
from agent.measure.graph import MAX_RADIUS_PX
from agent.measure.profiles import MARGIN_PX, Lines, Profiles, read_profiles
from agent.measure.settings import MeasureSettings

MAX_PROFILES: Final = 5_000  # of a frame; beyond, every second, third, ... point is looked at
STRETCH_PX: Final = 40  # of which the mean profile tells the darkness
MOST_STRETCHES: Final = 128  # of a frame; beyond, they are longer
MIN_PROFILES: Final = 8  # for a width
BRIGHT: Final = 250.0  # of 255: the surface is overexposed
DARK: Final = 10.0  # of 255: the surface is underexposed
LEAST_WIDTH_PX: Final = 0.1
WIDEST: Final = 85  # percentile from which on a point is one of the widest, which make the 95th

# The interval is [w exp(-BELOW a), w exp(ABOVE b)] with a, b the root of the sum of squares of the three errors.
DARKNESS_ERROR: Final = 0.85  # times half the depth's own 90 % interval, in logarithms
TEXTURE_ERROR: Final = 0.56  # times the standard error of a stretch's width, as a share of the 95th percentile
LEAST_ERROR: Final = 0.045  # of a width, as a share: cracks are no bands
BELOW: Final = 2.5  # more than upwards: what lies beside a crack (dirt, a lit edge, a spall) mostly makes it wider
ABOVE: Final = 1.4

TOO_NARROW: Final = "too narrow for this blur: only width times darkness can be told"
TOO_FEW_PX: Final = "too few pixels per mm: narrower than a pixel, of which only width times darkness can be told"
TOO_ROUGH: Final = "the surface is too rough: its texture hides the width"
TOO_FAINT: Final = "too little contrast: no darker than the surface along most of it"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Widths:
    """What could be measured."""

    width_px: Float64  # (P,) NaN where not measured; the mask's own where the crack has a reason
    interval_px: tuple[tuple[float, float] | None, ...]  # per crack: 90 % interval of the 95th percentile
    reasons: tuple[str | None, ...]  # per crack: why its width cannot be relied on, or None


def measure_widths(image_rgb: UInt8, lines: Lines, cracks: int, settings: MeasureSettings) -> Widths:
    """Measure the width at each point of each crack.

    Args:
        image_rgb: (H, W, 3).
        lines: where to measure.
        cracks: how many cracks there are.
        settings: flank, window, contrast and how wide an interval may be.
    """
    usable = np.flatnonzero(lines.usable)
    usable = usable[:: 1 + len(usable) // MAX_PROFILES]
    usable = usable[np.argsort(lines.crack[usable], kind="stable")]  # each crack's points together
    crack = lines.crack[usable]
    bounds = np.searchsorted(crack, np.arange(cracks + 1))
    spans = [slice(a, b) for a, b in itertools.pairwise(bounds.tolist())]
    inner = np.full(cracks, MARGIN_PX)
    for one, span in enumerate(spans):
        if span.stop > span.start:
            inner[one] += np.percentile(lines.radius[usable[span]], 90)
    inner = snapped(inner)
    profiles = read_profiles(image_rgb, lines, usable, inner[crack].astype(np.float32), settings)
    depths = _depths(profiles, inner, spans, settings)
    width = np.full(len(lines.xy), np.nan)
    measured = [
        _measured(profiles, depths, one, span, lines.radius[usable[span]], settings) for one, span in enumerate(spans)
    ]
    for span, (along, _, _) in zip(spans, measured, strict=True):
        width[usable[span]] = along
    return Widths(
        width_px=width,
        interval_px=tuple(interval for _, interval, _ in measured),
        reasons=tuple(reason for _, _, reason in measured),
    )


def _measured(
    profiles: Profiles, depths: _Depths, crack: int, span: slice, radius: Float32, settings: MeasureSettings
) -> tuple[Float64, tuple[float, float] | None, str | None]:
    """Return a crack's widths along its line, the interval of their 95th percentile, and why there is none."""
    # twice the distance to the outside is 0 to 1 px too much, depending on angle and parity
    of_mask = np.where(radius < MAX_RADIUS_PX, 2 * radius - 0.5, np.nan)
    reason = _reason(profiles, depths, crack, span, radius, settings)
    if reason is not None:
        return of_mask, None, reason
    low, depth, high = depths.along[:, span]
    loss, noise = profiles.loss_px[span] / depth, profiles.noise_px[span] / depth
    spread, error = float(loss.var()), float(np.mean(np.square(noise)))
    truth = math.sqrt(max(1 - error / max(spread, 1e-12), 0))  # texture widens the spread along the line: take it off
    middle = float(loss.mean())
    width = np.maximum(middle + truth * (loss - middle), 0)
    p95 = float(np.percentile(width, 95))
    if p95 < LEAST_WIDTH_PX:
        return of_mask, None, TOO_FAINT
    widest = width >= np.percentile(width, WIDEST)
    texture = TEXTURE_ERROR * math.sqrt(error) / p95
    darker, paler = (DARKNESS_ERROR * float(np.log(one)[widest].mean()) for one in (high / depth, depth / low))
    below = BELOW * math.hypot(darker, texture, LEAST_ERROR)
    above = ABOVE * math.hypot(paler, texture, LEAST_ERROR)
    interval = p95 * math.exp(-min(below, 5)), p95 * math.exp(min(above, 5))
    if settings.darkness is None and interval[1] - interval[0] > settings.max_interval * p95:
        if texture > max(darker, paler):
            return of_mask, None, TOO_ROUGH
        return of_mask, None, TOO_FEW_PX if p95 < 1 else TOO_NARROW
    return width, interval, None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Depths:
    along: Float64  # (3, N) 5, 50 and 95 % quantiles of the darkness against the surface at each point
    contrast: Float64  # (C,) what the picture shows of it


def _depths(profiles: Profiles, inner: Float64, spans: list[slice], settings: MeasureSettings) -> _Depths:
    """Tell the darkness of each stretch of the cracks from its mean profile."""
    total = sum(span.stop - span.start for span in spans)
    stretch = max(STRETCH_PX, total // MOST_STRETCHES)
    means: list[Float32] = []
    owner: list[int] = []
    parts: list[NDArray[np.intp]] = []
    for one, span in enumerate(spans):
        length = span.stop - span.start
        if length >= MIN_PROFILES:
            parts += np.array_split(np.arange(span.start, span.stop), max(round(length / stretch), 1))
            owner += [one] * (len(parts) - len(owner))
    means = [profiles.deficit[part[0] : part[-1] + 1].mean(axis=0) for part in parts]
    mean, crack = np.array(means, np.float64).reshape(-1, SAMPLES), np.array(owner, np.intp)
    contrast = np.zeros(len(spans))
    np.maximum.at(contrast, crack, mean.max(axis=1, initial=0))
    along = np.full((3, total), settings.darkness or 1.0)
    if settings.darkness is None:
        quantiles = darkness_quantiles(_centred(mean), inner[crack], crack)
        for part, one in zip(parts, quantiles, strict=True):
            along[:, part] = one[:, None]
    return _Depths(along=along, contrast=contrast)


def _centred(profiles: Float64) -> Float64:
    """Move each profile's centroid to its middle sample."""
    at = np.arange(SAMPLES) - SAMPLES // 2
    bell = np.maximum(profiles, 0)
    shift = np.clip((bell @ at) / np.maximum(bell.sum(axis=1), 1e-9), -SAMPLES // 4, SAMPLES // 4)
    base = np.floor(shift).astype(np.intp)[:, None]
    t = shift[:, None] - base
    low, high = (np.clip(np.arange(SAMPLES) + base + k, 0, SAMPLES - 1) for k in (0, 1))
    moved = np.take_along_axis(profiles, low, axis=1) * (1 - t) + np.take_along_axis(profiles, high, axis=1) * t
    return np.asarray(moved, np.float64)


def _reason(
    profiles: Profiles, depths: _Depths, crack: int, span: slice, radius: Float32, settings: MeasureSettings
) -> str | None:
    """Say why a crack's width cannot be told from the picture."""
    if span.stop - span.start < MIN_PROFILES:
        return "too short to tell its width"
    level = float(np.median(profiles.level[span]))
    contrast = float(depths.contrast[crack])
    reasons = {
        f"wider than {2 * MAX_RADIUS_PX:.0f} px": np.median(radius) >= MAX_RADIUS_PX,
        "glare: the surface is overexposed": level >= BRIGHT,
        "the surface is underexposed": level <= DARK,
        f"too little contrast: {max(contrast, 0):.0%} darker than the surface": contrast < settings.min_contrast,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
