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

from agent.contract.arrays import Float64

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
    joint = np.exp(depth_likelihood(profiles, inner_px).astype(np.float32))
    seen = joint.sum(axis=2)
    seen /= seen.max(axis=1, keepdims=True)
    told = np.log(_smoothed(seen, BLUR_UNEVEN / math.log(BLUR_RATIO) * BLUR_FINER) + 1e-3)
    blur = (told.sum(axis=0) - told) / math.sqrt(max(len(told) - 1, 1))
    blur = np.exp(blur - blur.max(axis=1, keepdims=True)).astype(np.float32)
    own = np.einsum("mbd,mb->md", joint, blur, optimize=True)
    own /= own.max(axis=1, keepdims=True)
    like = own
    uneven = UNEVEN / math.log(DEPTH_RATIO)
    alike = np.log(_smoothed(like / like.max(axis=1, keepdims=True), uneven) + 1e-4)
    total = np.zeros((crack[-1] + 1, len(depths)))
    np.add.at(total, crack, alike)
    count = np.bincount(crack)[crack] - 1
    others = (total[crack] - alike) / np.sqrt(np.maximum(count, 1))[:, None]
    others = np.exp(others - others.max(axis=1, keepdims=True))
    chance = np.cumsum(own * _smoothed(others, uneven), axis=1)
    chance /= chance[:, -1:]
    log_depth = np.log(depths) + math.log(DEPTH_RATIO) / 2  # what was added up reaches to the middle between two
    return np.exp([np.interp((0.05, 0.5, 0.95), one, log_depth) for one in chance])


def _smoothed(rows: Float64, sigma: float) -> Float64:
    """Blur each row by a Gaussian of so many columns."""
    blurred = cv2.GaussianBlur(rows.astype(np.float32), (0, 0), sigmaX=sigma, sigmaY=1e-6)
    return np.asarray(blurred, np.float64)


def depth_likelihood(profiles: Float64, inner_px: Float64) -> Float64:
    """Return the logarithm of each profile's likelihood, (M, blurs, depths), 0 at its best.

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
    weighted = even * grid.weight
    flat = even - weighted.sum(axis=1, keepdims=True) / grid.weight.sum()
    step = inner_px / HALF
    first = np.rint(np.log(BLURS_PX[0] / step) / math.log(BLUR_RATIO)).astype(np.int64) - grid.first_blur
    coarse = (len(blur_grid()) - 1) // BLUR_FINER + 1
    rows = np.clip(first[:, None] + np.arange(coarse), 0, grid.shape.shape[0] - 1)  # blurs of each profile
    along = np.einsum("bws,ms->mbw", grid.shape, flat * grid.weight, optimize=True)
    along = np.take_along_axis(along, rows[:, :, None], axis=1)
    depth = along / grid.norm[rows]  # the depth at which each band fits best
    whole = (np.square(flat) * grid.weight).sum(axis=1)
    cost = np.maximum(whole[:, None, None] - along * depth, 0)
    cost[depth <= 0] = np.broadcast_to(whole[:, None, None], cost.shape)[depth <= 0]
    best = cost.reshape(len(cost), -1)
    place = best.argmin(axis=1)
    best_depth = np.clip(depth.reshape(len(cost), -1)[np.arange(len(cost)), place], 0, 1)
    noise = (best.min(axis=1) + 2 * np.square(odd).sum(axis=1) * 0.7) / (SAMPLES - 6)
    variance = noise + np.square(MISFIT * best_depth) + 1e-7
    misfit = cost / variance[:, None, None] * np.minimum(1, step / CORRELATED_PX)[:, None, None]
    return _by_depth(misfit, profiles.sum(axis=1) * step, step)


def _by_depth(misfit: Float64, loss_px: Float64, step: Float64) -> Float64:
    """Read the misfit, (M, blurs, widths), at the widths that go with each depth: loss / depth."""
    grid, depths = _grid(), depth_grid()
    width = np.maximum(loss_px, 1e-3)[:, None] / depths / step[:, None]
    at = np.clip((np.log(width / grid.width[0])) / math.log(WIDTH_RATIO), 1, len(grid.width) - 3)
    base = np.floor(at).astype(np.int64)
    t = (at - base)[:, None, :]
    near = [np.take_along_axis(misfit, (base + k)[:, None, :], axis=2) for k in (-1, 0, 1, 2)]
    cubic = near[1] + t / 2 * (
        near[2]
        - near[0]
        + t * (2 * near[0] - 5 * near[1] + 4 * near[2] - near[3] + t * (3 * (near[1] - near[2]) + near[3] - near[0]))
    )
    finer = np.einsum("fb,mbd->mfd", _finer(misfit.shape[1]), cubic, optimize=True)
    finer -= finer.min(axis=(1, 2), keepdims=True)
    return np.asarray(-finer / 2, np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    width: Float64  # (W,) in samples
    first_blur: int  # index of the first blur, counted in ratios from a blur of one sample
    shape: Float64  # (B, W, HALF + 1) bands of depth 1, from the middle outwards, their mean taken off
    norm: Float64  # (B, W) their sum of squares
    weight: Float64  # (HALF + 1,) how many samples stand for one


@lru_cache(maxsize=1)
def _grid() -> _Grid:
    width = np.asarray(0.4 * WIDTH_RATIO ** np.arange(96), np.float64)  # to 41 samples
    first = math.ceil(math.log(0.12) / math.log(BLUR_RATIO))
    blur = BLUR_RATIO ** np.arange(first, math.floor(math.log(26) / math.log(BLUR_RATIO)) + 1)
    weight = np.full(HALF + 1, 2.0)
    weight[0] = 1
    t = np.arange(HALF + 1.0)
    scale = math.sqrt(2) * blur[:, None, None]
    shape = (_erf((t + width[:, None] / 2) / scale) - _erf((t - width[:, None] / 2) / scale)) / 2
    shape -= (shape * weight).sum(axis=2, keepdims=True) / weight.sum()
    norm = np.maximum((np.square(shape) * weight).sum(axis=2), 1e-9)
    return _Grid(width=width, first_blur=first, shape=shape, norm=norm, weight=weight)


@lru_cache(maxsize=1)
def _finer(blurs: int) -> Float64:
    """Return the matrix that reads values between the grid's blurs, cubic, (finer, blurs)."""
    at = np.arange(len(blur_grid())) / BLUR_FINER
    matrix = np.zeros((len(at), blurs))
    for row, position in enumerate(at):
        base = min(int(position), blurs - 1)
        t = position - base
        weights = (
            (-t + 2 * t**2 - t**3) / 2,
            (2 - 5 * t**2 + 3 * t**3) / 2,
            (t + 4 * t**2 - 3 * t**3) / 2,
            (t**3 - t**2) / 2,
        )
        for k, weight in zip((-1, 0, 1, 2), weights, strict=True):
            matrix[row, min(max(base + k, 0), blurs - 1)] += weight
    return matrix


def _erf(x: Float64) -> Float64:
    """Error function to 1.5e-7; Abramowitz and Stegun, 7.1.26."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    value: Float64 = np.sign(x) * (1 - series * np.exp(-np.square(x)))
    return value
