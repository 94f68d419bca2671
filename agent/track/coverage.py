"""What was inspected, cell by cell of the surface; what was seen but tells nothing; what was never seen.

Cells are kept in square chunks that exist only where the camera was, so a long flight costs what it saw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import cv2
import numpy as np

from agent.contract.arrays import Float32, Float64, Int64, UInt8
from agent.contract.flight import Coverage, CoverageArea, CoverageWidths, SurfaceKind
from agent.contract.frame import Frame
from agent.place.laid import Ground, Lining
from agent.place.surface import View
from agent.track.grey import Grey
from agent.track.locator import Located
from agent.track.mosaic import NEVER, Mosaic
from agent.track.placement import Placement, outline
from agent.track.quality import BLUR, BRIGHT, DARK, IGNORED, OK, Quality, judge
from agent.track.settings import CoverageSettings

CHUNK: Final = 64  # cells along the edge of a chunk
MOST_FRAME_CELLS: Final = (
    1_000_000  # of one frame; of one that has more, with cells far too small for it, only the area is counted
)
BLUR_FACTOR: Final = 2.35  # a line is as wide as the blur's full width at half maximum
MOST_AREAS: Final = 2000
MOST_MOSAIC: Final = 40_000_000  # cells of the rectangle around a camera's surface; larger ones get no outlines


class _Surface(NamedTuple):
    """What cells lie on, for each camera by itself."""

    camera: str
    kind: SurfaceKind
    cell_mm: tuple[float, float]
    rows: int | None = None  # once around a tunnel

    @property
    def cell_m2(self) -> float:
        return self.cell_mm[0] * self.cell_mm[1] / 1e6


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
    _chunks: dict[tuple[_Surface, int, int], _Chunk] = field(default_factory=dict)
    _radius_mm: float | None = None  # of the lining
    _origin: tuple[float, float] | None = None  # of the ground, lat, lon
    _unplaced: Float64 = field(default_factory=lambda: np.zeros(2))  # m2 inspected, not gradable
    _has_unplaced: bool = False
    _unscaled: list[float] = field(default_factory=lambda: [0, 0.0])  # frames, gradable shares
    _beyond: float = 0.0
    _widths_unplaced: list[float] = field(default_factory=list)

    def add(self, frame: Frame, located: Located | None, grey: Grey | None = None) -> None:
        """Take note of a frame.

        Args:
            frame: that was inferred.
            located: where it lies; None: unknown.
            grey: the frame's, if it is looked at elsewhere too.
        """
        quality = judge(grey or Grey(frame.image_rgb), frame.ignored, self.settings)
        found = self._surface(frame, located)
        if found is not None:
            self._place(frame, *found, quality)
        else:
            self._count(frame, quality)

    def result(self, *, areas: bool = True) -> Coverage:
        """Return what is known so far.

        Args:
            areas: also the outlines and what was never seen, which takes a look at the whole surface.
        """
        counts: dict[_Surface, Int64] = {}
        for (surface, _, _), chunk in self._chunks.items():
            counts[surface] = counts.get(surface, 0) + np.bincount(chunk.state.ravel(), minlength=256)
        m2 = sum((count * surface.cell_m2 for surface, count in counts.items()), np.zeros(256))
        placed = bool(self._chunks)
        bad = {state: float(m2[state]) if placed else None for state in (IGNORED, DARK, BRIGHT, BLUR)}
        widths = self._found_widths()
        never, shapes, blocks = self._shapes() if areas and placed else (None, [], [])
        return Coverage(
            cell_mm=self.settings.cell_mm,
            inspected_m2=float(m2[OK]) if placed else None,
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
            widths=tuple(blocks),
            lining_radius_mm=self._radius_mm,
            ground_lat=None if self._origin is None else self._origin[0],
            ground_lon=None if self._origin is None else self._origin[1],
        )

    # frames -----------------------------------------------------------------------------------------------------

    def _surface(self, frame: Frame, located: Located | None) -> tuple[_Surface, Placement] | None:
        """Return what the frame lies on, and where; None where that is not known."""
        cell = self.settings.cell_mm
        if located is not None and located.metric:
            return _Surface(frame.camera, "wall", (cell, cell)), located.placement
        geometry = frame.scale.geometry
        if geometry is None or frame.place is None:
            return None
        view = View.of(geometry.sight, frame.place, width=frame.width, height=frame.height)
        lining = Lining.of(view)
        if lining is not None:
            self._radius_mm = self._radius_mm or lining.shape.radius_mm
            if lining.shape.radius_mm != self._radius_mm:
                return None
            rows = max(1, round(lining.round_mm / cell))
            return _Surface(frame.camera, "lining", (cell, lining.round_mm / rows), rows), lining
        ground = Ground.of(view, self._origin)
        if ground is None:
            return None
        self._origin = ground.origin
        return _Surface(frame.camera, "ground", (cell, cell)), ground

    def _place(self, frame: Frame, surface: _Surface, placement: Placement, quality: Quality) -> None:
        cell = np.array(surface.cell_mm)
        edge = outline(placement, (frame.height, frame.width), steps=8)
        if not np.isfinite(edge).all():
            return self._count(frame, quality)
        first = np.floor(edge.min(axis=0) / cell).astype(np.int64)
        last = np.floor(edge.max(axis=0) / cell).astype(np.int64)
        columns, rows = (last - first + 1).tolist()
        if columns * rows > MOST_FRAME_CELLS:
            if surface.kind != "wall":
                return self._count(frame, quality)
            self._beyond += float(cv2.contourArea(edge.astype(np.float32))) / 1e6
            return None
        x, y = (grid.ravel() for grid in np.meshgrid(np.arange(columns) + first[0], np.arange(rows) + first[1]))
        seen = placement.to_frame((np.column_stack([x, y]) + 0.5) * cell)
        inside = (seen >= -0.5).all(axis=1) & (seen < (frame.width - 0.5, frame.height - 0.5)).all(axis=1)
        if not inside.any():
            return None
        state, blur = quality.at(seen[inside])
        mm_per_px = frame.scale.mm_per_px or _mm_per_px(placement, frame)
        width = np.maximum(self.settings.findable_px, BLUR_FACTOR * blur) * mm_per_px
        if surface.rows is not None:
            y = (y + surface.rows // 2) % surface.rows - surface.rows // 2
        self._put(surface, x[inside], y[inside], state, width.astype(np.float32))
        return None

    def _put(self, surface: _Surface, x: Int64, y: Int64, state: UInt8, width: Float32) -> None:
        """Write a frame's cells; what was seen well once stays seen well."""
        chunk_x, chunk_y = x // CHUNK, y // CHUNK
        order = np.lexsort((chunk_x, chunk_y))
        borders = np.flatnonzero((np.diff(chunk_x[order]) != 0) | (np.diff(chunk_y[order]) != 0)) + 1
        for part in np.split(order, borders):
            key = (surface, int(chunk_x[part[0]]), int(chunk_y[part[0]]))
            chunk = self._chunks.get(key)
            if chunk is None:
                if (len(self._chunks) + 1) * CHUNK**2 > self.settings.most_cells:
                    self._beyond += len(part) * surface.cell_m2
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

    def _shapes(self) -> tuple[float | None, list[CoverageArea], list[CoverageWidths]]:
        """Return the area never seen, m2, the outlines of all three states, and the narrowest widths."""
        never_m2 = 0.0
        shapes: list[CoverageArea] = []
        blocks: list[CoverageWidths] = []
        for surface in sorted({surface for surface, _, _ in self._chunks}):
            mosaic = self._mosaic(surface)
            if mosaic is None:
                return None, [], []
            told = {"camera": surface.camera, "surface": surface.kind}
            never_m2 += mosaic.never_seen * surface.cell_m2
            shapes += [CoverageArea(**told, **area) for area in mosaic.areas()]
            blocks.append(CoverageWidths(**told, **mosaic.widths()))
        shapes.sort(key=lambda one: -one.area_m2)
        return never_m2, shapes[:MOST_AREAS], blocks

    def _mosaic(self, surface: _Surface) -> Mosaic | None:
        """All cells of a surface in one picture; None if that is too large."""
        keys = [(x, y) for of, x, y in self._chunks if of == surface]
        low = np.array(keys).min(axis=0) * CHUNK
        high = (np.array(keys).max(axis=0) + 1) * CHUNK
        target = None
        if self.settings.target_m is not None and surface.kind != "ground":
            target = np.array(self.settings.target_m) * 1000 / surface.cell_mm
            low = np.minimum(low, np.floor(target.min(axis=0)).astype(np.int64) - 1)
            high = np.maximum(high, np.ceil(target.max(axis=0)).astype(np.int64) + 1)
        columns, rows = (high - low).tolist()
        if columns * rows > MOST_MOSAIC:
            return None
        state = np.full((rows, columns), NEVER, np.uint8)
        width = np.full((rows, columns), np.inf, np.float32)
        for x, y in keys:
            left, top = x * CHUNK - low[0], y * CHUNK - low[1]
            chunk = self._chunks[surface, x, y]
            state[top : top + CHUNK, left : left + CHUNK] = chunk.state
            width[top : top + CHUNK, left : left + CHUNK] = chunk.width_mm
        return Mosaic(state, width, low.astype(np.float64), np.array(surface.cell_mm), target)


def _mm_per_px(placement: Placement, frame: Frame) -> float:
    edge = outline(placement, (frame.height, frame.width), steps=8).astype(np.float32)
    return math.sqrt(float(cv2.contourArea(edge)) / (frame.width * frame.height))
