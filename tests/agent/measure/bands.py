"""Bands of known length and width, rendered by counting sub-pixels."""

from __future__ import annotations

import cv2
import numpy as np

from agent.contract.arrays import Float64, UInt8

SUB = 6


def coverage(*, width: float, length: float, angle_deg: float, shift_xy: tuple[float, float] = (0.0, 0.0)) -> Float64:
    """Return the share of each pixel that the band covers; the band lies about the middle, angle counter-clockwise."""
    size = int(length + width + 40)
    grid = ((np.arange(size * SUB) + 0.5) / SUB - size / 2).astype(np.float32)
    x, y = grid - np.float32(shift_xy[0]), (grid - np.float32(shift_xy[1]))[:, None]
    cosine, sine = np.float32(np.cos(np.radians(angle_deg))), np.float32(np.sin(np.radians(angle_deg)))
    inside = (np.abs(x * cosine - y * sine) <= length / 2) & (np.abs(x * sine + y * cosine) <= width / 2)
    share: Float64 = inside.reshape(size, SUB, size, SUB).sum(axis=(1, 3)) / SUB**2
    return share


def photo(band: Float64, *, darkness: float, blur: float, noise: float, rng: np.random.Generator) -> UInt8:
    """Photograph a band on a plain surface: (H, W, 3)."""
    light = cv2.GaussianBlur(170 * (1 - darkness * band), (0, 0), blur) + rng.normal(0, noise * 170, band.shape)
    return np.repeat(np.clip(light + 0.5, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def generous_mask(band: Float64) -> UInt8:
    """Mark the band and a pixel around it, as annotators and networks do."""
    return np.asarray(cv2.dilate(np.where(band > 0.1, 255, 0).astype(np.uint8), np.ones((3, 3), np.uint8)), np.uint8)
