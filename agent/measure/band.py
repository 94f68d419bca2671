"""What darkness a profile across a crack allows: a blurred dark band, compared at every width and blur of a grid.

Of a band much narrower than its blur only width times darkness is seen; of one much wider, both. Between them the shape
of the profile tells something, and how much is what matters. So nothing is fitted: the misfit of all bands is looked
at, and what remains is how likely each darkness is, for every blur.

Profiles are made even first (their centre is known), which drops slopes of light; their odd part is nothing but noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import Float32, Float64

Int64: TypeAlias = NDArray[np.int64]

HALF: Final = 18  # samples on each side of the middle one
SAMPLES: Final = 2 * HALF + 1
WIDTH_RATIO: Final = 1.05  # of neighbouring widths of the grid
BLUR_RATIO: Final = 1.12
BLUR_FINER: Final = 3  # blurs looked at for each one of the grid
DEPTH_RATIO: Final = 1.03
LEAST_DEPTH: Final = 0.05
BLURS_PX: Final = (0.5, 4.0)  # a pixel's own extent and the reading between pixels blur by half a pixel
CORRELATED_PX: Final = 1.0  # samples closer than this repeat each other, as blur and grain of a surface do
MISFIT: Final = 0.012  # of the depth: real profiles are not quite blurred bands
BLUR_UNEVEN: Final = 0.06  # standard deviation of the blur within a frame, as a share
UNEVEN: Final = 0.12  # standard deviation of the darkness along a crack, as a share


def depth_grid() -> Float64:
    """Return the depths looked at: darkness of the unblurred band against the surface, ascending to 1."""
    count = math.floor(-math.log(LEAST_DEPTH) / math.log(DEPTH_RATIO)) + 1
    return np.asarray(DEPTH_RATIO ** np.arange(1.0 - count, 1.0), np.float64)


def blur_grid() -> Float64:
    """Return the blurs looked at: standard deviation, px, ascending."""
    ratio = BLUR_RATIO ** (1 / BLUR_FINER)
    count = math.floor(math.log(BLURS_PX[1] / BLURS_PX[0]) / math.log(ratio)) + 1
    return np.asarray(BLURS_PX[0] * ratio ** np.arange(count), np.float64)


def snapped(inner_px: Float64) -> Float64:
    """Return the reach of profiles, raised so that blurs in px and in samples lie on one grid."""
    steps = np.ceil(np.log(inner_px / HALF / BLURS_PX[0]) / math.log(BLUR_RATIO) - 1e-9)
    return np.asarray(HALF * BLURS_PX[0] * BLUR_RATIO**steps, np.float64)


def darkness_quantiles(profiles: Float64, inner_px: Float64, crack: NDArray[np.intp]) -> Float64:
    """Return the 5, 50 and 95 % quantiles of each stretch's darkness, (M, 3), given all that its frame shows.

    Beforehand every ratio of two darknesses and of two blurs is as likely as any other. A frame has one blur and a
    crack one darkness, more or less, so that the stretches that tell them help those that do not.

    Args:
        profiles: (M, SAMPLES) mean profiles of stretches of cracks, as in `depth_likelihood`.
        inner_px: (M,)
        crack: (M,) which crack each stretch belongs to, ascending.
    """
    depths = depth_grid()
    if not len(profiles):
        return np.empty((0, 3))
    joint = np.exp(depth_likelihood(profiles, inner_px))
    seen = joint.sum(axis=1)
    seen /= seen.max(axis=1, keepdims=True)
    told = np.log(_smoothed(seen, BLUR_UNEVEN / math.log(BLUR_RATIO) * BLUR_FINER) + 1e-3)
    blur = (told.sum(axis=0) - told) / math.sqrt(max(len(told) - 1, 1))
    blur = np.exp(blur - blur.max(axis=1, keepdims=True)).astype(np.float32)
    own = (joint @ blur[:, :, None])[:, :, 0].astype(np.float64)
    own /= own.max(axis=1, keepdims=True)
    uneven = UNEVEN / math.log(DEPTH_RATIO)
    alike = np.log(_smoothed(own, uneven) + 1e-4)
    total = np.zeros((crack[-1] + 1, len(depths)))
    np.add.at(total, crack, alike)
    count = np.bincount(crack)[crack] - 1
    others = (total[crack] - alike) / np.sqrt(np.maximum(count, 1))[:, None]
    others = np.exp(others - others.max(axis=1, keepdims=True))
    chance = np.cumsum(own * _smoothed(others, uneven), axis=1)
    chance /= chance[:, -1:]
    log_depth = np.log(depths) + math.log(DEPTH_RATIO) / 2  # what was added up reaches to the middle between two
    return np.exp([np.interp((0.05, 0.5, 0.95), one, log_depth) for one in chance])


def _smoothed(rows: Float32 | Float64, sigma: float) -> Float64:
    """Blur each row by a Gaussian of so many columns."""
    blurred = cv2.GaussianBlur(rows.astype(np.float32), (0, 0), sigmaX=sigma, sigmaY=1e-6)
    return np.asarray(blurred, np.float64)


def depth_likelihood(profiles: Float64, inner_px: Float64) -> Float32:
    """Return the logarithm of each profile's likelihood, (M, depths, blurs), 0 at its best.

    Args:
        profiles: (M, SAMPLES) darkness across the crack from -inner to +inner px, 0 on the surface, its centroid in the
            middle.
        inner_px: (M,) as `snapped` gives it.
    """
    grid = _grid()
    even = (profiles + profiles[:, ::-1])[:, HALF:] / 2
    odd = (profiles - profiles[:, ::-1])[:, HALF + 1 :] / 2
    ramp = np.arange(1.0, HALF + 1)
    odd = odd - (odd @ ramp / (ramp @ ramp))[:, None] * ramp  # a slope of light is no noise
    flat = (even - (even @ grid.weight)[:, None] / grid.weight.sum()).astype(np.float32)
    whole = np.square(flat) @ grid.weight.astype(np.float32)
    noise = 2 * np.square(odd).sum(axis=1) * 0.7  # what a ramp takes of it is allowed for
    step = inner_px / HALF
    first = np.rint(np.log(BLURS_PX[0] / step) / math.log(BLUR_RATIO)).astype(np.int64) - grid.first_blur
    found = np.empty((len(profiles), len(depth_grid()), len(blur_grid())), np.float32)
    for blur in np.unique(first).tolist():  # stretches of like width
        some = np.flatnonzero(first == blur)
        cost, depth = _misfit(flat[some], whole[some], blur)
        variance = (cost.min(axis=(1, 2)) + noise[some]) / (SAMPLES - 6) + np.square(MISFIT * depth) + 1e-7
        cost *= (np.minimum(1, step[some] / CORRELATED_PX) / variance).astype(np.float32)[:, None, None]
        found[some] = _by_depth(cost, profiles[some].sum(axis=1))
    return found


def _misfit(flat: Float32, whole: Float32, first: int) -> tuple[Float32, Float64]:
    """Return each profile's misfit to each band at its best depth, (M, widths, blurs), and the depth of the best."""
    grid = _grid()
    blurs = slice(first, first + (len(blur_grid()) - 1) // BLUR_FINER + 1)
    shape, norm = grid.shape[:, blurs], grid.norm[:, blurs]
    along = ((flat * grid.weight.astype(np.float32)) @ shape.reshape(-1, HALF + 1).T).reshape(len(flat), *norm.shape)
    np.maximum(along, 0, out=along)  # a band brighter than the surface is no crack
    cost = np.maximum(whole[:, None, None] - np.square(along) / norm, 0)
    width, blur = np.unravel_index(cost.reshape(len(cost), -1).argmin(axis=1), norm.shape)
    depth = along[np.arange(len(cost)), width, blur] / norm[width, blur]
    return cost, np.clip(depth, 0, 1).astype(np.float64)


def _by_depth(misfit: Float32, loss: Float64) -> Float32:
    """Read the misfit, (M, widths, blurs), at the widths that go with each depth: loss / depth, in samples."""
    grid = _grid()
    width = np.maximum(loss, 1e-3)[:, None] / depth_grid()
    at = np.clip(np.log(width / grid.width[0]) / math.log(WIDTH_RATIO), 1, len(grid.width) - 3)
    base = np.floor(at).astype(np.int64)
    each = np.arange(len(misfit))[:, None]
    weights = _cubic(at - base).astype(np.float32)
    cubic = sum(weights[k, ..., None] * misfit[each, base + (k - 1)] for k in range(4))
    finer = cubic @ _finer(misfit.shape[2]).T
    finer -= finer.min(axis=(1, 2), keepdims=True)
    return np.asarray(finer / -2, np.float32)


def _cubic(t: Float64) -> Float64:
    """Return the weights of the four neighbours of a place t past the second, (4, ...); Catmull and Rom."""
    return np.stack([
        (-t + 2 * t**2 - t**3) / 2,
        (2 - 5 * t**2 + 3 * t**3) / 2,
        (t + 4 * t**2 - 3 * t**3) / 2,
        (t**3 - t**2) / 2,
    ])  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    width: Float64  # (W,) in samples
    first_blur: int  # index of the first blur, counted in ratios from a blur of one sample
    shape: Float32  # (W, B, HALF + 1) bands of depth 1, from the middle outwards, their mean taken off
    norm: Float32  # (W, B) their sum of squares
    weight: Float64  # (HALF + 1,) how many samples stand for one


@lru_cache(maxsize=1)
def _grid() -> _Grid:
    width = np.asarray(0.4 * WIDTH_RATIO ** np.arange(96), np.float64)  # to 41 samples
    first = math.ceil(math.log(0.12) / math.log(BLUR_RATIO))
    blur = BLUR_RATIO ** np.arange(first, math.floor(math.log(26) / math.log(BLUR_RATIO)) + 1)
    weight = np.full(HALF + 1, 2.0)
    weight[0] = 1
    t = np.arange(HALF + 1.0)
    scale, half = math.sqrt(2) * blur[:, None], width[:, None, None] / 2
    shape = (_erf((t + half) / scale) - _erf((t - half) / scale)) / 2
    shape -= (shape * weight).sum(axis=2, keepdims=True) / weight.sum()
    norm = np.maximum((np.square(shape) * weight).sum(axis=2), 1e-9)
    return _Grid(
        width=width,
        first_blur=first,
        shape=shape.astype(np.float32),
        norm=norm.astype(np.float32),
        weight=weight,
    )


@lru_cache(maxsize=1)
def _finer(blurs: int) -> Float32:
    """Return the matrix that reads values between the grid's blurs, (finer, blurs)."""
    at = np.arange(len(blur_grid())) / BLUR_FINER
    base = np.minimum(at.astype(np.int64), blurs - 1)
    matrix = np.zeros((len(at), blurs), np.float32)
    for k, weight in enumerate(_cubic(at - base)):
        np.add.at(matrix, (np.arange(len(at)), np.clip(base + k - 1, 0, blurs - 1)), weight)
    return matrix


def _erf(x: Float64) -> Float64:
    """Error function to 1.5e-7; Abramowitz and Stegun, 7.1.26."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    value: Float64 = np.sign(x) * (1 - series * np.exp(-np.square(x)))
    return value
