"""Width of cracks from the darkness across them.

A dark band of width w and depth D (its darkness against the surface, 0 to 1), blurred by whatever keeps the sum of the
light, loses w * D of light per px of its length: the integral of the profile along the normal. Divided by the depth
this is the width, at any angle and below a pixel too. The depth is seen only where the band is wider than the blur.

So a crack's profiles are averaged in a few classes of equal loss, a blurred band is fitted to each mean profile, and
the depth that these fits agree on turns every loss along the line into a width. Where they leave the depth open, only
width times darkness was seen: there is a reason why the crack is not gradable, and the width given is the mask's.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import Bool, Float32, Float64, Int32, UInt8
from agent.measure.band import fit_bands
from agent.measure.graph import MAX_RADIUS_PX
from agent.measure.length import branch_of
from agent.measure.settings import MeasureSettings

INNER: Final = 37  # samples across the crack
FLANK: Final = 6  # samples of the surface on each side
MARGIN_PX: Final = 2.0  # between the mask's edge and the flank: a tight mask leaves the blurred edges outside
TANGENT_PX: Final = 5  # the normal is told from this many px of line in each direction
MAX_PROFILES: Final = 50_000  # of a frame; beyond, every second, third, ... point is looked at
REMAP_MOST: Final = 30_000  # px and rows; cv2.remap takes at most 32767 of either
CLASSES: Final = 3
LEAST_ERROR: Final = 0.03  # of a depth: real bands are not of one darkness
MIN_PROFILES: Final = 8  # for a class
BRIGHT: Final = 250.0  # of 255: the surface is overexposed
DARK: Final = 10.0  # of 255: the surface is underexposed


Int64: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lines:
    """Points along the centre lines of all cracks of a frame."""

    xy: Float64  # (P, 2) in the frame, px
    radius: Float32  # (P,) half the mask's width, px
    starts: Int32  # (B + 1,) where each branch begins in the points, and the end
    crack: Int32  # (P,) which crack each point belongs to
    usable: Bool  # (P,) False in the caps at free ends and in the balls round junctions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Widths:
    """What could be measured."""

    width_px: Float64  # (P,) NaN where not measured; the mask's own where the crack has a reason
    reasons: tuple[str | None, ...]  # per crack: why its width cannot be relied on, or None


def measure_widths(image_rgb: UInt8, lines: Lines, cracks: int, settings: MeasureSettings) -> Widths:
    """Measure the width at each point of each crack.

    Args:
        image_rgb: (H, W, 3).
        lines: where to measure.
        cracks: how many cracks there are.
        settings: flank, window, contrast and what depth is known well enough.
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
    profiles = _profiles(image_rgb, lines, usable, inner[crack].astype(np.float32), settings)
    width = np.full(len(lines.xy), np.nan)
    reasons: list[str | None] = []
    depths = _depths(profiles, inner, spans)
    for one, span in enumerate(spans):
        reason = _reason(profiles, depths, one, span, lines.radius[usable[span]], settings)
        reasons.append(reason)
        radius = lines.radius[usable[span]]
        if reason is None:
            width[usable[span]] = np.maximum(profiles.loss_px[span] / _depth(depths, one, settings), 0)
        else:
            # twice the distance to the outside is 0 to 1 px too much, depending on angle and parity
            width[usable[span]] = np.where(radius < MAX_RADIUS_PX, 2 * radius - 0.5, np.nan)
    return Widths(width_px=width, reasons=tuple(reasons))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Profiles:
    deficit: Float32  # (N, INNER) darkness against the surface across the crack, centred on the dark
    loss_px: Float64  # (N,) its integral, averaged along the line
    level: Float32  # (N,) light of the surface, 0 to 255


def _profiles(image_rgb: UInt8, lines: Lines, points: Int64, inner: Float32, settings: MeasureSettings) -> _Profiles:
    """Read across the crack, from -inner to +inner px at each point, and the surface beyond."""
    across = np.linspace(-1, 1, INNER, dtype=np.float32)
    beyond = np.linspace(0, settings.flank_px, FLANK, dtype=np.float32)
    offset: Float32 = np.concatenate(
        [-inner[:, None] - beyond, inner[:, None] * across, inner[:, None] + beyond], axis=1
    )
    centre, normal = lines.xy[points].astype(np.float32), _normals(lines)[points].astype(np.float32)
    xy = centre[:, :, None] + normal[:, :, None] * offset[:, None, :]
    light = _sample(image_rgb, xy[:, 0], xy[:, 1])
    left, right = (np.median(light[:, part], axis=1) for part in (slice(FLANK), slice(-FLANK, None)))
    share = (offset[:, FLANK:-FLANK] / (inner + settings.flank_px / 2)[:, None] + 1) / 2
    level = left[:, None] * (1 - share) + right[:, None] * share
    deficit = (1 - light[:, FLANK:-FLANK] / np.maximum(level, 1)).astype(np.float32)
    step = 2 * inner / (INNER - 1)
    loss = _windowed(deficit.sum(axis=1) * step, lines, points, settings.window_px)
    moment = _windowed((deficit @ across) * inner * step, lines, points, settings.window_px)
    shift = np.clip(moment / np.maximum(loss, 0.05) / step, -INNER // 4, INNER // 4).round().astype(np.intp)
    centred = np.clip(np.arange(INNER) + shift[:, None], 0, INNER - 1)
    return _Profiles(
        deficit=np.take_along_axis(deficit, centred, axis=1),
        loss_px=loss,
        level=level[:, INNER // 2].astype(np.float32),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Depths:
    value: Float64  # (C,) darkness of each crack against the surface
    error: Float64  # (C,) its standard error, as a share of it
    contrast: Float64  # (C,) what the picture shows of it


def _depths(profiles: _Profiles, inner: Float64, spans: list[slice]) -> _Depths:
    """Fit the mean profiles of classes of equal loss and average the depths by what they are worth."""
    means: list[Float32] = []
    owner: list[int] = []
    for one, span in enumerate(spans):
        classes = min(CLASSES, (span.stop - span.start) // MIN_PROFILES)
        if classes:
            order = span.start + np.argsort(profiles.loss_px[span], kind="stable")
            means += [profiles.deficit[part].mean(axis=0) for part in np.array_split(order, classes)]
            owner += [one] * classes
    mean, crack = np.array(means, np.float64).reshape(-1, INNER), np.array(owner, np.intp)
    band = fit_bands(mean, (2 * inner / (INNER - 1))[crack])
    share = band.depth_error / np.maximum(band.depth, 1e-3)
    weight = 1 / (np.square(share) + LEAST_ERROR**2)
    count = len(spans)
    total = np.maximum(np.bincount(crack, weight, minlength=count), 1e-9)
    value = np.bincount(crack, weight * band.depth, minlength=count) / total
    # Classes that disagree by more than their errors say that the errors are too small.
    apart = np.square(band.depth / np.maximum(value[crack], 1e-3) - 1)
    excess = np.bincount(crack, weight * apart, minlength=count) / np.maximum(
        np.bincount(crack, minlength=count) - 1, 1
    )
    contrast = np.zeros(count)
    np.maximum.at(contrast, crack, mean.max(axis=1))
    return _Depths(value=value, error=np.sqrt(np.maximum(excess, 1) / total), contrast=contrast)


def _reason(
    profiles: _Profiles, depths: _Depths, crack: int, span: slice, radius: Float32, settings: MeasureSettings
) -> str | None:
    """Say why a crack's width cannot be told from the picture."""
    if span.stop - span.start < MIN_PROFILES:
        return "too short to tell its width"
    level = float(np.median(profiles.level[span]))
    contrast = float(depths.contrast[crack])
    reasons = {
        f"wider than {2 * MAX_RADIUS_PX:.0f} px": np.median(radius) >= MAX_RADIUS_PX,
        "the surface is overexposed": level >= BRIGHT,
        "the surface is underexposed": level <= DARK,
        f"too little contrast: {max(contrast, 0):.0%} darker than the surface": contrast < settings.min_contrast,
        "too narrow for this blur: only width times darkness can be told": np.isnan(_depth(depths, crack, settings)),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _depth(depths: _Depths, crack: int, settings: MeasureSettings) -> float:
    """Return the depth that the user knows, else the one that the picture tells, else NaN."""
    if settings.darkness is not None:
        return settings.darkness
    return float(depths.value[crack]) if depths.error[crack] <= settings.max_depth_error else math.nan


def _normals(lines: Lines) -> Float64:
    index, branch = np.arange(len(lines.xy)), branch_of(lines.starts)
    ahead = lines.xy[np.minimum(index + TANGENT_PX, lines.starts[branch + 1] - 1)]
    chord = ahead - lines.xy[np.maximum(index - TANGENT_PX, lines.starts[branch])]
    chord /= np.maximum(np.linalg.norm(chord, axis=1, keepdims=True), 1e-9)
    return np.stack([-chord[:, 1], chord[:, 0]], axis=1)


def _sample(image_rgb: UInt8, x: Float32, y: Float32) -> Float32:
    """Read the picture's grey between pixels, bilinear; beyond its border the border's value."""
    if not x.size:
        return np.empty(x.shape, np.float32)
    (top, bottom), (left, right) = (_reach(y, image_rgb.shape[0]), _reach(x, image_rgb.shape[1]))
    if max(len(x), bottom - top, right - left) > REMAP_MOST and len(x) > 1:
        half = len(x) // 2
        return np.concatenate([_sample(image_rgb, x[part], y[part]) for part in (slice(half), slice(half, None))])
    around = image_rgb[top:bottom, left:right]
    colour = cv2.remap(around, x - left, y - top, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY), np.float32)


def _reach(positions: Float32, length: int) -> tuple[int, int]:
    """Return the first pixel that is needed along one axis, and the one after the last."""
    first = min(max(math.floor(positions.min()) - 1, 0), length - 1)
    return first, max(min(math.ceil(positions.max()) + 2, length), first + 1)


def _windowed(values: Float64, lines: Lines, points: Int64, window_px: int) -> Float64:
    """Average values at some of the points over a stretch of their branch."""
    branch = branch_of(lines.starts)[points]
    low = np.maximum(points - window_px // 2, lines.starts[branch])
    high = np.minimum(points + window_px // 2 + 1, lines.starts[branch + 1])
    total, count = np.zeros(len(lines.xy) + 1), np.zeros(len(lines.xy) + 1)
    total[points + 1], count[points + 1] = values, 1
    total, count = np.cumsum(total), np.cumsum(count)
    mean: Float64 = (total[high] - total[low]) / (count[high] - count[low])
    return mean
