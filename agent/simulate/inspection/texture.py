"""A piece of wall: what it reflects, and its relief, from which the light makes light and shade.

The relief is kept as slopes of a height field (a normal map): brightness = n . l, where n = (-dh/du, -dh/dv, 1)
normalised and l the direction to the light. Heights in mm, so that slopes have no unit whatever the scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Float32
from agent.simulate.noise import as_float32, cloud, grain, log_uniform, smoothstep, value_noise

SLOPE_UNIT: Final = 1 / 4096  # of the kept slopes
MAX_PITS: Final = 4000  # drawn one by one, on one piece


@dataclass(frozen=True, slots=True, eq=False)
class Relief:
    """Reflectance and slopes of a piece of wall, in the compact form that is kept."""

    albedo: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]  # (H, W, 3), x 255
    slope: np.ndarray[tuple[int, ...], np.dtype[np.int16]]  # (H, W, 2): dh/du and dh/dv in SLOPE_UNIT

    @classmethod
    def of(cls, albedo: Float32, height_mm: Float32, mm_per_px: float) -> Relief:
        """Return the piece with this reflectance (H, W, 3) and height (H, W), mm."""
        across = cv2.Sobel(height_mm, cv2.CV_32F, 1, 0, ksize=3, scale=1 / (8 * mm_per_px * SLOPE_UNIT))
        down = cv2.Sobel(height_mm, cv2.CV_32F, 0, 1, ksize=3, scale=1 / (8 * mm_per_px * SLOPE_UNIT))
        slope = np.clip(np.stack([across, down], axis=2), -32000, 32000).astype(np.int16)
        return cls(np.clip(albedo * 255 + 0.5, 0, 255).astype(np.uint8), slope)


def shaded(slope: Float32, light: Float32) -> Float32:
    """Return n . l over the value of a level surface: 1 where it is level, [0, 2.5].

    Args:
        slope: (H, W, 2), dh/du and dh/dv.
        light: (H, W, 3) or (3,), direction to the light: along u, along v, off the wall; its length does not matter.
    """
    off = np.maximum(light[..., 2], 1e-3)
    tilt = slope[..., 0] * (light[..., 0] / off) + slope[..., 1] * (light[..., 1] / off)
    steep = slope[..., 0] ** 2 + slope[..., 1] ** 2
    return as_float32(np.clip((1 - tilt) / np.sqrt(1 + steep), 0, 2.5))


def concrete(
    rng: np.random.Generator,
    style: np.random.Generator,
    height: int,
    width: int,
    *,
    mm_per_px: float,
    roughness: float,
    pores: float,
) -> tuple[Float32, Float32]:
    """Return a cast surface: reflectance (H, W, 3) about its tone, and height, mm (H, W).

    Args:
        rng: draws this piece.
        style: draws what all pieces of a wall share: tone, colour, coarseness.
        height: rows, px.
        width: columns, px.
        mm_per_px: scale.
        roughness: of the relief, [0, 1].
        pores: how many bug holes, [0, 1].
    """

    def px(mm: float) -> float:
        return max(mm / mm_per_px, 1.0)

    # photographs of concrete fall off by about 1/f: equal contrast from one octave to the next
    tone = style.uniform(0.03, 0.06) * cloud(rng, height, width, [px(420), px(170), px(60)])
    tone += style.uniform(0.012, 0.03) * value_noise(rng, height, width, px(22))
    tone += style.uniform(0.012, 0.03) * value_noise(rng, height, width, px(8))
    tone += style.uniform(0.012, 0.035) * value_noise(rng, height, width, px(3))
    fine = grain(rng, height, width, max(0.5 / mm_per_px, 0.45))
    tone += style.uniform(0.012, 0.035) * fine
    worn = cloud(rng, height, width, [px(90), px(26), px(8)])
    worn += 0.35 * grain(rng, height, width, 1.0)
    edge = style.uniform(0.2, 1.0)
    patina = smoothstep(worn, edge, edge + style.uniform(0.15, 0.9))  # scum that came off, or dust that stayed
    tone += style.uniform(-0.1, 0.1) * patina
    relief = 0.06 * fine + 0.12 * value_noise(rng, height, width, px(4)) + 0.2 * value_noise(rng, height, width, px(16))
    relief += 0.25 * patina * style.choice((-1.0, 1.0)) + 0.5 * value_noise(rng, height, width, px(90))
    relief = as_float32(relief * (0.25 + 1.5 * roughness))
    warmth = style.normal(0.025, 0.03) + 0.012 * value_noise(rng, height, width, px(240))
    tone = np.exp(tone)
    rgb = np.stack([tone * (1 + warmth), tone * (1 + 0.15 * warmth + style.normal(0, 0.006)), tone * (1 - warmth)], 2)
    rgb = as_float32(rgb)
    bug_holes(rng, rgb, relief, mm_per_px=mm_per_px, amount=pores)
    return rgb, relief


def bug_holes(rng: np.random.Generator, rgb: Float32, relief: Float32, *, mm_per_px: float, amount: float) -> None:
    """Press air bubbles into a surface, in place: many small, few large, in swarms, deep ones dark."""
    height, width = relief.shape
    if amount <= 0:
        return
    swarm = value_noise(rng, height, width, 300 / mm_per_px)
    per_m2 = log_uniform(rng, 300, 3500) * amount
    count = min(int(rng.poisson(per_m2 * height * width * mm_per_px**2 * 1e-6)), MAX_PITS)
    depth, dark = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    for _ in range(count):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if swarm[int(y), int(x)] < rng.normal(-0.3, 0.8):
            continue
        radius = float(np.clip(0.6 * (rng.random() + 1e-3) ** -0.55, 0.6, 7) / mm_per_px)
        if radius < 0.5:
            continue
        axes = (max(round(radius * 16), 8), max(round(radius * rng.uniform(0.55, 1) * 16), 8))
        at, turn = (round(x * 16), round(y * 16)), rng.uniform(0, 180)
        cv2.ellipse(depth, at, axes, turn, 0, 360, int(rng.integers(60, 256)), -1, cv2.LINE_AA, 4)
        if rng.random() < 0.7:
            inner = (max(round(axes[0] * 0.75), 6), max(round(axes[1] * 0.75), 6))
            cv2.ellipse(dark, at, inner, turn, 0, 360, int(rng.integers(40, 200)), -1, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(depth, (0, 0), max(0.5 / mm_per_px, 0.5)).astype(np.float32)
    relief -= soft * np.float32(1.6 / 255)
    rgb *= (1 - np.float32(0.55 / 255) * cv2.GaussianBlur(dark, (0, 0), max(0.4 / mm_per_px, 0.45)))[..., None]


def asphalt(
    rng: np.random.Generator, style: np.random.Generator, height: int, width: int, *, stone_px: float
) -> tuple[Float32, Float32]:
    """Return a worn asphalt surface: reflectance (H, W, 3) and height in px (H, W)."""
    mosaic = grain(rng, height, width, 0.55 * stone_px)
    coarse = grain(rng, height, width, style.uniform(0.9, 1.7) * stone_px)
    tone = style.uniform(0.04, 0.12) * mosaic + style.uniform(0.03, 0.1) * coarse
    tone += style.uniform(0.02, 0.05) * cloud(rng, height, width, [220 * stone_px, 70 * stone_px, 20 * stone_px])
    tone += style.uniform(0.0, 0.06) * value_noise(rng, height, width, 6 * stone_px)
    tone += style.uniform(0.05, 0.4) * smoothstep(coarse, style.uniform(1.2, 1.9), 2.9)  # pale stones laid bare
    tone -= style.uniform(0.1, 0.5) * smoothstep(-coarse, style.uniform(1.1, 1.8), 2.8)  # pits between them
    relief = as_float32(style.uniform(0.06, 0.4) * stone_px * (coarse + 0.5 * mosaic))
    tone = np.exp(tone)
    warm = style.normal(0.0, 0.03) + style.uniform(0, 0.03) * value_noise(rng, height, width, 2.4 * stone_px)
    return as_float32(np.stack([tone * (1 + warm), tone * (1 + 0.1 * warm), tone * (1 - warm)], axis=2)), relief


def light_from(azimuth_rad: float, elevation_rad: float) -> Float32:
    """Return (3,) the direction to a far light: azimuth from u towards v, elevation off the wall."""
    flat = math.cos(elevation_rad)
    return as_float32([flat * math.cos(azimuth_rad), flat * math.sin(azimuth_rad), math.sin(elevation_rad)])
