"""Cracks as branching random curves with a width profile, and their exact picture.

A crack is geometry first: centre lines with a width and a darkness at every point, in mm on a surface or in px of a
picture. It is drawn by distance, not by a brush: a pixel's coverage is the share of its square that lies in a straight
band of the crack's width. Coverage summed across a crack is therefore its width, at every angle and also below 1 px.

Truth mask: coverage >= 0.5, and every pixel the centre line passes (else a crack below half a pixel has no truth).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from agent.contract.arrays import Bool, Float32, Float64
from agent.simulate.noise import as_float32, curve_noise, step_noise

MASK_COVERAGE = 0.5  # from here on a pixel is crack in the truth mask
WINDOW_CELLS = 1 << 20  # pixel-segment pairs evaluated at a time, which bounds the memory
END_REACH = 0.3  # of its half width: how far a segment fills in beyond its ends, to close the corners of the line
MAX_DEPTH = 2  # branches of branches


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrackBranch:
    """One unbranched centre line, in the unit of its crack (mm on the surface, or px)."""

    line_xy: Float64  # (K, 2), K >= 2
    width: Float64  # (K,) full width across the centre line
    darkness: Float64  # (K,) share of the background's light that is missing inside, [0, 1]

    @property
    def length(self) -> float:
        """Along the centre line."""
        return float(np.hypot(*np.diff(self.line_xy, axis=0).T).sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spall:
    """A chip broken off a crack's edge: no part of the crack's width."""

    outline_xy: Float64  # (M, 2)
    tone: float  # factor on the background


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrackShape:
    """A crack: its branches, and what it does to the surface beside it."""

    branches: tuple[CrackBranch, ...]
    spalls: tuple[Spall, ...] = ()
    halo: float = 0.0  # relative brightness of the surface beside it: below 0 dirt and moisture, above 0 efflorescence
    halo_reach: float = 0.0  # standard deviation of that, in the unit of the crack
    lit_edge: float = 0.0  # brightness of the edge that faces the light

    @property
    def length(self) -> float:
        """Along all branches."""
        return sum(branch.length for branch in self.branches)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the centre lines."""
        points = np.concatenate([branch.line_xy for branch in self.branches])
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    def transformed(self, matrix: Float64, scale: float) -> CrackShape:
        """Return the crack under a (2, 3) similarity of factor `scale`, for instance from mm to px of a frame."""

        def moved(xy: Float64) -> Float64:
            return np.asarray(xy @ matrix[:, :2].T + matrix[:, 2], np.float64)

        return replace(
            self,
            branches=tuple(replace(b, line_xy=moved(b.line_xy), width=b.width * scale) for b in self.branches),
            spalls=tuple(replace(spall, outline_xy=moved(spall.outline_xy)) for spall in self.spalls),
            halo_reach=self.halo_reach * scale,
        )

    def placed(self, rng: np.random.Generator, box: tuple[float, float, float, float]) -> CrackShape:
        """Move it somewhere into a box (left, top, right, bottom); one too large is shortened to fit, width kept."""
        left, top, right, bottom = self.bounds
        size, room = np.array([right - left, bottom - top]), np.array([box[2] - box[0], box[3] - box[1]])
        factor = min(1.0, *(room / np.maximum(size, 1e-9)))
        at = np.array(box[:2]) + rng.uniform(0, 1, 2) * (room - factor * size)
        return self.transformed(np.column_stack([factor * np.eye(2), at - factor * np.array([left, top])]), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrackLayer:
    """Cracks as drawn on a grid of pixels."""

    coverage: Float32  # (H, W), [0, 1]: share of the pixel that is crack
    shade: Float32  # (H, W), [0, 1]: coverage x darkness
    mask: Bool  # (H, W) truth: coverage >= 0.5 or crossed by the centre line


def grow_crack(
    rng: np.random.Generator,
    *,
    start_xy: tuple[float, float],
    heading_rad: float,
    length: float,
    width: float,
    darkness: float,
    step: float,
    branching: float = 1.0,
) -> CrackShape:
    """Return a crack that wanders off from `start_xy` as a correlated random walk, with branches.

    Args:
        rng: the source of everything random in it.
        start_xy: where it begins.
        heading_rad: the direction it keeps to by and large, from x towards y.
        length: of the main branch along its centre line, > 0.
        width: typical width of the main branch, > 0; it varies along the crack by about a third.
        darkness: typical darkness, [0, 1].
        step: distance of neighbouring points of the centre line, > 0; about a pixel.
        branching: expected number of branches off the main one, >= 0.

    Raises:
        ValueError: a length, width or step that is not positive.
    """
    if min(length, width, step) <= 0:
        raise ValueError(f"length={length}, width={width} and step={step} must be above 0")
    temper = _Temper(wander=rng.uniform(0.1, 0.45), kink=rng.uniform(0.2, 0.75), jag=rng.uniform(0.1, 0.5))
    branches = _grow(rng, np.array(start_xy), heading_rad, length, width, darkness, step, branching, temper, depth=0)
    return CrackShape(
        branches=tuple(branches),
        spalls=tuple(_spalls(rng, branches[0], step)) if width > 2 * step and rng.random() < 0.4 else (),
        halo=_halo(rng),
        halo_reach=width * rng.uniform(0.5, 2.0) + step,
        lit_edge=rng.uniform(0, 0.25) if width > 2 * step and rng.random() < 0.4 else 0.0,
    )


def map_cracking(
    rng: np.random.Generator,
    *,
    box: tuple[float, float, float, float],
    cell: float,
    width: float,
    darkness: float,
    step: float,
) -> CrackShape:
    """Return a network of cracks (alligator, map cracking): jagged edges of Voronoi cells, some of them missing.

    Args:
        rng: the source of everything random in it.
        box: left, top, right, bottom of the area.
        cell: typical size of a cell, > 0.
        width: typical width, > 0.
        darkness: typical darkness, [0, 1].
        step: distance of neighbouring points of the centre lines, > 0.
    """
    left, top, right, bottom = box
    columns, rows = max(round((right - left) / cell), 2), max(round((bottom - top) / cell), 2)
    area = cv2.Subdiv2D(
        (math.floor(left - 1), math.floor(top - 1), math.ceil(right - left + 3), math.ceil(bottom - top + 3))
    )
    for row in range(rows):
        for column in range(columns):
            x = left + (right - left) * (column + rng.uniform(0.05, 0.95)) / columns
            y = top + (bottom - top) * (row + rng.uniform(0.05, 0.95)) / rows
            area.insert((float(x), float(y)))
    facets, _ = area.getVoronoiFacetList([])
    edges: dict[tuple[tuple[int, int], ...], tuple[Float64, Float64]] = {}
    for facet in facets:
        corners = np.asarray(facet, np.float64)
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            key = tuple(sorted(((round(a[0] * 4), round(a[1] * 4)), (round(b[0] * 4), round(b[1] * 4)))))
            edges[key] = (a, b)
    keep = rng.uniform(0.55, 1.0)
    branches = [
        _jagged_edge(rng, a, b, width * rng.uniform(0.4, 1.3), darkness, step)
        for a, b in edges.values()
        if rng.random() < keep and 2 * step < math.dist(a, b) < 4 * cell and _inside((a + b) / 2, box)
    ]
    if not branches:
        return grow_crack(
            rng, start_xy=(left, top), heading_rad=math.pi / 4, length=cell, width=width, darkness=darkness, step=step
        )
    return CrackShape(branches=tuple(branches), halo=_halo(rng), halo_reach=width + step)


def draw(cracks: Iterable[CrackShape], height: int, width: int) -> CrackLayer:
    """Return the exact picture of cracks given in px (pixel centres at integers).

    Coverage at distance d from a centre line of half width h is F(h - d) - F(-h - d), where F(u) is the share of a
    unit square, seen along the line, that lies below u: the integral of a trapezoid, see `_below`.
    """
    coverage = np.zeros(height * width, np.float32)
    shade = np.zeros(height * width, np.float32)
    lines = np.zeros((height, width), np.uint8)
    for crack in cracks:
        for branch in crack.branches:
            _draw_branch(branch, height, width, coverage, shade)
            points = np.floor(branch.line_xy + 0.5).astype(np.int32).reshape(-1, 1, 2)
            cv2.polylines(lines, [points], isClosed=False, color=1, thickness=1, lineType=cv2.LINE_8)
    mask = (coverage >= MASK_COVERAGE).reshape(height, width) | (lines > 0)
    return CrackLayer(coverage=coverage.reshape(height, width), shade=shade.reshape(height, width), mask=mask)


def paint(surface_rgb: Float32, cracks: Sequence[CrackShape], layer: CrackLayer) -> Float32:
    """Return the surface (H, W, 3) with the cracks on it: light taken away inside, halo, spalls and lit edges beside.

    Args:
        surface_rgb: (H, W, 3) reflectance.
        cracks: in px; only what they do beside their width is taken from here.
        layer: the same cracks, drawn.
    """
    painted = surface_rgb.copy()
    height, width = layer.coverage.shape
    for crack in cracks:
        for spall in crack.spalls:
            _paint_spall(painted, spall)
        if crack.halo or crack.lit_edge:
            own = layer.coverage if len(cracks) == 1 else draw([crack], height, width).coverage
            _paint_sides(painted, crack, own)
    painted *= (1 - layer.shade)[..., None]
    return painted


@dataclass(frozen=True, slots=True)
class _Temper:
    """How a crack walks: slow turns, sudden kinks, and jaggedness at the scale of a few steps (all radians)."""

    wander: float
    kink: float
    jag: float


def _grow(  # one branch, then its own branches
    rng: np.random.Generator,
    start: Float64,
    heading: float,
    length: float,
    width: float,
    darkness: float,
    step: float,
    branching: float,
    temper: _Temper,
    *,
    depth: int,
) -> list[CrackBranch]:
    count = max(math.ceil(length / step), 3)
    breadth = width / step  # a wide crack turns on a larger scale, else it would swallow its own bends
    angle = (
        heading
        + temper.wander * curve_noise(rng, count, 60 + 6 * breadth)
        + temper.kink * step_noise(rng, count, rng.uniform(5, 16) + 1.5 * breadth)
        + temper.jag * step_noise(rng, count, 2 + 0.4 * breadth)
    )
    moves = step * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    line = start + np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    line[1:] += rng.uniform(0.02, 0.06) * min(width, 12 * step) * rng.standard_normal((count, 2))  # unlike edges
    branch = CrackBranch(
        line_xy=line,
        width=width * _width_profile(rng, count + 1, breadth, open_start=depth > 0),
        darkness=np.clip(darkness * (1 + 0.18 * curve_noise(rng, count + 1, 25)), 0.05, 0.95),
    )
    branches = [branch]
    if depth < MAX_DEPTH and count > 12:
        for _ in range(rng.poisson(branching)):
            at = int(rng.integers(count // 8, count - 2))
            turn = rng.choice((-1, 1)) * rng.uniform(0.4, 1.25)
            branches += _grow(
                rng,
                line[at],
                heading + turn,
                length * rng.uniform(0.15, 0.5),
                max(float(branch.width[at]) * rng.uniform(0.4, 0.85), 0.25 * step),
                darkness * rng.uniform(0.75, 1.0),
                step,
                branching * 0.35,
                temper,
                depth=depth + 1,
            )
    return branches


def _width_profile(rng: np.random.Generator, count: int, breadth: float, *, open_start: bool) -> Float64:
    """Factors on the typical width: slow swelling, rough edges, thin tips (a branch begins at its full width)."""
    slow = np.exp(0.28 * curve_noise(rng, count, rng.uniform(20, 60) + 4 * breadth))
    rough = np.exp(rng.uniform(0.05, 0.25) * curve_noise(rng, count, rng.uniform(2, 4)))
    rough = rough * np.exp(rng.uniform(0.05, 0.22) * step_noise(rng, count, 2 + 0.7 * breadth))
    s = np.linspace(0, 1, count)
    tip = np.minimum(1, 0.2 + (1 - s) / rng.uniform(0.1, 0.5))
    tail = np.ones(count) if open_start else np.minimum(1, 0.2 + s / rng.uniform(0.1, 0.5))
    return np.asarray(np.clip(slow * rough, 0.3, 2.2) * tip * tail, np.float64)


def _jagged_edge(
    rng: np.random.Generator, a: Float64, b: Float64, width: float, darkness: float, step: float
) -> CrackBranch:
    """A branch from `a` to `b`: the chord displaced sideways by noise that vanishes at both ends."""
    chord = b - a
    length = float(np.hypot(*chord))
    count = max(math.ceil(length / step), 3) + 1
    s = np.linspace(0, 1, count)
    sideways = curve_noise(rng, count, max(count / 3, 2)) * 0.07 * length + curve_noise(rng, count, 4) * 0.9 * step
    normal = np.array([-chord[1], chord[0]]) / length
    line = a + s[:, None] * chord + (sideways * np.minimum(1, 6 * np.minimum(s, 1 - s)))[:, None] * normal
    rough = np.exp(0.2 * curve_noise(rng, count, 3) + 0.25 * curve_noise(rng, count, 20))
    dark = np.clip(darkness * (1 + 0.15 * curve_noise(rng, count, 20)), 0.05, 0.95)
    return CrackBranch(line_xy=line, width=np.clip(width * rough, 0.3 * width, 2 * width), darkness=dark)


def _inside(point: Float64, box: tuple[float, float, float, float]) -> bool:
    return bool(box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3])


def _halo(rng: np.random.Generator) -> float:
    kind = rng.random()
    if kind < 0.5:
        return 0.0
    return rng.uniform(-0.3, -0.03) if kind < 0.85 else rng.uniform(0.03, 0.2)


def _spalls(rng: np.random.Generator, branch: CrackBranch, step: float) -> list[Spall]:
    spalls = []
    for _ in range(rng.poisson(max(len(branch.width) / 60, 1))):
        at = int(rng.integers(1, len(branch.width) - 1))
        tangent = branch.line_xy[at + 1] - branch.line_xy[at - 1]
        normal = np.array([-tangent[1], tangent[0]]) / max(float(np.hypot(*tangent)), 1e-9) * rng.choice((-1, 1))
        radius = max(float(branch.width[at]) * rng.uniform(0.4, 1.1), 1.2 * step)
        centre = branch.line_xy[at] + normal * (branch.width[at] / 2 + radius * rng.uniform(0.2, 0.7))
        angles = np.sort(rng.uniform(0, 2 * math.pi, 9))
        radii = radius * rng.uniform(0.5, 1.3, 9)
        outline = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        spalls.append(Spall(outline_xy=outline, tone=rng.uniform(0.65, 1.25)))
    return spalls


def _draw_branch(branch: CrackBranch, height: int, width: int, coverage: Float32, shade: Float32) -> None:
    """Add one branch to the flat pictures by the greatest coverage any of its segments gives a pixel."""
    a, b = branch.line_xy[:-1].astype(np.float32), branch.line_xy[1:].astype(np.float32)
    half = (branch.width / 2).astype(np.float32)
    dark = branch.darkness.astype(np.float32)
    span = float(np.abs(b - a).max()) / 2
    reach = math.ceil(float(half.max()) + span + 1.0)
    middle = np.floor((a + b) / 2 + 0.5).astype(np.int64)
    seen = ((middle >= -reach) & (middle < (width + reach, height + reach))).all(axis=1)
    offsets = np.arange(-reach, reach + 1)
    dy, dx = (grid.ravel() for grid in np.meshgrid(offsets, offsets, indexing="ij"))
    segments = np.flatnonzero(seen)
    chunk = max(WINDOW_CELLS // len(dx), 1)
    for first in range(0, len(segments), chunk):
        part = segments[first : first + chunk]
        x, y = middle[part, 0, None] + dx, middle[part, 1, None] + dy
        along = b[part] - a[part]
        square = np.maximum((along**2).sum(axis=1), 1e-12)[:, None]
        sides = np.maximum(np.abs(along) / np.sqrt(square), 0.02)[:, :, None]
        px, py = (x - a[part, 0, None]).astype(np.float32), (y - a[part, 1, None]).astype(np.float32)
        at = (px * along[:, 0, None] + py * along[:, 1, None]) / square
        t = np.clip(at, 0, 1)
        distance = np.hypot(px - t * along[:, 0, None], py - t * along[:, 1, None])
        h = half[part, None] * (1 - t) + half[part + 1, None] * t
        share = _below(h - distance, sides) - _below(-h - distance, sides)
        # a segment reaches little beyond its ends: whole discs of its width would round every edge off
        beyond = np.abs(at - t) * np.sqrt(square) <= np.maximum(1, END_REACH * h)
        hit = (share > 1e-4) & beyond & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        share = np.minimum(share[hit], 1)
        pixel = (y * width + x)[hit]
        np.maximum.at(coverage, pixel, share)
        np.maximum.at(shade, pixel, share * (dark[part, None] * (1 - t) + dark[part + 1, None] * t)[hit])


def _below(u: Float32, sides: Float32) -> Float32:
    """Share of a unit square with projected sides (S, 2, 1) that lies below `u` (S, P), from its centre."""
    a, b = sides[:, 0], sides[:, 1]
    outer, inner = (a + b) / 2, (a - b) / 2
    rise = np.maximum(u + outer, 0) ** 2 - np.maximum(u + inner, 0) ** 2
    fall = np.maximum(u - inner, 0) ** 2 - np.maximum(u - outer, 0) ** 2
    return as_float32(np.clip((rise - fall) / (2 * a * b), 0, 1))


def _paint_sides(painted: Float32, crack: CrackShape, coverage: Float32) -> None:
    """Halo and lit edge, in place."""
    if crack.halo:
        sigma = min(max(crack.halo_reach, 0.5), 12.0)
        glow = cv2.GaussianBlur(coverage, (0, 0), sigma)
        painted *= (1 + crack.halo * np.minimum(glow * (1.5 + sigma), 1))[..., None]
    if crack.lit_edge:
        shifted = cv2.warpAffine(coverage, np.array([[1, 0, 1.2], [0, 1, 1.4]]), coverage.shape[::-1])
        painted *= (1 + crack.lit_edge * np.clip(shifted - coverage, 0, 1))[..., None]


def _paint_spall(painted: Float32, spall: Spall) -> None:
    """Lighten or darken a chip, softly edged, in place and only within its box."""
    height, width = painted.shape[:2]
    low = np.maximum(np.floor(spall.outline_xy.min(axis=0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(spall.outline_xy.max(axis=0)).astype(int) + 3, (width, height))
    if (high <= low).any():
        return
    stencil = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    outline = np.round((spall.outline_xy - low) * 16).astype(np.int32).reshape(-1, 1, 2)
    cv2.fillPoly(stencil, [outline], 255, lineType=cv2.LINE_AA, shift=4)
    soft = cv2.GaussianBlur(stencil, (0, 0), 0.7).astype(np.float32) / 255
    painted[low[1] : high[1], low[0] : high[0]] *= (1 + (spall.tone - 1) * soft)[..., None]
