"""Reading across cracks: the darkness on the way from one side to the other, and what the surface beside is like."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import Bool, Float32, Float64, Int32, UInt8
from agent.measure.band import SAMPLES
from agent.measure.length import branch_of, smoothed
from agent.measure.settings import MeasureSettings

FLANK: Final = 6  # samples of the surface on each side
MARGIN_PX: Final = 2.0  # between the mask's edge and the flank: a tight mask leaves the blurred edges outside
TANGENT_PX: Final = 5  # the normal is told from this many px of line in each direction
REMAP_MOST: Final = 30_000  # px and rows; cv2.remap takes at most 32767 of either
ALIGNMENTS: Final = 3
ALIGNMENT_PX: Final = 3.0  # as far as a profile is moved
BESIDE_EVERY: Final = 3  # the surface is looked at beside every third point
BESIDE_SAMPLES: Final = 13
MEDIAN_OF_NORMAL: Final = 0.6745  # of its absolute value, in standard deviations

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
class Profiles:
    """What was read at N points, each crack's together."""

    deficit: Float32  # (N, SAMPLES) darkness against the surface across the crack, centred on the dark
    loss_px: Float64  # (N,) its integral, averaged along the line
    noise_px: Float64  # (N,) standard error of that, as the surface beside the crack tells
    level: Float32  # (N,) light of the surface, 0 to 255


def read_profiles(image_rgb: UInt8, lines: Lines, points: Int64, inner: Float32, settings: MeasureSettings) -> Profiles:
    """Read across the crack, from -inner to +inner px at each point, and the surface beyond."""
    normal = _normals(lines)[points].astype(np.float32)
    centre = smoothed(lines.xy, lines.starts)[points].astype(np.float32)  # thinning wobbles
    deficit, level = _across(image_rgb, centre, normal, inner, SAMPLES, settings.flank_px)
    step = (2 * inner / (SAMPLES - 1)).astype(np.float32)
    own = _windowed(lines.radius[points].astype(np.float64), lines, points, settings.window_px) + MARGIN_PX
    return Profiles(
        deficit=_aligned(deficit, lines, points, settings.window_px, step),
        loss_px=_windowed(_integral(deficit, inner, own), lines, points, settings.window_px),
        noise_px=_noise_px(image_rgb, lines, points, inner, own, centre, normal, settings),
        level=level,
    )


def _across(
    image_rgb: UInt8, centre: Float32, normal: Float32, inner: Float32, samples: int, flank_px: float
) -> tuple[Float32, Float32]:
    """Return the darkness across lines against the surface on both sides, (N, samples), and the surface's light."""
    across = np.linspace(-1, 1, samples, dtype=np.float32)
    beyond = np.linspace(0, flank_px, FLANK, dtype=np.float32)
    offset: Float32 = np.concatenate(
        [-inner[:, None] - beyond, inner[:, None] * across, inner[:, None] + beyond], axis=1
    )
    xy = centre[:, :, None] + normal[:, :, None] * offset[:, None, :]
    light = _sample(image_rgb, xy[:, 0], xy[:, 1])
    left, right = light[:, :FLANK].mean(axis=1), light[:, -FLANK:].mean(axis=1)
    share = (offset[:, FLANK:-FLANK] / (inner + flank_px / 2)[:, None] + 1) / 2
    level = left[:, None] * (1 - share) + right[:, None] * share
    deficit = (1 - light[:, FLANK:-FLANK] / np.maximum(level, 1)).astype(np.float32)
    return deficit, level[:, samples // 2].astype(np.float32)


def _integral(deficit: Float32, inner: Float32, reach: Float64) -> Float64:
    """Integrate profiles from -reach to +reach px: what lies farther out is not this stretch of the crack."""
    samples = deficit.shape[1]
    step = 2 * inner / (samples - 1)
    place = np.abs(np.linspace(-1, 1, samples)) * inner[:, None]
    share = np.clip((reach[:, None] - place) / step[:, None] + 0.5, 0, 1)
    total: Float64 = (deficit * share).sum(axis=1) * step
    return total


def _noise_px(
    image_rgb: UInt8,
    lines: Lines,
    points: Int64,
    inner: Float32,
    own: Float64,
    centre: Float32,
    normal: Float32,
    settings: MeasureSettings,
) -> Float64:
    """Return the standard error of losses, (N,), px: what is lost along lines beside the crack, where there is none."""
    every = slice(None, None, BESIDE_EVERY)
    some = points[every]
    aside = (2 * inner + settings.flank_px + 1)[every, None] * normal[every]
    losses = []
    for shifted in (centre[every] + aside, centre[every] - aside):
        deficit, _ = _across(image_rgb, shifted, normal[every], inner[every], BESIDE_SAMPLES, settings.flank_px)
        loss = _integral(deficit, inner[every], own[every])
        losses.append(_windowed(loss, lines, some, settings.window_px))
    both = np.abs(np.stack(losses, axis=1))
    crack = lines.crack[points]
    owner = crack[every]
    bounds = np.searchsorted(owner, np.arange(crack[-1] + 2)) if len(crack) else np.zeros(1, np.intp)
    error = [
        float(np.median(both[a:b])) / MEDIAN_OF_NORMAL if b > a else 0.0 for a, b in itertools.pairwise(bounds.tolist())
    ]
    return np.asarray(error, np.float64)[crack]


def _aligned(deficit: Float32, lines: Lines, points: Int64, window_px: int, step: Float32) -> Float32:
    """Move each profile so that the edges of the crack lie where they lie in the crack's mean profile.

    The shift is the one of least squares, so that only the edges count, and not the noise beside them.
    """
    crack = lines.crack[points]
    first = np.flatnonzero(np.append(True, np.diff(crack) > 0)) if len(crack) else np.empty(0, np.intp)
    count = np.diff(np.append(first, len(crack)))
    number = np.repeat(np.arange(len(first)), count)
    middle = np.zeros(len(deficit))
    aligned = deficit
    index = np.arange(SAMPLES)
    for _ in range(ALIGNMENTS):
        mean = np.add.reduceat(aligned, first, axis=0) / count[:, None] if len(first) else np.empty((0, SAMPLES))
        slope = np.gradient(mean, axis=1)
        power = np.maximum(np.square(slope).sum(axis=1), 1e-9)
        behind = np.einsum("ns,ns->n", aligned - mean[number], slope[number], optimize=True) / power[number]
        middle -= _windowed(behind, lines, points, window_px)
        reach = ALIGNMENT_PX / step
        middle = np.clip(middle, -reach, reach)
        at = np.clip(index + np.rint(middle).astype(np.intp)[:, None], 0, SAMPLES - 1)
        aligned = np.take_along_axis(deficit, at, axis=1)
    return aligned


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
