"""Training pictures, third version: what a camera sees on a rendered flight, with joints, bolts, cables and shadows.

A picture is a frame of a flight of one frame, over a wall of its own: the flat walls of `agent.simulate.flight` and the
rings and facades of `agent.simulate.inspection.flight`, at any scale, wear and light that a file could ask for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contract.arrays import Bool, UInt8
from agent.simulate.flight import render_flight
from agent.simulate.inspection.flight import render_inspection
from agent.simulate.inspection.settings import (
    BridgeFacade,
    CameraOptics,
    Cracks,
    InspectionKind,
    InspectionSettings,
    Path3D,
    TunnelRing,
    Wear,
)
from agent.simulate.noise import log_uniform
from agent.simulate.scene import SceneSettings

CRACK_SHARE: Final = 0.5
FLAT_SHARE: Final = 0.35  # of the pictures show one of the flat walls
WIDTH_PX: Final = (0.5, 8.0)
PARTS: Final = (0.9, 4.0)  # length of a ring, a segment or a panel, in edges of the picture
_RADIUS_M: Final = 2.75
_MOST_SEED: Final = 2**31
_LIVELY: Final = 1.4  # cracks of a picture that has any, in the mean beyond the first


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A picture and its truth."""

    image_rgb: UInt8  # (H, W, 3)
    mask: Bool  # (H, W): coverage >= 0.5, or crossed by a centre line, and nothing in front


def render_view(rng: np.random.Generator, size_px: int) -> View:
    """Return one square training picture; the same generator state gives the same bytes.

    Args:
        rng: the source of everything random.
        size_px: edge, px, >= 64.
    """
    flat = rng.random() < FLAT_SHARE
    kind: InspectionKind = "tunnel" if rng.random() < 0.55 else "facade"
    mm_per_px = log_uniform(rng, 0.2, 1.4)
    cracks = 1 + int(rng.poisson(_LIVELY)) if rng.random() < CRACK_SHARE else 0
    widest = min(WIDTH_PX[1], 0.09 * size_px)
    widths = sorted(mm_per_px * log_uniform(rng, WIDTH_PX[0], widest) for _ in range(2))
    width_mm = (widths[0], widths[1])
    seed, blur, noise = int(rng.integers(_MOST_SEED)), rng.uniform(0.2, 1.0), log_uniform(rng, 0.003, 0.04)
    quality = int(rng.integers(60, 98)) if rng.random() < 0.8 else None

    def part_m() -> float:
        """Return the length of what the wall is put together from: its joints come into sight often."""
        return size_px * mm_per_px / 1000 * log_uniform(rng, *PARTS)

    if flat:
        scene = SceneSettings(
            kind=kind,
            seconds=1,
            fps=1,
            width_px=size_px,
            height_px=size_px,
            mm_per_px=mm_per_px,
            cracks=cracks,
            width_mm=width_mm,
            blur_px=blur,
            noise=noise,
            jpeg_quality=quality,
            seed=seed,
        )
        (frame,) = render_flight(scene)
    else:
        settings = InspectionSettings(
            kind=kind,
            seconds=1,
            fps=1,
            seed=seed,
            camera=CameraOptics(
                width_px=size_px,
                height_px=size_px,
                mm_per_px=mm_per_px,
                standoff_m=rng.uniform(0.8, 3.0),
                blur_px=blur,
                exposure_wander=rng.uniform(0, 0.35),
                noise=noise,
                jpeg_quality=quality,
            ),
            path=Path3D(start_m=rng.uniform(0, 50), turn_deg=rng.uniform(0, 5)),
            tunnel=TunnelRing(
                clock_deg=rng.uniform(0, 360) % 360,
                ring_m=float(np.clip(part_m(), 0.21, 5)),
                segments=int(np.clip(2 * math.pi * _RADIUS_M / part_m(), 2, 20)),
                radius_m=_RADIUS_M,
            ),
            facade=BridgeFacade(panel_m=(part_m(), part_m())),
            cracks=Cracks(count=cracks, width_mm=width_mm),
            wear=Wear(**{name: rng.uniform(0, 1) for name in Wear.model_fields}),
        )
        (frame,) = render_inspection(settings)
    return View(image_rgb=frame.frame.image_rgb, mask=frame.mask)
