"""Bare surfaces: concrete and asphalt as (H, W, 3) float32 reflectance, RGB, about 0 to 1, without cracks.

`feature_px` is the size of a sand grain or small stone in px: it says how near the camera is.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np

from agent.contract.arrays import Float32
from agent.simulate.noise import as_float32, cloud, grain, log_uniform, smoothstep, value_noise

Material = Literal["concrete", "asphalt"]

MAX_PORES = 4000  # of one surface


def render_surface(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    material: Material,
    feature_px: float = 1.0,
    style: np.random.Generator | None = None,
) -> Float32:
    """Return a clean surface of the material.

    Args:
        rng: draws the grains, and without `style` also tone, colour and roughness.
        height: rows, px.
        width: columns, px.
        material: concrete or asphalt.
        feature_px: size of a sand grain or small stone, px, > 0.
        style: draws tone, colour and roughness; generators in equal states give surfaces of one kind.
    """
    render = _concrete if material == "concrete" else _asphalt
    return render(rng, rng if style is None else style, height, width, feature_px)


def _concrete(
    rng: np.random.Generator, style: np.random.Generator, height: int, width: int, feature_px: float
) -> Float32:
    clouds = cloud(rng, height, width, [120 * feature_px, 44 * feature_px, 15 * feature_px])
    tone = np.exp(style.uniform(0.02, 0.12) * clouds)
    tone += style.uniform(0.005, 0.05) * grain(rng, height, width, style.uniform(0.4, 1.3) * feature_px)
    if style.random() < 0.55:  # sand and small aggregate showing through
        texture = grain(rng, height, width, style.uniform(0.8, 2.6) * feature_px)
        tone += style.uniform(0.01, 0.06) * texture
        tone -= style.uniform(0, 0.25) * smoothstep(texture, 2.1, 3.2)
        tone += style.uniform(0, 0.2) * smoothstep(-texture, 2.2, 3.2)
    if style.random() < 0.4:  # board marks or brush strokes
        lengthwise, across = style.uniform(12, 80) * feature_px, style.uniform(0.7, 4) * feature_px
        sigma = (lengthwise, across) if style.random() < 0.6 else (across, lengthwise)
        tone += style.uniform(0.01, 0.05) * grain(rng, height, width, sigma)
    if style.random() < 0.35:  # weathered: ragged blotches
        ragged = cloud(rng, height, width, [40 * feature_px, 12 * feature_px, 4 * feature_px])
        ragged += style.uniform(0.1, 0.5) * grain(rng, height, width, feature_px)
        low, soft = style.uniform(-0.3, 1.2), style.uniform(0.4, 1.8)
        tone *= 1 + style.choice((-1.0, 1.0)) * style.uniform(0.04, 0.22) * smoothstep(ragged, low, low + soft)
    tone = as_float32(tone * style.uniform(0.28, 0.85))
    rgb = _tinted(rng, style, tone, warmth=style.normal(0.03, 0.05), feature_px=feature_px)
    if style.random() < 0.6:
        _add_pores(rng, style, rgb, feature_px)
    return rgb


def _asphalt(
    rng: np.random.Generator, style: np.random.Generator, height: int, width: int, feature_px: float
) -> Float32:
    stones = grain(rng, height, width, style.uniform(0.7, 1.3) * feature_px)
    coarse = grain(rng, height, width, style.uniform(1.3, 2.6) * feature_px)
    tone = 1 + style.uniform(0.05, 0.16) * stones + style.uniform(0.02, 0.1) * coarse
    tone += style.uniform(0.05, 0.35) * smoothstep(coarse, 1.4, 2.8)  # pale stones
    tone -= style.uniform(0.05, 0.35) * smoothstep(-coarse, 1.5, 2.8)  # pits between them
    tone *= np.exp(style.uniform(0.02, 0.09) * cloud(rng, height, width, [150 * feature_px, 40 * feature_px]))
    tone = as_float32(tone * style.uniform(0.2, 0.62))
    rgb = _tinted(rng, style, tone, warmth=style.normal(0.0, 0.05), feature_px=feature_px)
    if style.random() < 0.6:  # stones of several colours
        hue = value_noise(rng, height, width, 2.2 * feature_px)[..., None]
        rgb *= 1 + style.uniform(0.01, 0.05) * hue * np.array([1, 0.1, -1], np.float32)
    return rgb


def _tinted(
    rng: np.random.Generator, style: np.random.Generator, tone: Float32, *, warmth: float, feature_px: float
) -> Float32:
    """Give a grey picture its colour: one tint, drifting slowly between warm and cold."""
    drift = value_noise(rng, tone.shape[0], tone.shape[1], style.uniform(40, 160) * feature_px)
    warm = np.float32(warmth) + np.float32(style.uniform(0, 0.014)) * drift
    green = np.float32(style.normal(0, 0.008))
    return as_float32(np.stack([tone * (1 + warm), tone * (1 + green + 0.15 * warm), tone * (1 - warm)], axis=2))


def _add_pores(rng: np.random.Generator, style: np.random.Generator, rgb: Float32, feature_px: float) -> None:
    """Bug holes: small dark ellipses, many small and few large, some with a lit lower rim."""
    height, width = rgb.shape[:2]
    density = log_uniform(style, 0.3, 12) * 1e-4 / feature_px**2
    depth, glint = np.float32(style.uniform(0.2, 0.85) / 255), np.float32(style.uniform(0, 0.15) / 255)
    holes, rims = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    for _ in range(min(int(rng.poisson(density * height * width)), MAX_PORES)):
        radius = min(0.5 * feature_px * (rng.random() + 1e-3) ** -0.6, 7 * feature_px)
        centre = (round(rng.uniform(0, width) * 16), round(rng.uniform(0, height) * 16))
        axes = (max(round(radius * 16), 8), max(round(radius * rng.uniform(0.5, 1) * 16), 8))
        turn, strength = rng.uniform(0, 180), int(rng.integers(90, 256))
        lower = (centre[0] + 8, centre[1] + axes[1] // 2 + 10)
        cv2.ellipse(rims, lower, axes, turn, 0, 360, strength, -1, cv2.LINE_AA, 4)
        cv2.ellipse(holes, centre, axes, turn, 0, 360, strength, -1, cv2.LINE_AA, 4)
    rgb *= (1 + glint * rims)[..., None]
    soft = cv2.GaussianBlur(holes, (0, 0), math.sqrt(feature_px) * 0.5)
    rgb *= (1 - depth * soft)[..., None]
