"""From a probability map and its frame to cracks."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from agent.contract.arrays import Bool, Float64, UInt8
from agent.contract.crack import Branch, Crack
from agent.contract.frame import UNKNOWN_SCALE, Scale
from agent.measure.components import Components, find_components
from agent.measure.graph import Skeleton, distance_to_outside, trace
from agent.measure.length import branch_lengths, branch_of, step_lengths
from agent.measure.pattern import branch_points, pattern
from agent.measure.profiles import Lines
from agent.measure.settings import MeasureSettings
from agent.measure.skeleton import guo_hall, neighbour_table, subset_table
from agent.measure.width import Widths, measure_widths


def measure_cracks(
    probability: UInt8, image_rgb: UInt8, *, threshold: float, scale: Scale, settings: MeasureSettings
) -> list[Crack]:
    """Find the cracks of a frame and measure them.

    Args:
        probability: (H, W) crack probability x 255.
        image_rgb: (H, W, 3) the frame.
        threshold: on the probability, [0, 1]; at or above it is crack.
        scale: mm per px, or unknown.
        settings: what to report and how to measure.

    Returns:
        Cracks in the order of their boxes, y, then x.

    Raises:
        ValueError: map and frame differ in size, or the threshold lies outside [0, 1].
    """
    if probability.shape != image_rgb.shape[:2]:
        raise ValueError(f"a map of {probability.shape} px does not go with a frame of {image_rgb.shape[:2]} px")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold} must lie in [0, 1]")
    level = max(1, math.ceil(threshold * 255 - 1e-9))  # 0 is never crack
    mask = (probability >= level).view(np.uint8)
    marked = cv2.countNonZero(mask)
    if marked > settings.max_crack_px:
        factor = math.ceil(math.sqrt(marked / settings.max_crack_px))
        reason = f"{marked / mask.size:.0%} of the frame is marked as crack: measured at 1/{factor} of its size"
        return _measure_reduced(probability, factor, reason, threshold=threshold, scale=scale, settings=settings)
    found = find_components(
        mask, gap_px=settings.gap_px, min_area_px=settings.min_area_px, min_extent_px=settings.min_length_px
    )
    if not len(found):
        return []
    skeleton = _skeleton(found, mask.shape, settings)
    lines = _lines(found, skeleton)
    widths = measure_widths(image_rgb, lines, len(found), settings)
    return _cracks(found, skeleton, lines, widths, probability, scale, settings)


def _measure_reduced(
    probability: UInt8, factor: int, reason: str, *, threshold: float, scale: Scale, settings: MeasureSettings
) -> list[Crack]:
    """Measure a map that marks far too much at a reduced size, so that it does not hold up the frames behind it."""
    height, width = (
        edge // factor for edge in probability.shape
    )  # what is left over at the far edges is not looked at
    shrunk = cv2.resize(
        probability[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA
    ).astype(np.uint8)
    smaller = settings.model_copy(
        update={
            "min_length_px": settings.min_length_px / factor,
            "min_area_px": math.ceil(settings.min_area_px / factor**2),
            "gap_px": settings.gap_px // factor,
        }
    )
    blank = np.zeros((height, width, 3), np.uint8)
    small = measure_cracks(shrunk, blank, threshold=threshold, scale=UNKNOWN_SCALE, settings=smaller)
    return [_enlarged(crack, factor, reason, scale) for crack in small]


def _enlarged(crack: Crack, factor: int, reason: str, scale: Scale) -> Crack:
    x, y, width, height = (value * factor for value in crack.bbox_xywh_px)
    branches = (
        Branch(line_xy_px=one.line_xy_px * factor + (factor - 1) / 2, width_px=np.full_like(one.width_px, np.nan))
        for one in crack.branches
    )
    return replace(
        crack,
        bbox_xywh_px=(x, y, width, height),
        mask=crack.mask.repeat(factor, axis=0).repeat(factor, axis=1),
        branches=tuple(branches),
        length_px=crack.length_px * factor,
        width_px=None,
        width_p50_px=None,
        width_max_px=None,
        width_lo_px=None,
        width_hi_px=None,
        area_px=crack.area_px * factor**2,
        not_gradable_reason=reason,
        scale=scale,
    )


def _skeleton(found: Components, hw: tuple[int, ...], settings: MeasureSettings) -> Skeleton:
    table = neighbour_table(found.pixels, found.stride)
    inside = np.zeros((hw[0] + 2) * found.stride, np.bool_)
    inside[found.pixels] = True
    kept = guo_hall(table)
    pixels = found.pixels[kept]
    radius = distance_to_outside(pixels, inside, found.stride)
    return trace(pixels, subset_table(table, kept), radius, found.stride, spur_factor=settings.spur_factor)


def _lines(found: Components, skeleton: Skeleton) -> Lines:
    pixels = skeleton.pixels[skeleton.points]
    return Lines(
        xy=skeleton.line_xy(),
        radius=skeleton.radius[skeleton.points],
        starts=skeleton.starts,
        crack=found.label[np.searchsorted(found.pixels, pixels)],
        usable=_away_from_nodes(skeleton),
    )


def _away_from_nodes(skeleton: Skeleton) -> Bool:
    """Tell the points outside caps and junction balls: farther along the line from a node than its radius."""
    index = np.arange(len(skeleton.points))
    branch = branch_of(skeleton.starts)
    usable = np.ones(len(index), np.bool_)
    for node in (skeleton.starts[:-1], skeleton.starts[1:] - 1):
        position = skeleton.points[node]
        radius, degree = skeleton.radius[position], skeleton.degree[position]
        reach = np.select([degree == 2, degree > 2], [0, 1.5 * radius + 2], radius)[branch]
        usable &= np.abs(index - node[branch]) >= reach
    return usable


def _cracks(
    found: Components,
    skeleton: Skeleton,
    lines: Lines,
    widths: Widths,
    probability: UInt8,
    scale: Scale,
    settings: MeasureSettings,
) -> list[Crack]:
    length = branch_lengths(lines.xy, lines.starts)
    crack_of_branch = lines.crack[skeleton.starts[:-1]]
    total = np.bincount(crack_of_branch, length, minlength=len(found)) + _end_lengths(found, skeleton)
    orientation = _orientations(lines, len(found))
    value = probability.ravel()[
        (found.pixels // found.stride - 1) * (found.stride - 2) + found.pixels % found.stride - 1
    ]
    confidence = np.bincount(found.label, value, minlength=len(found)) / found.area / 255
    meeting = branch_points(skeleton, crack_of_branch, len(found))
    branches: list[list[Branch]] = [[] for _ in range(len(found))]
    xy, width = lines.xy.astype(np.float32), widths.width_px.astype(np.float32)
    for crack, start, end in zip(
        crack_of_branch.tolist(), skeleton.starts[:-1].tolist(), skeleton.starts[1:].tolist(), strict=True
    ):
        branches[crack].append(Branch(line_xy_px=xy[start:end], width_px=width[start:end]))
    cracks = []
    for one in range(len(found)):
        if total[one] < settings.min_length_px:
            continue
        mine = np.concatenate([branch.width_px for branch in branches[one]])
        known = mine[~np.isnan(mine)]
        p50, p95, most = np.percentile(known, (50, 95, 100)).tolist() if len(known) else (None, None, None)
        mask = found.mask(one)
        low, high = widths.interval_px[one] or (None, None)
        x, y, box_width, box_height = found.bbox_xywh[one].tolist()
        cracks.append(
            Crack(
                bbox_xywh_px=(x, y, box_width, box_height),
                mask=mask,
                branches=tuple(branches[one]),
                length_px=float(total[one]),
                width_px=p95,
                width_p50_px=p50,
                width_max_px=most,
                area_px=int(found.area[one]),
                orientation_deg=orientation[one],
                confidence=float(confidence[one]),
                not_gradable_reason=widths.reasons[one],
                width_lo_px=low,
                width_hi_px=high,
                branch_points=meeting[one],
                pattern=pattern(meeting[one], mask),
                scale_error=math.hypot(settings.scale_error, scale.error),  # neither knows of the other
                scale=scale,
            )
        )
    return cracks


def _end_lengths(found: Components, skeleton: Skeleton) -> Float64:
    """Sum per crack what lies between free ends and the end of the mask: thinning eats a line's ends."""
    ends = np.flatnonzero(skeleton.degree <= 1)
    beyond = (skeleton.radius[ends] - 0.5) * np.where(skeleton.degree[ends] == 0, 2, 1)
    crack = found.label[np.searchsorted(found.pixels, skeleton.pixels[ends])]
    return np.bincount(crack, beyond, minlength=len(found)).astype(np.float64)


def _orientations(lines: Lines, cracks: int) -> list[float | None]:
    """Mean direction of the lines' steps, each counted by its length: the angle doubled, since a line has no sign."""
    step = np.diff(lines.xy, axis=0, append=lines.xy[-1:])
    weight = step_lengths(lines.xy, lines.starts)
    double = 2 * np.arctan2(-step[:, 1], step[:, 0])
    cosine = np.bincount(lines.crack, weight * np.cos(double), minlength=cracks)
    sine = np.bincount(lines.crack, weight * np.sin(double), minlength=cracks)
    angle = np.degrees(np.arctan2(sine, cosine)) / 2 % 180
    return [float(one) if math.hypot(s, c) > 1e-9 else None for one, s, c in zip(angle, sine, cosine, strict=True)]
