"""Takes apart what the network joined: a crack that runs into a joint or cable is no part of it.

A connected piece of the mask may hold a crack and the joint that it crosses. Its branches are put together into
straight runs; one that is longer and straighter than cracks are becomes a piece of its own, the rest another.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Bool, Float32, Float64, UInt8
from agent.contract.crack import Branch, Crack
from agent.contract.frame import Scale
from agent.contract.masks import set_yx

LEAST_RUN_PX: Final = 100.0  # of a straight run
LEAST_BRANCH_PX: Final = 18.0  # shorter branches tell no direction
STRAIGHT_SHARE: Final = 0.006  # largest rms distance from the run's line, share of its length
STRAIGHT_PX: Final = 0.8  # or px
NEAR_PX: Final = 3.0  # a branch whose points lie so near to the line, on average, belongs to it
BAND_PX: Final = 128  # rows of a mask that are looked at together
AROUND_PX: Final = 80  # round them, where a branch surely is: half the widest crack and more
LEAST_REST_PX: Final = 30.0  # of what is left beside the run; less is its own roughness


def untangle(crack: Crack) -> list[Crack]:
    """Return the crack, or the straight run in it and what is left.

    Args:
        crack: as measured; lengths, widths and areas of the pieces follow from its branches and mask.
    """
    if len(crack.branches) < 3 or crack.length_px < LEAST_RUN_PX + LEAST_REST_PX:
        return [crack]
    lengths = np.array([_length(branch) for branch in crack.branches])
    run = _straightest(crack, lengths)
    if run is None:
        return [crack]
    rest = ~run
    if lengths[rest].sum() < LEAST_REST_PX or lengths[run].sum() < LEAST_RUN_PX:
        return [crack]
    masks = nearest(crack, run)
    pieces = [_piece(crack, chosen, mask, lengths) for chosen, mask in zip((run, rest), masks, strict=True)]
    return [piece for piece in pieces if piece is not None]


def untangling(measure: Callable[..., list[Crack]]) -> Callable[..., list[Crack]]:
    """Return a measurement that takes apart what it found."""

    def measured(probability: UInt8, image_rgb: UInt8, *, scale: Scale) -> list[Crack]:
        """See `agent.measure.measure_cracks`."""
        return [piece for crack in measure(probability, image_rgb, scale=scale) for piece in untangle(crack)]

    return measured


def _straightest(crack: Crack, lengths: Float64) -> Bool | None:
    """The branches of the longest straight run, or None where there is none."""
    points = [branch.line_xy_px.astype(np.float64) for branch in crack.branches]
    best: tuple[float, Bool] | None = None
    for seed in np.argsort(-lengths)[:6].tolist():
        if lengths[seed] < LEAST_BRANCH_PX:
            break
        run = np.zeros(len(points), np.bool_)
        run[seed] = True
        for _ in range(4):  # the line is told better the more of it is known
            middle, along = _line(np.concatenate([points[one] for one in np.flatnonzero(run).tolist()]))
            off = np.array([_off(line, middle, along) for line in points])
            grown = np.asarray(off <= NEAR_PX, np.bool_)
            grown[seed] = True
            if (grown == run).all():
                break
            run = grown
        chosen = np.concatenate([points[one] for one in np.flatnonzero(run).tolist()])
        middle, along = _line(chosen)
        extent = float(np.ptp((chosen - middle) @ along))
        spread = math.sqrt(float((((chosen - middle) @ np.array([-along[1], along[0]])) ** 2).mean()))
        length = float(lengths[run].sum())
        # one that lies on the line here and there is no run
        filled = length >= 0.6 * extent
        if filled and extent >= LEAST_RUN_PX and spread <= max(STRAIGHT_PX, STRAIGHT_SHARE * extent):
            best = max(best or (0.0, run), (extent, run), key=lambda one: one[0])
    return None if best is None else best[1]


def _line(points: Float64) -> tuple[Float64, Float64]:
    middle = points.mean(axis=0)
    _, _, axes = np.linalg.svd(points - middle, full_matrices=False)
    return middle, np.asarray(axes[0], np.float64)


def _off(points: Float64, middle: Float64, along: Float64) -> float:
    return float(np.abs((points - middle) @ np.array([-along[1], along[0]])).mean())


def _length(branch: Branch) -> float:
    return float(np.hypot(*np.diff(branch.line_xy_px.astype(np.float64), axis=0).T).sum())


def _piece(crack: Crack, chosen: Bool, mask: Bool, lengths: Float64) -> Crack | None:
    """A crack of some of the branches and of the mask; None where no pixel is left."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    x, y, _, _ = crack.bbox_xywh_px
    branches = tuple(crack.branches[one] for one in np.flatnonzero(chosen).tolist())
    known = np.concatenate([branch.width_px for branch in branches])
    known = known[np.isfinite(known)]
    p50, p95, most = np.percentile(known, (50, 95, 100)).tolist() if len(known) else (None, None, None)
    share = float(lengths[chosen].sum() / max(float(lengths.sum()), 1e-9))
    return replace(
        crack,
        bbox_xywh_px=(x + left, y + top, right - left, bottom - top),
        mask=np.ascontiguousarray(mask[top:bottom, left:right]),
        branches=branches,
        length_px=crack.length_px * share,
        width_px=p95,
        width_lo_px=_shifted(crack.width_lo_px, crack.width_px, p95),
        width_hi_px=_shifted(crack.width_hi_px, crack.width_px, p95),
        branch_points=0 if len(branches) < 3 else crack.branch_points,
        pattern="single" if len(branches) < 3 else crack.pattern,
        width_p50_px=p50,
        width_max_px=most,
        area_px=int(mask.sum()),
        orientation_deg=_orientation(branches),
    )


def _shifted(end: float | None, width: float | None, now: float | None) -> float | None:
    """An end of the interval, as far from the piece's width as it was from the whole's."""
    return None if end is None or width is None or now is None else max(0.0, now + end - width)


def nearest(crack: Crack, chosen: Bool, *, band_px: int = BAND_PX) -> tuple[Bool, Bool]:
    """Which pixels of the mask lie nearer to the chosen branches, and which to the others (both: as far)."""
    x, y, width, height = crack.bbox_xywh_px
    sides = []
    for side in (chosen, ~chosen):
        away = np.full((height, width), 1, np.uint8)
        for one in np.flatnonzero(side).tolist():
            at = np.rint(crack.branches[one].line_xy_px).astype(np.intp) - (x, y)
            inside = (at >= 0).all(axis=1) & (at < (width, height)).all(axis=1)
            away[at[inside, 1], at[inside, 0]] = 0
        sides.append(away)
    to_chosen, to_others = np.zeros((height, width), np.bool_), np.zeros((height, width), np.bool_)
    rows, columns = set_yx(crack.mask)
    for first, last in itertools.pairwise(np.searchsorted(rows, [*range(0, height, band_px), height]).tolist()):
        if first < last:  # a long crack's box is nearly empty: only what lies round the crack is looked at
            band = (
                slice(rows[first], rows[last - 1] + 1),
                slice(columns[first:last].min(), columns[first:last].max() + 1),
            )
            mask = crack.mask[band]
            near, far = _distances(sides, band, mask)
            to_chosen[band], to_others[band] = mask & (near <= far), mask & (far <= near)
    return to_chosen, to_others


def _distances(sides: list[UInt8], band: tuple[slice, slice], mask: Bool) -> list[Float32]:
    """The distances of the mask's pixels in a band to the 0 of each side; of the farther side maybe more than it is."""
    y, x = band
    around = tuple(slice(max(one.start - AROUND_PX, 0), one.stop + AROUND_PX) for one in band)
    inner = (
        slice(y.start - around[0].start, y.stop - around[0].start),
        slice(x.start - around[1].start, x.stop - around[1].start),
    )
    found = [np.asarray(cv2.distanceTransform(side[around], cv2.DIST_L2, 5), np.float32) for side in sides]
    if np.minimum(*(one[inner] for one in found))[mask].max() <= AROUND_PX:
        return [one[inner] for one in found]
    return [np.asarray(cv2.distanceTransform(side, cv2.DIST_L2, 5), np.float32)[band] for side in sides]


def _orientation(branches: tuple[Branch, ...]) -> float | None:
    steps = np.concatenate([np.diff(branch.line_xy_px.astype(np.float64), axis=0) for branch in branches])
    double = 2 * np.arctan2(-steps[:, 1], steps[:, 0])
    weight = np.hypot(steps[:, 0], steps[:, 1])
    sine, cosine = float((weight * np.sin(double)).sum()), float((weight * np.cos(double)).sum())
    if math.hypot(sine, cosine) < 1e-9:
        return None
    return math.degrees(math.atan2(sine, cosine)) / 2 % 180
