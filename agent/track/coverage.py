"""What was inspected, cell by cell of the surface; what was seen but tells nothing; what was never seen.

Cells are kept in square chunks that exist only where the camera was, so a long flight costs what it saw.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Bool, Float32, Float64, Int32, UInt8
from agent.contract.flight import Coverage, CoverageArea
from agent.contract.frame import Frame
from agent.track.locator import Located
from agent.track.placement import outline
from agent.track.quality import BLUR, BRIGHT, DARK, IGNORED, OK, Quality, judge
from agent.track.settings import CoverageSettings

CHUNK: Final = 64  # cells along the edge of a chunk
NEVER: Final = 255
MOST_FRAME_CELLS: Final = (
    1_000_000  # of one frame; of one that has more, with cells far too small for it, only the area is counted
)
BLUR_FACTOR: Final = 2.35  # a line is as wide as the blur's full width at half maximum
MOST_AREAS: Final = 2000
MOST_MOSAIC: Final = 40_000_000  # cells of the rectangle around a camera's surface; larger ones get no outlines


@dataclass(slots=True, eq=False)
class _Chunk:
    state: UInt8 = field(default_factory=lambda: np.full((CHUNK, CHUNK), NEVER, np.uint8))
    width_mm: Float32 = field(default_factory=lambda: np.full((CHUNK, CHUNK), np.inf, np.float32))


@dataclass(slots=True)
class CoverageMap:
    """Gathers the coverage of a run.

    Args:
        settings: what counts as inspected, and how large a cell is.
    """

    settings: CoverageSettings
    _chunks: dict[tuple[str, int, int], _Chunk] = field(default_factory=dict)
    _unplaced: Float64 = field(default_factory=lambda: np.zeros(2))  # m2 inspected, not gradable
    _has_unplaced: bool = False
    _unscaled: list[float] = field(default_factory=lambda: [0, 0.0])  # frames, gradable shares
    _beyond: float = 0.0
    _widths_unplaced: list[float] = field(default_factory=list)

    def add(self, frame: Frame, located: Located | None) -> None:
        """Take note of a frame.

        Args:
            frame: that was inferred.
            located: where it lies; None: unknown.
        """
        quality = judge(frame.image_rgb, frame.ignored, self.settings)
        if located is not None and located.metric:
            self._place(frame, located, quality)
        else:
            self._count(frame, quality)

    def result(self, *, areas: bool = True) -> Coverage:
        """Return what is known so far.

        Args:
            areas: also the outlines and what was never seen, which takes a look at the whole surface.
        """
        cell_m2 = (self.settings.cell_mm / 1000) ** 2
        counts = np.zeros(256, np.int64)
        for chunk in self._chunks.values():
            counts += np.bincount(chunk.state.ravel(), minlength=256)
        placed = bool(self._chunks)
        bad = {state: float(counts[state]) * cell_m2 if placed else None for state in (IGNORED, DARK, BRIGHT, BLUR)}
        widths = self._found_widths()
        never, shapes = self._shapes() if areas and placed else (None, [])
        return Coverage(
            cell_mm=self.settings.cell_mm,
            inspected_m2=float(counts[OK]) * cell_m2 if placed else None,
            not_gradable_m2=sum(value or 0.0 for value in bad.values()) if placed else None,
            never_seen_m2=never,
            target=self.settings.target_m is not None,
            not_gradable_blur_m2=bad[BLUR],
            not_gradable_dark_m2=bad[DARK],
            not_gradable_bright_m2=bad[BRIGHT],
            not_gradable_ignored_m2=bad[IGNORED],
            smallest_width_mm=float(np.median(widths)) if len(widths) else None,
            smallest_width_worst_mm=float(np.percentile(widths, 95)) if len(widths) else None,
            unplaced_inspected_m2=float(self._unplaced[0]) if self._has_unplaced else None,
            unplaced_not_gradable_m2=float(self._unplaced[1]) if self._has_unplaced else None,
            unscaled_frames=int(self._unscaled[0]),
            unscaled_gradable=float(self._unscaled[1]),
            beyond_memory_m2=self._beyond,
            areas=tuple(shapes),
        )

    # frames -----------------------------------------------------------------------------------------------------

    def _place(self, frame: Frame, located: Located, quality: Quality) -> None:
        cell = self.settings.cell_mm
        edge = outline(located.placement, (frame.height, frame.width), steps=8)
        if not np.isfinite(edge).all():
            return self._count(frame, quality)
        first = np.floor(edge.min(axis=0) / cell).astype(np.int64)
        last = np.floor(edge.max(axis=0) / cell).astype(np.int64)
        columns, rows = (last - first + 1).tolist()
        if columns * rows > MOST_FRAME_CELLS:
            self._beyond += float(cv2.contourArea(edge.astype(np.float32))) / 1e6
            return None
        x, y = np.meshgrid(np.arange(columns) + first[0], np.arange(rows) + first[1])
        centres = np.column_stack([(x.ravel() + 0.5) * cell, (y.ravel() + 0.5) * cell])
        seen = located.placement.to_frame(centres)
        inside = (seen >= -0.5).all(axis=1) & (seen < (frame.width - 0.5, frame.height - 0.5)).all(axis=1)
        if not inside.any():
            return None
        state, blur = quality.at(seen[inside])
        mm_per_px = frame.scale.mm_per_px or _mm_per_px(located, frame)
        width = np.maximum(self.settings.findable_px, BLUR_FACTOR * blur) * mm_per_px
        self._put(frame.camera, x.ravel()[inside], y.ravel()[inside], state, width.astype(np.float32))
        return None

    def _put(self, camera: str, x: Float64, y: Float64, state: UInt8, width: Float32) -> None:
        """Write a frame's cells; what was seen well once stays seen well."""
        chunk_x, chunk_y = x // CHUNK, y // CHUNK
        order = np.lexsort((chunk_x, chunk_y))
        borders = np.flatnonzero((np.diff(chunk_x[order]) != 0) | (np.diff(chunk_y[order]) != 0)) + 1
        for part in np.split(order, borders):
            key = (camera, int(chunk_x[part[0]]), int(chunk_y[part[0]]))
            chunk = self._chunks.get(key)
            if chunk is None:
                if (len(self._chunks) + 1) * CHUNK**2 > self.settings.most_cells:
                    self._beyond += len(part) * (self.settings.cell_mm / 1000) ** 2
                    continue
                chunk = self._chunks[key] = _Chunk()
            at = (y[part] % CHUNK, x[part] % CHUNK)
            chunk.state[at] = np.minimum(chunk.state[at], state[part])
            good = state[part] == OK
            chunk.width_mm[at] = np.where(good, np.minimum(chunk.width_mm[at], width[part]), chunk.width_mm[at])

    def _count(self, frame: Frame, quality: Quality) -> None:
        share = float((quality.state == OK).mean())
        mm_per_px = frame.scale.mm_per_px
        if mm_per_px is None:
            self._unscaled[0] += 1
            self._unscaled[1] += share
            return
        area = frame.width * frame.height * (mm_per_px / 1000) ** 2
        self._unplaced += (area * share, area * (1 - share))
        self._has_unplaced = True

    def _found_widths(self) -> Float32:
        found = [chunk.width_mm[np.isfinite(chunk.width_mm)] for chunk in self._chunks.values()]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    # the surface as a whole -------------------------------------------------------------------------------------

    def _shapes(self) -> tuple[float | None, list[CoverageArea]]:
        """Return the area never seen, m2, and the outlines of all three states."""
        cell, never_cells = self.settings.cell_mm, 0
        shapes: list[CoverageArea] = []
        for camera in sorted({camera for camera, _, _ in self._chunks}):
            mosaic = self._mosaic(camera)
            if mosaic is None:
                return None, []
            state, origin = mosaic
            target = self._target(origin, (state.shape[0], state.shape[1]))
            never = (state == NEVER) & (_enclosed(state != NEVER) if target is None else target)
            never_cells += int(never.sum())
            bad = (state != NEVER) & (state != OK)
            for name, mask in (("inspected", state == OK), ("not_gradable", bad), ("never_seen", never)):
                for outlines, area in _outlines(mask):
                    shapes.append(
                        CoverageArea(
                            camera=camera,
                            state=name,
                            outlines_mm=tuple(
                                tuple((float(x), float(y)) for x, y in (line + origin) * cell) for line in outlines
                            ),
                            area_m2=area * (cell / 1000) ** 2,
                        )
                    )
        shapes.sort(key=lambda one: -one.area_m2)
        return never_cells * (cell / 1000) ** 2, shapes[:MOST_AREAS]

    def _mosaic(self, camera: str) -> tuple[UInt8, Float64] | None:
        """All cells of a camera in one picture, and the cell that its corner is; None if that is too large."""
        keys = [(x, y) for name, x, y in self._chunks if name == camera]
        corner = np.array(keys).min(axis=0)
        size = (np.array(keys).max(axis=0) - corner + 1) * CHUNK
        if self.settings.target_m is not None:
            target = np.array(self.settings.target_m) * 1000 / self.settings.cell_mm
            low = np.minimum(corner * CHUNK, np.floor(target.min(axis=0)).astype(np.int64) - 1)
            high = np.maximum(corner * CHUNK + size, np.ceil(target.max(axis=0)).astype(np.int64) + 1)
        else:
            low, high = corner * CHUNK, corner * CHUNK + size
        columns, rows = (high - low).tolist()
        if columns * rows > MOST_MOSAIC:
            return None
        state = np.full((rows, columns), NEVER, np.uint8)
        for x, y in keys:
            left, top = x * CHUNK - low[0], y * CHUNK - low[1]
            state[top : top + CHUNK, left : left + CHUNK] = self._chunks[camera, x, y].state
        return state, low.astype(np.float64)

    def _target(self, origin: Float64, hw: tuple[int, int]) -> Bool | None:
        if self.settings.target_m is None:
            return None
        corner = np.array(self.settings.target_m) * 1000 / self.settings.cell_mm - origin - 0.5
        canvas = np.zeros(hw, np.uint8)
        cv2.fillPoly(canvas, [np.rint(corner * 16).astype(np.int32)], 1, shift=4)
        return np.asarray(canvas > 0, np.bool_)


def _enclosed(seen: Bool) -> Bool:
    """The cells that nobody saw and from which no way leads out past what was seen."""
    around = cv2.copyMakeBorder(seen.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    _, labels = cv2.connectedComponents(1 - around, connectivity=4)
    return np.asarray((labels != labels[0, 0])[1:-1, 1:-1] & ~seen, np.bool_)


def _outlines(mask: Bool) -> Iterator[tuple[list[Float64], int]]:
    """Yield each part of a mask: its outer outline and those of its holes, in cells, and how many cells it has."""
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    lines, tree = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if tree is None:
        return
    _, labels, stats, _ = cv2.connectedComponentsWithStats(padded, connectivity=8)
    for number, line in enumerate(lines):
        if tree[0][number][3] >= 0:
            continue
        parts = [_around(np.asarray(line[:, 0], np.int32))]
        hole = int(tree[0][number][2])
        while hole >= 0:
            parts.append(_around(np.asarray(lines[hole][:, 0], np.int32)))
            hole = int(tree[0][hole][0])
        x, y = line[0, 0]
        yield parts, int(stats[labels[y, x], cv2.CC_STAT_AREA])


def _around(line: Int32) -> Float64:
    """Simplify an outline of cells to within half a cell; it runs through the middles of its cells."""
    simple = cv2.approxPolyDP(line[:, None], 0.5, closed=True)
    return np.asarray(simple[:, 0] - 1 + 0.5, np.float64)


def _mm_per_px(located: Located, frame: Frame) -> float:
    edge = outline(located.placement, (frame.height, frame.width), steps=8).astype(np.float32)
    return math.sqrt(float(cv2.contourArea(edge)) / (frame.width * frame.height))
