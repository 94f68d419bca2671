"""Training pictures, second version: the walls of the inspections and worn asphalt, seen close, under any light.

What the first version (`agent.simulate.patches`) paints flat has relief here: grains, pores, seams and crusts are lit
and shaded by one light, and what age leaves runs down from where it comes out. Cracks and cameras are those of both.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from agent.contract.arrays import Float32
from agent.simulate import distractors
from agent.simulate.camera import Camera, random_camera
from agent.simulate.cracks import draw, paint
from agent.simulate.inspection import wear
from agent.simulate.inspection.texture import asphalt, concrete, light_from, shaded
from agent.simulate.noise import as_float32, grain, log_uniform, smoothstep, value_noise
from agent.simulate.patches import MARGIN_PX, REFERENCE_PX, Patch, crossing_cracks, photographed, visible_darkness

CONCRETE_SHARE = 0.55


def render_close_up(
    rng: np.random.Generator,
    size_px: int,
    *,
    crack_share: float = 0.6,
    width_px: tuple[float, float] = (0.5, 8.0),
) -> Patch:
    """Return one square training picture; the same generator state gives the same bytes.

    Args:
        rng: the source of everything random.
        size_px: edge, px, >= 32.
        crack_share: probability that it has a crack, [0, 1].
        width_px: narrowest and widest typical crack, px; small widths are more frequent (log-uniform).
    """
    size = size_px + 2 * MARGIN_PX
    cracked = rng.random() < crack_share
    crowd = min(size / REFERENCE_PX, 4.0)
    paved = rng.random() >= CONCRETE_SHARE
    surface, slope = _pavement(rng, size) if paved else _wall(rng, size)
    distractors.add_distractors(rng, surface, int(rng.poisson((0.35 if cracked else 0.8) * crowd)))
    elevation = math.radians(rng.uniform(22, 75))
    shade = shaded(slope, light_from(rng.uniform(0, 2 * math.pi), elevation))
    direct = rng.uniform(0.25, 0.95)
    lit = as_float32(surface * (1 - direct + direct * shade)[..., None])
    camera = _camera(rng, float(lit[::2, ::2].mean()))
    cracks = crossing_cracks(rng, size, width_px, visible_darkness(lit, camera), crowd) if cracked else ()
    layer = draw(cracks, size, size)
    return photographed(rng, paint(lit, cracks, layer), cracks, layer, camera, shadow_share=0.2)


def _camera(rng: np.random.Generator, brightness: float) -> Camera:
    """Return a camera as the photographs of the shared sets look: brighter, sharper and noisier than the first's."""
    camera = random_camera(rng, brightness)
    return replace(
        camera,
        exposure=float(np.clip(rng.normal(0.56, 0.11), 0.25, 0.85)) / max(brightness, 0.02),
        blur_px=camera.blur_px * rng.uniform(0.3, 1.0),
        noise=log_uniform(rng, 0.004, 0.045),
        balance=(1 + rng.normal(0, 0.025), 1.0, 1 + rng.normal(0, 0.035)),
    )


def _flakes(rng: np.random.Generator, surface: Float32, height: Float32, mm: float) -> None:
    """Scum that came off in small sharp-edged flakes, or splashes that stayed, in place."""
    rows, columns = height.shape
    cell, stretch = log_uniform(rng, 4, 40), rng.uniform(1, 3)
    field = value_noise(rng, rows, columns, (cell * stretch / mm + 1, cell / mm + 1))
    field += 0.7 * value_noise(rng, rows, columns, 0.3 * cell / mm + 1)
    field += rng.uniform(0, 1) * value_noise(rng, rows, columns, 200 / mm + 8)
    low = rng.uniform(1.2, 2.4)
    off = smoothstep(field, low, low + rng.uniform(0.05, 0.3))
    surface *= (1 + rng.uniform(-0.3, 0.16) * off)[..., None]
    height -= as_float32(rng.uniform(0, 0.6) * off)


def _pavement(rng: np.random.Generator, size: int) -> tuple[Float32, Float32]:
    """Asphalt, seen from above."""
    surface, height = asphalt(rng, rng, size, size, stone_px=log_uniform(rng, 0.8, 3.2))
    surface *= np.float32(rng.uniform(0.25, 0.6))
    if rng.random() < 0.3:
        wear.water(rng, surface, mm_per_px=rng.uniform(0.5, 3), amount=rng.uniform(0.2, 0.8))
    return surface, _slope(height)


def _wall(rng: np.random.Generator, size: int) -> tuple[Float32, Float32]:
    """Cast concrete with what age left on it."""
    mm = log_uniform(rng, 0.25, 2.5)
    surface, height = concrete(
        rng, rng, size, size, mm_per_px=mm, roughness=rng.uniform(0, 1) ** 2, pores=rng.uniform(0, 1)
    )
    surface *= np.float32(rng.uniform(0.35, 0.85))
    for _ in range(int(rng.poisson(0.7))):
        _flakes(rng, surface, height, mm)
    if rng.random() < 0.5:
        wear.water(rng, surface, mm_per_px=mm, amount=rng.uniform(0.2, 1))
    x = np.arange(size, dtype=np.float32)[None]
    y = np.arange(size, dtype=np.float32)[:, None]
    source, damp = np.zeros((size, size), np.float32), smoothstep(value_noise(rng, size, size, 200 / mm + 4), 0, 2)
    if rng.random() < 0.4:  # formwork: seams or boards, up and down or level
        line = x + 0 * y if rng.random() < 0.7 else y + 0 * x
        source += _boards(rng, surface, height, as_float32(line), mm)
    if rng.random() < 0.25:
        wear.efflorescence(rng, surface, height, source, mm_per_px=mm, amount=rng.uniform(0.3, 1))
    if rng.random() < 0.2:
        wear.moss(rng, surface, damp, mm_per_px=mm, amount=rng.uniform(0.2, 0.9))
    if rng.random() < 0.25:
        spots = [(rng.uniform(0, size), rng.uniform(0, size)) for _ in range(int(rng.integers(1, 4)))]
        wear.rust(rng, surface, spots, mm_per_px=mm, amount=rng.uniform(0.2, 0.9))
    if rng.random() < 0.15:
        ends = rng.uniform(0, size, (2, 2))
        line_px = as_float32(ends[0] + np.linspace(0, 1, 12)[:, None] * (ends[1] - ends[0]))
        word = ("".join(rng.choice(list("0123456789ABKRW./"), 3)), float(ends[0, 0]), float(ends[0, 1]))
        wear.chalk(rng, surface, [line_px], [word], mm_per_px=mm)
    return surface, _slope(as_float32(height / np.float32(mm)))


def _boards(rng: np.random.Generator, surface: Float32, height: Float32, line: Float32, mm: float) -> Float32:
    """Print formwork into a surface, in place, and return where its seams leak, (H, W)."""
    rows, columns = line.shape
    pitch = rng.uniform(70, 1300)
    at = as_float32((line * np.float32(mm) + rng.uniform(0, pitch)) % pitch)
    number = (line * mm // pitch).astype(np.int64)
    number -= number.min()
    tones = np.exp(rng.normal(0, rng.uniform(0.0, 0.06), number.max() + 2)).astype(np.float32)
    surface *= tones[number][..., None]
    distance = np.minimum(at, pitch - at) + 0.4 * value_noise(rng, rows, columns, 20 / mm + 2)
    gap = np.clip((rng.uniform(0.5, 4) - distance) / np.float32(mm) + 0.5, 0, 1)
    kind = smoothstep(value_noise(rng, rows, columns, 250 / mm + 2), *sorted((rng.uniform(-2, 0), rng.uniform(0, 2))))
    height += as_float32(gap * (1.0 - 2.4 * kind))
    surface *= (1 - gap * (0.1 + rng.uniform(0.1, 0.6) * kind))[..., None]
    if rng.random() < 0.5:
        upright = bool(line[0, -1] > line[0, 0])
        sigma = (35 / mm, max(0.7 / mm, 0.5)) if upright else (max(0.7 / mm, 0.5), 35 / mm)
        fibres = grain(rng, rows, columns, sigma)
        height += rng.uniform(0, 0.2) * fibres
        surface *= (1 + rng.uniform(0, 0.03) * fibres)[..., None]
    return as_float32(np.exp(-np.maximum(distance, 0) / 6))


def _slope(height_px: Float32) -> Float32:
    """Return (H, W, 2), from a height in px."""
    across = cv2.Sobel(height_px, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(height_px, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    return as_float32(np.stack([across, down], axis=2))
