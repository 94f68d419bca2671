"""What a found line is, by its geometry: a crack, or a joint, cable, shadow, stain or print.

Cracks wander; what people build, hang and print is straight, even and repeats. A shadow's edge has another brightness
on each side, a print is paler than what lies around it, a stain is as broad as it is long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Float32, Float64, UInt8
from agent.contract.crack import Crack
from agent.contract.reports import Kind
from agent.track.lines import SPACING_PX, Line

LEAST_POINTS: Final = 10  # a shorter line tells nothing: 40 px
STRAIGHT_POINTS: Final = 35  # 140 px: from here on a straight line is no accident
STRAIGHT_SHARE: Final = 0.0035  # rms distance from a straight line, share of the length
STRAIGHT_PX: Final = 0.45  # and below this, px, whatever the length
LONGEST_POINTS: Final = 75  # straightness is told over stretches of at most 300 px: lenses bend long lines
STEP: Final = 0.10  # relative difference between the sides
FLAT: Final = 0.35  # share of that step that the line may be darker than the darker side, for a mere edge
PALE: Final = 0.06  # relative brightness above both sides
BROAD: Final = 0.3  # mean width to length
SMOOTH_SHARE: Final = 0.0025  # rms distance from a parabola, for a cable's sag
LEAST_CABLE_PX: Final = 2.5  # thinner lines cannot be told from cracks by their edges
EVEN: Final = 0.12  # spread of the width, share of it
PARALLAX: Final = 0.02  # motion against the surface, share of the camera's
PITCH_SPREAD: Final = 0.06  # of evenly spaced lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """One sighting's evidence. None where the picture does not tell."""

    points: int
    straight_px: float | None  # rms distance of the longest stretch from a straight line
    bent_px: float | None  # rms distance from a parabola
    stretch_px: float  # over which the two were told
    even: float | None  # spread of the width, share of it
    width_px: float  # mean of the mask
    broad: float  # mean width to length
    depth: float | None  # darker than the darker side, share
    step: float | None  # difference between the sides, share


@dataclass(slots=True)
class Evidence:
    """What the sightings of a track say together: medians, so that one bad picture decides nothing."""

    looks: list[Looks] = field(default_factory=list)
    shift: float = 0.0  # of the line against the surface, units, along `Evidence`'s own normal, summed with its sign
    travel: float = 0.0  # of the camera meanwhile
    evenly_spaced: bool = False  # one of three or more parallel straight lines at one pitch
    in_run: bool = False  # a piece of a line that is straight as a whole

    MOST: Final = 9  # of the longest sightings

    def add(self, seen: Looks) -> None:
        """Keep a sighting's evidence, as far as it is among the longest."""
        self.looks.append(seen)
        self.looks.sort(key=lambda one: -one.points)
        del self.looks[self.MOST :]

    def merge(self, other: Evidence) -> None:
        """Take over what another track's sightings said."""
        for seen in other.looks:
            self.add(seen)

    @property
    def straight(self) -> bool:
        """Whether the line is straighter than cracks are."""
        return any(one.points >= STRAIGHT_POINTS for one in self.looks) and self._median(_straightness) <= 1.0

    def kind(self) -> Kind:  # noqa: PLR0911 - one test after the other, the surest first
        """Return what the line is; a crack where nothing speaks against it."""
        if not self.looks or self.looks[0].points < LEAST_POINTS:
            return "joint" if self.looks and self.in_run else "crack"
        if self._median(lambda one: one.broad) > BROAD:
            return "stain"
        depth, step = self._median(lambda one: one.depth), self._median(lambda one: one.step)
        if depth < -PALE:
            return "print"
        if abs(step) > STEP and depth < FLAT * abs(step):
            return "shadow"
        if self.travel > 0 and abs(self.shift) > PARALLAX * self.travel and len(self.looks) >= 4:
            return "cable"
        if self.straight or self.in_run:
            return "joint"
        smooth = self._median(_smoothness) <= 1.0 and any(one.points >= STRAIGHT_POINTS for one in self.looks)
        even = self._median(lambda one: one.even) <= EVEN
        if smooth and even and self._median(lambda one: one.width_px) >= LEAST_CABLE_PX:
            return "joint" if self.evenly_spaced else "cable"
        return "crack"

    def _median(self, figure: object) -> float:
        values = [value for one in self.looks if (value := figure(one)) is not None]  # type: ignore[operator]
        return float(np.median(values)) if values else math.nan


def look_at(crack: Crack, line: Line, image_rgb: UInt8) -> Looks:
    """Return what one sighting tells.

    Args:
        crack: as measured.
        line: its centre line, px of the frame.
        image_rgb: the frame.
    """
    width = crack.area_px / max(crack.length_px, 1.0)
    longest = max(range(int(line.stretch.max()) + 1), key=lambda one: int((line.stretch == one).sum()))
    chosen = np.flatnonzero(line.stretch == longest)
    straight, bent, stretch = _bends(line.xy[chosen])
    known = np.concatenate([branch.width_px for branch in crack.branches])
    known = known[np.isfinite(known)]
    even = float(known.std() / known.mean()) if len(known) >= LEAST_POINTS and known.mean() > 0 else None
    depth, step = _sides(line, chosen, width, image_rgb)
    return Looks(
        points=len(chosen),
        straight_px=straight,
        bent_px=bent,
        stretch_px=stretch,
        even=even,
        width_px=width,
        broad=width / max(crack.length_px, 1.0),
        depth=depth,
        step=step,
    )


def evenly_spaced(offsets: Sequence[float]) -> bool:
    """Whether parallel lines at these offsets repeat: three or more at one pitch."""
    if len(offsets) < 3:
        return False
    steps = np.diff(np.sort(np.asarray(offsets, np.float64)))
    pitch = float(np.median(steps))
    return pitch > 0 and bool((np.abs(steps / pitch - np.rint(steps / pitch)) <= PITCH_SPREAD).mean() >= 0.99)


def _straightness(one: Looks) -> float | None:
    """At or below 1: as straight as what people build."""
    if one.straight_px is None or one.points < STRAIGHT_POINTS:
        return None
    return one.straight_px / max(STRAIGHT_PX, STRAIGHT_SHARE * one.stretch_px)


def _smoothness(one: Looks) -> float | None:
    if one.bent_px is None or one.points < STRAIGHT_POINTS:
        return None
    return one.bent_px / max(STRAIGHT_PX, SMOOTH_SHARE * one.stretch_px)


def _bends(xy: Float64) -> tuple[float | None, float | None, float]:
    """Rms distances from a straight line and from a parabola, of the stretch's middle part."""
    if len(xy) < LEAST_POINTS:
        return None, None, SPACING_PX * len(xy)
    if len(xy) > LONGEST_POINTS:
        first = (len(xy) - LONGEST_POINTS) // 2
        xy = xy[first : first + LONGEST_POINTS]
    centred = xy - xy.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    along, across = centred @ axes[0], centred @ axes[1]
    bowed = across - np.polyval(np.polyfit(along, across, 2), along)
    return float(across.std()), float(bowed.std()), float(np.ptp(along))


def _sides(
    line: Line, chosen: np.ndarray[tuple[int], np.dtype[np.int64]], width: float, image_rgb: UInt8
) -> tuple[float | None, float | None]:
    """How much darker the line is than its darker side, and how much its sides differ; medians along it."""
    if len(chosen) < LEAST_POINTS:
        return None, None
    xy, along = line.xy[chosen], line.along[chosen]
    normal = np.column_stack([-along[:, 1], along[:, 0]])
    flank = width / 2 + np.array([2.5, 4.0, 5.5, 7.0])
    offsets = np.concatenate([-flank[::-1], [-0.5, 0.0, 0.5], flank])
    at = xy[:, None] + offsets[None, :, None] * normal[:, None]
    left, top = np.maximum(np.floor(at.reshape(-1, 2).min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.ceil(at.reshape(-1, 2).max(axis=0)).astype(int) + 2
    part = image_rgb[top:bottom, left:right]
    if not part.size or max(part.shape[:2]) > 32_000:
        return None, None
    grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY), np.float32)
    maps = (at - (left, top)).astype(np.float32)
    light: Float32 = np.asarray(
        cv2.remap(grey, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )
    one, middle, two = light[:, :4].mean(axis=1), light[:, 4:7].mean(axis=1), light[:, 7:].mean(axis=1)
    brighter = np.maximum(np.maximum(one, two), 1.0)
    depth = (np.minimum(one, two) - middle) / brighter
    # the sign is kept: a crack's sides differ to and fro, an edge's always the same way
    step = (two - one) / brighter
    return float(np.median(depth)), float(np.median(step))
