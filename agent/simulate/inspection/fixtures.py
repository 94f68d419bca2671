"""Cables and pipes on brackets, in front of the wall: they move against it, hide it, and throw a shadow of their own.

Each is a line in space, drawn by distance: at every column (or row, if it runs down the picture) the distance from its
centre line says which side of the cylinder is seen there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from agent.contract.arrays import Float32, Float64
from agent.simulate.inspection.rig import Rig
from agent.simulate.inspection.settings import InspectionSettings
from agent.simulate.noise import as_float32, log_uniform, smoothstep

NODE_PX: Final = 40.0  # between points of a line that are projected
_FIXTURES = 41  # what a generator is for, after the seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """A cable or pipe."""

    runs: Literal["u", "v"]  # along the wall, or down it
    at_mm: float  # v, or u, of its centre line
    off_mm: float  # of its axis, in front of the wall
    diameter_mm: float
    colour: tuple[float, float, float]
    gloss: float  # [0, 1]
    sag_mm: float  # between brackets
    bracket_mm: float  # between brackets; 0: none
    phase_mm: float


def fixtures_of(settings: InspectionSettings, rig: Rig) -> tuple[Fixture, ...]:
    """Draw what hangs on the wall."""
    rng = np.random.default_rng([settings.seed, _FIXTURES])
    amount = settings.wear.cables
    (left, right), (top, bottom) = rig.reach()
    found = []
    if settings.kind == "tunnel":
        height = bottom - top
        for _ in range(int(rng.poisson(2.4 * amount)) + (amount > 0)):
            thin = rng.random() < 0.4
            found.append(
                Fixture(
                    runs="u",
                    at_mm=float(rng.choice((-1, 1)) * rng.uniform(0.14, 0.42) * height),
                    off_mm=rng.uniform(30, 110),
                    diameter_mm=rng.uniform(3, 6) if thin else rng.uniform(12, 38),
                    colour=_colour(rng, (0.07, 0.3) if not thin else (0.2, 0.6)),
                    gloss=rng.uniform(0.1, 0.5),
                    sag_mm=rng.uniform(0, 14),
                    bracket_mm=rng.uniform(400, 1000),
                    phase_mm=rng.uniform(0, 1000),
                )
            )
        return tuple(found)
    spacing = 2600.0
    for i in range(math.floor(left / spacing), math.ceil(right / spacing) + 1):
        place = np.random.default_rng([settings.seed, _FIXTURES, i % (1 << 32)])
        if place.random() < amount:
            wide = place.random() < 0.35
            found.append(
                Fixture(
                    runs="v",
                    at_mm=(i + place.uniform(0.1, 0.9)) * spacing,
                    off_mm=place.uniform(70, 130) if wide else place.uniform(15, 45),
                    diameter_mm=place.uniform(50, 90) if wide else place.uniform(8, 18),
                    colour=_colour(place, (0.3, 0.62) if wide else (0.08, 0.5)),
                    gloss=place.uniform(0.2, 0.6),
                    sag_mm=0.0 if wide else place.uniform(0, 6),
                    bracket_mm=place.uniform(500, 1100),
                    phase_mm=place.uniform(0, 1000),
                )
            )
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """A fixture in a frame: for each column (row), where its middle is and how thick it looks, px."""

    across: bool  # it runs from left to right
    middle: Float32  # (W,) or (H,)
    radius: float


def see(fixture: Fixture, rig: Rig, seconds: float, size: tuple[int, int]) -> Seen | None:
    """Return where a fixture is in a frame of (height, width); None where it is not seen."""
    points = _line(fixture, rig, seconds, size)
    xy, depth = rig.picture_of(seconds, points, off=fixture.off_mm)
    focal_px = rig.standoff_scale()
    return _along(xy, fixture.diameter_mm / 2 * focal_px / float(np.median(depth)), fixture.runs == "u", size)


def see_shadow(
    fixture: Fixture, rig: Rig, seconds: float, size: tuple[int, int], light: Float64, *, far: bool
) -> Seen | None:
    """Return where its shadow falls.

    Args:
        fixture: the fixture.
        rig: of the frame.
        seconds: of the frame.
        size: height and width, px.
        light: (3,) the direction to a far light (along u, v and off the wall), or the place of a near one likewise.
        far: which of the two.
    """
    points = _line(fixture, rig, seconds, size)
    if far:
        shift = -light[None, :2] * (fixture.off_mm / max(float(light[2]), 0.05))
    else:
        over = np.maximum(float(light[2]) - fixture.off_mm, 1.0)
        shift = (points - light[None, :2]) * (fixture.off_mm / over)
    xy, depth = rig.picture_of(seconds, points + shift)
    return _along(
        xy, fixture.diameter_mm / 2 * rig.standoff_scale() / float(np.median(depth)), fixture.runs == "u", size
    )


def cast(light: Float32, seen: Seen, *, soft_px: float, strength: float) -> None:
    """Darken a light (H, W) by a shadow, in place."""
    distance, rows, columns = _distance(seen, light.shape, seen.radius + 3 * soft_px)
    shade = smoothstep(as_float32(seen.radius + soft_px - distance), 0, 2 * soft_px)
    light[rows, columns] *= 1 - np.float32(strength) * shade


def lay(picture: Float32, light: Float32, fixture: Fixture, seen: Seen) -> Float32:
    """Draw a fixture over a picture (H, W, 3) in place, and return what it hides, (H, W) in [0, 1]."""
    hidden = np.zeros(picture.shape[:2], np.float32)
    signed, rows, columns = _signed(seen, hidden.shape, seen.radius + 2)
    if signed.size == 0:
        return hidden
    cover = np.clip(seen.radius + 0.5 - np.abs(signed), 0, 1)
    side = np.clip(signed / max(seen.radius, 0.5), -1, 1)
    body = 0.35 + 0.65 * np.sqrt(np.maximum(1 - side**2, 0)) - 0.18 * side
    shine = fixture.gloss * np.exp(-(((side + 0.35) / 0.18) ** 2))
    lit = (0.35 + 0.65 * light[rows, columns]) if light.ndim == 2 else 1.0
    colour = np.asarray(fixture.colour, np.float32) * (body * lit)[..., None] + (0.5 * shine * lit)[..., None]
    picture[rows, columns] += cover[..., None] * (colour - picture[rows, columns])
    hidden[rows, columns] = cover
    return hidden


def brackets(picture: Float32, hidden: Float32, light: Float32, fixture: Fixture, rig: Rig, seconds: float) -> None:
    """Draw what holds a fixture, in place: a clamp round it and a foot on the wall, with a screw."""
    if not fixture.bracket_mm:
        return
    height, width = hidden.shape
    points, size = _places(fixture, rig, seconds), max(fixture.diameter_mm, 10.0)
    if not len(points):
        return
    along = np.array([1.0, 0.0]) if fixture.runs == "u" else np.array([0.0, 1.0])
    aside = along[::-1]
    for x0, y0 in points:
        uv = np.array([x0, y0])
        box = [uv + s * 0.45 * size * along + t * 0.8 * size * aside for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        foot = [uv + s * 0.3 * size * along + t * 1.9 * size * aside for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        for corners, off, tone in ((foot, 2.0, 0.42), (box, fixture.off_mm + fixture.diameter_mm / 2, 0.16)):
            xy, depth = rig.picture_of(seconds, np.array(corners), off=off)
            if (depth < 1).any() or (np.abs(xy) > 1e5).any():
                continue
            low = np.clip(np.floor(xy.min(axis=0)).astype(int) - 2, 0, (width, height))
            high = np.clip(np.ceil(xy.max(axis=0)).astype(int) + 3, 0, (width, height))
            if (high <= low).any():
                continue
            stencil = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
            cv2.fillConvexPoly(stencil, np.round((xy - low) * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
            part = np.s_[low[1] : high[1], low[0] : high[0]]
            alpha = stencil.astype(np.float32) / 255
            slope = np.linspace(1.25, 0.75, alpha.shape[0], dtype=np.float32)[:, None]
            colour = (np.float32(tone) * slope * (0.3 + 0.7 * light[part]))[..., None]
            picture[part] += alpha[..., None] * (colour - picture[part])
            hidden[part] = np.maximum(hidden[part], alpha)


def _line(fixture: Fixture, rig: Rig, seconds: float, size: tuple[int, int]) -> Float64:
    """Points (N, 2) of the wall under the fixture's axis, over the frame and a little beyond."""
    (left, right), (top, bottom) = rig.frame_reach(seconds)
    low, high = (left, right) if fixture.runs == "u" else (top, bottom)
    count = max(math.ceil(max(size) / NODE_PX), 4) + 1
    s = np.linspace(low, high, count)
    t = np.full(count, fixture.at_mm)
    if fixture.bracket_mm:
        phase = ((s + fixture.phase_mm) % fixture.bracket_mm) / fixture.bracket_mm
        t += fixture.sag_mm * 4 * phase * (1 - phase)
    return np.stack([s, t] if fixture.runs == "u" else [t, s], axis=1)


def _places(fixture: Fixture, rig: Rig, seconds: float) -> Float64:
    """Where its brackets are, (N, 2) on the wall."""
    (left, right), (top, bottom) = rig.frame_reach(seconds)
    low, high = (left, right) if fixture.runs == "u" else (top, bottom)
    pitch = fixture.bracket_mm
    first = math.ceil((low + fixture.phase_mm) / pitch)
    s = np.array(
        [i * pitch - fixture.phase_mm for i in range(first, first + 400) if i * pitch - fixture.phase_mm < high]
    )
    t = np.full(len(s), fixture.at_mm)
    return np.stack([s, t] if fixture.runs == "u" else [t, s], axis=1).reshape(-1, 2)


def _along(xy: Float64, radius_px: float, across: bool, size: tuple[int, int]) -> Seen | None:  # noqa: FBT001
    """The middle of a projected line at every column, or row."""
    height, width = size
    main, side = (xy[:, 0], xy[:, 1]) if across else (xy[:, 1], xy[:, 0])
    order = np.argsort(main)
    middle = np.interp(np.arange(width if across else height), main[order], side[order])
    limit = height if across else width
    if middle.max() < -radius_px - 40 or middle.min() > limit + radius_px + 40:
        return None
    return Seen(across=across, middle=as_float32(middle), radius=float(radius_px))


def _signed(seen: Seen, shape: tuple[int, ...], reach: float) -> tuple[Float32, slice, slice]:
    """Signed distance from a middle over the band of rows (columns) that it can touch, and that band."""
    limit = shape[0] if seen.across else shape[1]
    low = int(np.clip(math.floor(float(seen.middle.min()) - reach), 0, limit))
    high = int(np.clip(math.ceil(float(seen.middle.max()) + reach) + 1, 0, limit))
    band = np.arange(low, high, dtype=np.float32)
    tilt = np.gradient(seen.middle) if len(seen.middle) > 1 else np.zeros(1)
    cos = as_float32(1 / np.sqrt(1 + tilt**2))
    if seen.across:
        return as_float32((band[:, None] - seen.middle[None]) * cos[None]), slice(low, high), slice(None)
    return as_float32((band[None] - seen.middle[:, None]) * cos[:, None]), slice(None), slice(low, high)


def _distance(seen: Seen, shape: tuple[int, ...], reach: float) -> tuple[Float32, slice, slice]:
    signed, rows, columns = _signed(seen, shape, reach)
    return as_float32(np.abs(signed)), rows, columns


def _colour(rng: np.random.Generator, tones: tuple[float, float]) -> tuple[float, float, float]:
    tone = log_uniform(rng, *tones)
    warm = rng.normal(0, 0.05)
    return tone * (1 + warm), tone, tone * (1 - warm)
