"""A bridge's cast facade: formwork panels with their fins, tie holes, lifts, boards, run-off from above, marks."""

from __future__ import annotations

import math

import cv2
import numpy as np

from agent.contract.arrays import Float32, Float64
from agent.simulate.inspection import wear
from agent.simulate.inspection.settings import InspectionSettings
from agent.simulate.inspection.texture import Relief, concrete
from agent.simulate.noise import as_float32, grain, smoothstep, value_noise

FIN_MM = 2.5  # of a seam between panels: mortar that ran out, or a gap
HOLE_MM = 13.0  # radius of a tie's cone

_STYLE, _PIECE = 31, 32  # what a generator is for, after the seed


class Facade:
    """The facade as pieces, each a formwork panel long; v from `top_mm` on.

    Args:
        settings: of the inspection.
        top_mm: v of the first row.
        height_px: rows.
        seeps: centre lines of cracks that leak, (K, 2) u and v, mm.
    """

    def __init__(self, settings: InspectionSettings, *, top_mm: float, height_px: int, seeps: list[Float64]) -> None:
        self._s = settings
        self._top, self._height = top_mm, height_px
        self._seeps = seeps
        self.piece_px = round(settings.facade.panel_m[0] * 1000 / settings.camera.mm_per_px)

    def piece(self, index: int) -> Relief:
        """Return the piece from u = index x its length on."""
        s, wear_, mm = self._s, self._s.wear, self._s.camera.mm_per_px
        rng = np.random.default_rng([s.seed, _PIECE, index % (1 << 32)])
        style = np.random.default_rng([s.seed, _STYLE])
        height, width = self._height, self.piece_px
        rgb, relief = concrete(rng, style, height, width, mm_per_px=mm, roughness=wear_.relief, pores=wear_.pores)
        rgb *= np.float32(0.6)
        u = (np.arange(width, dtype=np.float32) + 0.5)[None] * np.float32(mm)
        v = np.float32(self._top) + (np.arange(height, dtype=np.float32) + 0.5)[:, None] * np.float32(mm)
        self._panels(rng, rgb, relief, u, v)
        wear.water(rng, rgb, mm_per_px=mm, amount=wear_.stains)
        ties = self._tie_holes(rng, rgb, relief) if s.facade.tie_holes else []
        source, damp = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        damp += smoothstep(v - (self._top + height * mm * 0.75), 0, height * mm * 0.5)
        source += 0.5 * np.exp(-np.abs(self._nearest_lift(v)) / 10)
        for line in self._seeps:
            at = (line - (index * self.piece_px * mm, self._top)) / mm
            wear.seeping(at, source, damp, mm_per_px=mm)
        wear.efflorescence(rng, rgb, relief, source, mm_per_px=mm, amount=wear_.efflorescence)
        wear.moss(rng, rgb, damp, mm_per_px=mm, amount=wear_.moss)
        bars = [(rng.uniform(0, width), rng.uniform(0, height)) for _ in range(int(rng.poisson(1.5 * wear_.rust)))]
        rusty = [tie for tie in ties if rng.random() < 0.5 * wear_.rust]
        wear.rust(rng, rgb, [*rusty, *bars], mm_per_px=mm, amount=wear_.rust)
        self._marks(rng, rgb)
        return Relief.of(rgb, relief, mm)

    def _nearest_lift(self, v: Float32) -> Float32:
        pitch = np.float32(self._s.facade.panel_m[1] * 1000)
        return as_float32((v - self._first_lift() + pitch / 2) % pitch - pitch / 2)

    def _first_lift(self) -> float:
        pitch = self._s.facade.panel_m[1] * 1000
        return float(np.random.default_rng([self._s.seed, _STYLE, 1]).uniform(0.25, 0.75) * pitch)

    def _panels(self, rng: np.random.Generator, rgb: Float32, relief: Float32, u: Float32, v: Float32) -> None:
        """Tone and boards of each panel, the seams between them, and the steps where they did not meet flush."""
        mm = self._s.camera.mm_per_px
        height, width = relief.shape
        lift = np.floor((v - self._first_lift()) / (self._s.facade.panel_m[1] * 1000))
        for row in np.unique(lift):
            inside = (lift == row).astype(np.float32)
            tint = np.exp(rng.normal(0, 0.05) + rng.normal(0, 0.008, 3)).astype(np.float32)
            rgb *= 1 + inside[..., None] * (tint - 1)
            relief += np.float32(rng.normal(0, 0.6)) * inside
        if np.random.default_rng([self._s.seed, _STYLE, 2]).random() < 0.5:  # cast against boards
            board = np.random.default_rng([self._s.seed, _STYLE, 3]).uniform(90, 140)
            number = np.floor(u / board).astype(np.int64)[0]
            rise = rng.normal(0, 0.5, number.max() + 1).astype(np.float32)[number]
            tones = np.exp(rng.normal(0, 0.035, number.max() + 1)).astype(np.float32)[number]
            seam = smoothstep(1.6 - np.abs((u + board / 2) % board - board / 2), 0, 1.6)
            relief += rise[None] - 0.8 * seam
            rgb *= (tones[None] * (1 - 0.12 * seam * (0.4 + 0.6 * rng.random())))[..., None]
            fibres = grain(rng, height, width, (35 / mm, max(0.7 / mm, 0.5)))
            relief += 0.12 * fibres
            rgb *= (1 + 0.018 * fibres)[..., None]
        sides = np.minimum(u, self._s.facade.panel_m[0] * 1000 - u) + 0 * v
        for line in (sides, np.abs(self._nearest_lift(v)) + 0 * u):
            wobbly = as_float32(line + 0.5 * value_noise(rng, height, width, 20 / mm + 1))
            kind = smoothstep(value_noise(rng, height, width, 260 / mm + 1), -0.3, 0.3)  # gap here, fin there
            core = np.clip((FIN_MM / 2 - wobbly) / np.float32(mm) + 0.5, 0, 1)
            near = np.exp(-np.maximum(wobbly, 0) / 4)
            relief += as_float32(core * (1.1 - 2.6 * kind))
            rgb *= (1 - core * (0.18 + 0.42 * kind) - 0.08 * near)[..., None]

    def _tie_holes(self, rng: np.random.Generator, rgb: Float32, relief: Float32) -> list[tuple[float, float]]:
        mm, (long, high) = self._s.camera.mm_per_px, self._s.facade.panel_m
        height, width = relief.shape
        holes = []
        disc, deep = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
        first = self._first_lift()
        rows = range(-20, 20)
        for row in rows:
            for share in (0.25, 0.75):
                y = (first + (row + share) * high * 1000 - self._top) / mm
                for x in (0.2 * long * 1000 / mm, 0.8 * long * 1000 / mm):
                    if -50 < y < height + 50:
                        at = (round((x + rng.normal(0, 2 / mm)) * 16), round((y + rng.normal(0, 2 / mm)) * 16))
                        plugged = rng.random() < 0.4
                        cv2.circle(disc, at, round(HOLE_MM / mm * 16), 120 if plugged else 255, -1, cv2.LINE_AA, 4)
                        if not plugged:
                            cv2.circle(deep, at, round(0.7 * HOLE_MM / mm * 16), 255, -1, cv2.LINE_AA, 4)
                        holes.append((x, y + HOLE_MM / mm))
        cone = cv2.GaussianBlur(disc, (0, 0), max(2 / mm, 0.6)).astype(np.float32) / 255
        dark = cv2.GaussianBlur(deep, (0, 0), max(1.5 / mm, 0.6)).astype(np.float32) / 255
        relief -= 9 * cone
        rgb *= ((1 - 0.25 * cone) * (1 - 0.68 * dark))[..., None]
        return holes

    def _marks(self, rng: np.random.Generator, rgb: Float32) -> None:
        """Chalk lines of the setting out, arrows and numbers."""
        mm, amount = self._s.camera.mm_per_px, self._s.wear.chalk
        height, width = rgb.shape[:2]
        if rng.random() > 0.8 * amount:
            return
        lines: list[Float32] = []
        level, tilt = rng.uniform(0.15, 0.85) * height, rng.normal(0, 0.01) * width
        if rng.random() < 0.5:
            x = np.linspace(0, width, 20)
            lines.append(as_float32(np.stack([x, level + tilt * x / width + rng.normal(0, 0.4 / mm, 20)], axis=1)))
        turn = rng.uniform(0, 2 * math.pi)
        start = rng.uniform((0.1, 0.1), (0.8, 0.9)) * (width, height)
        way = np.linspace(0, rng.uniform(100, 500) / mm, 14)[:, None] * (math.cos(turn), math.sin(turn))
        lines.append(as_float32(start + way + rng.normal(0, 2 / mm, (14, 2))))
        text = [(rng.choice(["+3.20", "A7", "B12", "0.4", "N", "->", "7/21"]), float(start[0]), float(start[1]))]
        wear.chalk(rng, rgb, lines, text, mm_per_px=mm)
