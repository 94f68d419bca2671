"""A tunnel's ring of precast segments, developed: joints, bolt pockets, sockets, leaks and marks.

Parts as they are cast: a ring is as long as the formwork, its segments meet in radial joints, each is bolted to its
neighbours through pockets beside the joints, and has a socket in its middle by which the erector held it.
"""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np

from agent.contract.arrays import Float32, Float64
from agent.simulate.inspection import wear
from agent.simulate.inspection.settings import InspectionSettings
from agent.simulate.inspection.texture import Relief, concrete
from agent.simulate.noise import as_float32, smoothstep, value_noise

POCKET_MM = (170.0, 120.0)  # of a bolt pocket: along the joint, across it
JOINT_MM = 5.0
CHAMFER_MM = 9.0

_STYLE, _PIECE = 21, 22  # what a generator is for, after the seed


class Lining:
    """The lining as pieces, each a ring long; v from `top_mm` on.

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
        self.piece_px = round(settings.tunnel.ring_m * 1000 / settings.camera.mm_per_px)

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
        joints = self._radial_joints(index)
        self._segments(rng, rgb, v, joints)
        wear.water(rng, rgb, mm_per_px=mm, amount=wear_.stains)
        ring_joint = np.minimum(u, s.tunnel.ring_m * 1000 - u) + 0 * v
        radial = np.full((height, width), 1e6, np.float32)
        for at in joints:
            radial = np.minimum(radial, np.abs(v - np.float32(at)) + 0 * u)
        pockets, bolts = self._pockets(joints)
        self._press_pockets(rng, rgb, relief, pockets)
        for line, wide in ((ring_joint, 1.0), (radial, 1.0)):
            _joint(rng, rgb, relief, as_float32(line), mm_per_px=mm, width_mm=JOINT_MM * wide)
        self._socket(rgb, relief, joints)
        damp = as_float32(smoothstep(60 - np.minimum(ring_joint, radial), 0, 60))
        source = as_float32(np.exp(-np.minimum(ring_joint, radial) / 6))
        for line in self._seeps:
            here = (line - (index * self.piece_px * mm, self._top)) / mm
            wear.seeping(here, source, damp, mm_per_px=mm)
        wear.efflorescence(rng, rgb, relief, source, mm_per_px=mm, amount=wear_.efflorescence)
        wear.moss(rng, rgb, damp, mm_per_px=mm, amount=wear_.moss)
        rusty = [bolt for bolt in bolts if rng.random() < wear_.rust]
        wear.rust(rng, rgb, rusty, mm_per_px=mm, amount=wear_.rust)
        self._marks(rng, rgb, index)
        return Relief.of(rgb, relief, mm)

    def _radial_joints(self, index: int) -> list[float]:
        """Return v of the joints between segments that this piece shows, mm."""
        tunnel = self._s.tunnel
        pitch = 2 * math.pi * tunnel.radius_m * 1000 / tunnel.segments
        seat = np.random.default_rng([self._s.seed, _STYLE, 1]).uniform(0, pitch)
        shift = seat + (pitch / 2 if index % 2 else 0.0)
        bottom = self._top + self._height * self._s.camera.mm_per_px
        first = math.floor((self._top - shift) / pitch)
        found = [shift + i * pitch for i in range(first, first + 40)]
        return [at for at in found if self._top - 200 < at < bottom + 200]

    def _segments(self, rng: np.random.Generator, rgb: Float32, v: Float32, joints: list[float]) -> None:
        """Give each segment a tone of its own: they come from several moulds and batches."""
        edges = [-1e9, *joints, 1e9]
        for low, high in itertools.pairwise(edges):
            inside = ((v >= low) & (v < high)).astype(np.float32)
            tint = np.exp(rng.normal(0, 0.07) + rng.normal(0, 0.012, 3)).astype(np.float32)
            rgb *= 1 + inside[..., None] * (tint - 1)

    def _pockets(self, joints: list[float]) -> tuple[list[tuple[float, float, bool]], list[tuple[float, float]]]:
        """Return the pockets (x, y in px, whether they lie along the radial joint), and their bolts."""
        mm, length = self._s.camera.mm_per_px, self._s.tunnel.ring_m * 1000
        pockets: list[tuple[float, float, bool]] = []
        pockets += [(share * length / mm, (at + 95 - self._top) / mm, True) for at in joints for share in (0.25, 0.75)]
        pitch = 2 * math.pi * self._s.tunnel.radius_m * 1000 / (self._s.tunnel.segments * 3)
        seat = np.random.default_rng([self._s.seed, _STYLE, 2]).uniform(0, pitch)
        row = math.floor((self._top - seat) / pitch)
        for i in range(row, row + 60):
            y = (seat + i * pitch - self._top) / mm
            if -200 / mm < y < self._height + 200 / mm and all(abs(seat + i * pitch - at) > 260 for at in joints):
                pockets.append((95 / mm, y, False))
        return pockets, [(x, y + 20 / mm) for x, y, _ in pockets]

    def _press_pockets(
        self, rng: np.random.Generator, rgb: Float32, relief: Float32, pockets: list[tuple[float, float, bool]]
    ) -> None:
        """Press the pockets in: sloping sides, a shaded floor, a washer and a bolt's head."""
        mm = self._s.camera.mm_per_px
        height, width = relief.shape
        deep, steel, head = (np.zeros((height, width), np.uint8) for _ in range(3))
        for x, y, level in pockets:
            long, short = (side / 2 / mm for side in POCKET_MM)
            half = (long, short) if level else (short, long)
            taper = rng.uniform(0.72, 0.86)
            corners = np.array([(-1, -1), (1, -1), (taper, 1), (-taper, 1)]) * half + (x, y)
            cv2.fillPoly(deep, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
            at = (round(x * 16), round(y * 16))
            cv2.circle(steel, at, round(26 / mm * 16), 255, -1, cv2.LINE_AA, 4)
            cv2.circle(head, at, round(15 / mm * 16), 255, -1, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(deep, (0, 0), max(7 / mm, 1.0)).astype(np.float32) / 255
        floor = cv2.GaussianBlur(deep, (0, 0), max(2 / mm, 0.7)).astype(np.float32) / 255
        relief -= 11 * soft
        ceiling = np.roll(soft, -max(round(10 / mm), 1), axis=0)  # what stands out above keeps the light from the floor
        rgb *= (1 - floor * (0.14 + 0.3 * (1 - ceiling)))[..., None]
        shade = value_noise(rng, height, width, 5 / mm + 1)[..., None]
        metal = cv2.GaussianBlur(steel, (0, 0), max(1 / mm, 0.5)).astype(np.float32) / 255
        wear.blend(rgb, as_float32(np.array([0.2, 0.15, 0.11], np.float32) * (1 + 0.18 * shade)), as_float32(metal))
        bolt = cv2.GaussianBlur(head, (0, 0), max(1 / mm, 0.5)).astype(np.float32) / 255
        wear.blend(rgb, as_float32(np.array([0.3, 0.24, 0.18], np.float32) * (1 + 0.2 * shade)), as_float32(bolt))
        relief += 6 * metal + 9 * bolt

    def _socket(self, rgb: Float32, relief: Float32, joints: list[float]) -> None:
        """The erector's socket, plugged: a disc with a rim in the middle of each segment."""
        mm, tunnel = self._s.camera.mm_per_px, self._s.tunnel
        pitch = 2 * math.pi * tunnel.radius_m * 1000 / tunnel.segments
        disc = np.zeros(relief.shape, np.uint8)
        for at in [*joints, *(joint - pitch for joint in joints[:1])]:
            centre = (round(tunnel.ring_m * 500 / mm * 16), round((at + pitch / 2 - self._top) / mm * 16))
            cv2.circle(disc, centre, round(38 / mm * 16), 255, -1, cv2.LINE_AA, 4)
        plug = cv2.GaussianBlur(disc, (0, 0), max(1.2 / mm, 0.6)).astype(np.float32) / 255
        rim = cv2.morphologyEx(disc, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(np.float32) / 255
        rgb *= (1 - 0.16 * plug - 0.3 * cv2.GaussianBlur(rim, (0, 0), max(1 / mm, 0.6)))[..., None]
        relief -= 2.5 * plug

    def _marks(self, rng: np.random.Generator, rgb: Float32, index: int) -> None:
        """The ring's number, and what inspectors wrote and drew."""
        mm = self._s.camera.mm_per_px
        height, width = rgb.shape[:2]
        if rng.random() > 0.35 + 0.65 * self._s.wear.chalk or self._s.wear.chalk == 0:
            return
        text = [(f"R{abs(index) + 101}", rng.uniform(0.1, 0.7) * width, rng.uniform(0.25, 0.9) * height)]
        lines: list[Float32] = []
        for _ in range(int(rng.poisson(1.6 * self._s.wear.chalk))):
            start = rng.uniform((0.05, 0.1), (0.85, 0.9)) * (width, height)
            if rng.random() < 0.4:  # a box round something, or a tick
                size = rng.uniform(60, 220, 2) / mm
                corners = np.array([(0, 0), (1, 0.03), (0.98, 1), (0.02, 0.97), (0, 0)]) * size + start
                lines.append(as_float32(corners + rng.normal(0, 4 / mm, corners.shape)))
            else:
                end = start + rng.normal(0, 300 / mm, 2)
                lines.append(as_float32(np.linspace(start, end, 12) + rng.normal(0, 2.5 / mm, (12, 2))))
                text.append((rng.choice(["0.3", "12/3", "OK", "K5+2", "w", "0.8mm"]), float(end[0]), float(end[1])))
        wear.chalk(rng, rgb, lines, text, mm_per_px=mm)


def _joint(
    rng: np.random.Generator, rgb: Float32, relief: Float32, line: Float32, *, mm_per_px: float, width_mm: float
) -> None:
    """Cut a joint at distance `line`, mm: chamfered edges, a dark gap, sealing and chipped corners in places."""
    height, width = line.shape
    chipped = smoothstep(value_noise(rng, height, width, 45 / mm_per_px + 1), 1.5, 2.3)
    chipped = chipped * smoothstep(value_noise(rng, height, width, 7 / mm_per_px + 1) + 1.2, 0, 1)
    edge = as_float32(width_mm / 2 + 14 * chipped)
    gap = np.clip((edge - line) / np.float32(mm_per_px) + 0.5, 0, 1)
    chamfer = np.clip(1 - np.maximum(line - edge, 0) / CHAMFER_MM, 0, 1)
    filled = smoothstep(value_noise(rng, height, width, 220 / mm_per_px + 1), -0.2, 0.6)  # by a seal, or dust
    relief -= as_float32(3.0 * chamfer * (1 - gap) + 3.0 * gap)
    rgb *= (1 - gap * (0.42 + 0.4 * filled * (1 - chipped)) - 0.1 * chamfer * (1 - gap))[..., None]
