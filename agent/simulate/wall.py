"""A wall several metres long, rendered panel by panel as the camera comes to it, so that its length costs no memory.

Panels are what the wall was cast in: each has its own tone and stains, and neighbours meet in a joint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contract.arrays import Float32
from agent.simulate import distractors
from agent.simulate.noise import as_float32, smoothstep
from agent.simulate.scene import SceneKind, SceneSettings
from agent.simulate.surface import render_surface

PANEL_MM: Final[dict[SceneKind, float]] = {"tunnel": 1500.0, "facade": 1200.0}
PANEL_PX: Final = (256, 2048)  # whatever the scale: a panel is rendered as a whole
GRAIN_MM: Final = 0.6  # a grain of sand

EXTRA_STRENGTH: Final = 0.45

_STYLE, _PANEL, _SHADOW = 1, 2, 6  # what a generator is for, after the seed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What tells the two kinds of wall apart."""

    tag: int  # so that one seed gives two kinds of wall two surfaces
    tone: float  # mean reflectance
    extras: tuple[distractors.Distractor, ...]  # what may lie on a panel
    extra_rate: float  # of them per panel
    joint_mm: float
    joint_depth: float
    courses_mm: float | None  # pitch of the level joints
    tie_holes: bool
    shadow_every_mm: float | None  # of poles and edges between sun and wall
    tone_spread: float


LOOKS: Final[dict[SceneKind, _Look]] = {
    "tunnel": _Look(
        tag=0,
        tone=0.45,
        extras=(distractors.stain, distractors.stain, distractors.joint, distractors.writing, distractors.scratches),
        extra_rate=1.6,
        joint_mm=6.0,
        joint_depth=0.7,
        courses_mm=None,
        tie_holes=False,
        shadow_every_mm=None,
        tone_spread=0.06,
    ),
    "facade": _Look(
        tag=1,
        tone=0.6,
        extras=(distractors.stain, distractors.stain, distractors.repair, distractors.scratches),
        extra_rate=1.3,
        joint_mm=3.0,
        joint_depth=0.5,
        courses_mm=250.0,
        tie_holes=True,
        shadow_every_mm=1700.0,
        tone_spread=0.04,
    ),
}


class Wall:
    """The reflectance of a wall on a grid of `mm_per_px`, pixel (0, 0) covering the surface from 0 to `mm_per_px`.

    Args:
        settings: of the scene.
        height_px: of the wall, in pixels of that grid.
    """

    def __init__(self, settings: SceneSettings, height_px: int) -> None:
        self.height_px = height_px
        self.panel_px = int(np.clip(round(PANEL_MM[settings.kind] / settings.mm_per_px), *PANEL_PX))
        self._settings = settings
        self._look = LOOKS[settings.kind]
        self._panels: dict[int, Float32] = {}  # only those of the last strip

    def strip(self, left_px: int, right_px: int) -> Float32:
        """Return the wall between two columns, (height, right - left, 3)."""
        first, last = left_px // self.panel_px, (right_px - 1) // self.panel_px
        kept = self._panels
        self._panels = {i: kept[i] if i in kept else self._panel(i) for i in range(first, last + 1)}
        parts = []
        for i, panel in self._panels.items():
            start = i * self.panel_px
            parts.append(panel[:, max(left_px - start, 0) : min(right_px - start, self.panel_px)])
        return np.concatenate(parts, axis=1)

    def _panel(self, index: int) -> Float32:
        seed, mm_per_px, look = self._settings.seed, self._settings.mm_per_px, self._look
        rng = np.random.default_rng([seed, _PANEL, index % (1 << 32)])
        feature_px = float(np.clip(GRAIN_MM / mm_per_px, 0.4, 6))
        shape = (self.height_px, self.panel_px)
        rgb = render_surface(
            rng,
            *shape,
            material="concrete",
            feature_px=feature_px,
            style=np.random.default_rng([seed, _STYLE, look.tag]),
        )
        rgb *= np.float32(look.tone / max(float(rgb.mean()), 0.05) * math.exp(rng.normal(0, look.tone_spread)))
        for choice in rng.integers(0, len(look.extras), rng.poisson(look.extra_rate)):
            before = rgb.copy()
            look.extras[choice](rng, rgb)
            rgb += (1 - EXTRA_STRENGTH) * (before - rgb)  # drawn for close-ups, too strong on a whole panel
        x, y = np.arange(shape[1], dtype=np.float32)[None] + 0.5, np.arange(shape[0], dtype=np.float32)[:, None] + 0.5
        for line in (x, x - shape[1]):  # each panel draws its half of the joints it shares
            self._joint(rgb, np.broadcast_to(line, shape), look.joint_mm / mm_per_px, look.joint_depth)
        if look.courses_mm is not None:
            pitch = look.courses_mm / mm_per_px
            self._joint(rgb, np.broadcast_to((y % pitch) - pitch / 2, shape), 1.2 / mm_per_px, 0.3)
        if look.tie_holes and rng.random() < 0.7:
            distractors.holes(rng, rgb)
        if look.shadow_every_mm is not None:
            self._shadow(rgb, index * self.panel_px, look.shadow_every_mm / mm_per_px)
        return rgb

    def _shadow(self, rgb: Float32, left_px: int, every_px: float) -> None:
        """Slanting shadows that go on from panel to panel."""
        sun = np.random.default_rng([self._settings.seed, _SHADOW])
        slope, soft = sun.uniform(-0.8, 0.8), np.float32(sun.uniform(1, 12))
        extent, strength = np.float32(every_px * sun.uniform(0.08, 0.3)), np.float32(sun.uniform(0.25, 0.5))
        start = left_px + sun.uniform(0, every_px)
        x = np.arange(rgb.shape[1], dtype=np.float64)[None] + start + slope * np.arange(rgb.shape[0])[:, None]
        line = as_float32(x % every_px)
        inside = smoothstep(line, 0, 2 * float(soft)) * smoothstep(extent - line, 0, 2 * float(soft))
        rgb *= 1 - strength * inside[..., None] * np.array([1, 0.97, 0.92], np.float32)

    @staticmethod
    def _joint(rgb: Float32, line: Float32, width_px: float, depth: float) -> None:
        distractors.add_joint_line(rgb, line, width_px=width_px, depth=depth, relief=0.06, step=0.0)
