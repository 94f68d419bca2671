"""What age leaves on a wall: water, soot, rust, moss, efflorescence, and what inspectors chalk on it.

Every function changes `rgb` (H, W, 3) in place; v points down. `amount` in [0, 1] is how much there is of it.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Float32, Float64
from agent.simulate.noise import as_float32, cloud, grain, smoothstep, value_noise

RUST: Final = (0.42, 0.22, 0.1)
MOSS: Final = (0.15, 0.16, 0.1)
LIME: Final = (0.93, 0.92, 0.88)
CHALKS: Final = ((0.93, 0.93, 0.9), (0.88, 0.82, 0.35), (0.72, 0.25, 0.2), (0.25, 0.35, 0.6))


def blend(rgb: Float32, colour: tuple[float, float, float] | Float32, alpha: Float32) -> None:
    """Lay a colour over a surface, in place."""
    rgb += alpha[..., None] * (np.asarray(colour, np.float32) - rgb)


def runs(
    rng: np.random.Generator, height: int, width: int, sources: Float32, *, length_px: float, spread_px: float
) -> Float32:
    """Return how much of what seeps out at `sources` (H, W in [0, 1]) runs down over each pixel, [0, 1].

    Streaks: what comes down a column decays over `length_px`, and wanders sideways by noise.
    """
    small = max(round(spread_px / 2), 1)
    size = (max(width // small, 2), max(height // small, 2))
    seep = cv2.resize(sources, size, interpolation=cv2.INTER_AREA)
    strength = np.exp(0.9 * value_noise(rng, 1, size[0], (1, max(spread_px / small, 1.5))))[0]
    keep = np.exp(-small / (length_px * np.clip(strength, 0.15, 3)))
    flow = np.empty_like(seep)
    carried = np.zeros(size[0], np.float32)
    for row in range(size[1]):
        carried = np.maximum(carried * keep, np.minimum(seep[row] * strength, 1.5))
        flow[row] = carried
    flow = cv2.GaussianBlur(flow, (0, 0), sigmaX=0.9, sigmaY=2.0)
    full = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
    wander = 0.6 * spread_px * value_noise(rng, height, width, (length_px * 0.4 + 8, 10 * spread_px + 8))
    x = np.arange(width, dtype=np.float32)[None] + wander
    y = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], x.shape)
    moved = cv2.remap(full, as_float32(x), np.ascontiguousarray(y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    ragged = 0.75 + 0.25 * value_noise(rng, height, width, (length_px * 0.15 + 4, spread_px * 0.5 + 1))
    return as_float32(np.clip(moved * ragged, 0, 1))


def water(rng: np.random.Generator, rgb: Float32, *, mm_per_px: float, amount: float) -> None:
    """Run-off and damp: long dark streaks from above, blotches with a darker rim, soot in broad veils."""
    height, width = rgb.shape[:2]
    if amount <= 0:
        return
    for _ in range(int(rng.poisson(1.2 * amount + 0.3))):
        cell = rng.uniform(80, 350) / mm_per_px
        stretch = rng.uniform(1, 6)
        field = value_noise(rng, height, width, (cell * stretch, cell / math.sqrt(stretch)))
        field += rng.uniform(0.15, 0.45) * cloud(rng, height, width, [cell / 4 + 2, cell / 12 + 2, 3])
        field += rng.uniform(0, 0.2) * grain(rng, height, width, 0.9)
        low, soft = rng.uniform(0.3, 1.4), rng.uniform(0.25, 1.4)
        wet = smoothstep(field, low, low + soft)
        tint = np.array([1.0, 0.97, 0.92], np.float32) * rng.uniform(0.08, 0.38) * (0.4 + amount)
        rgb *= 1 - wet[..., None] * tint
        if rng.random() < 0.4:
            rim = smoothstep(field, low - 0.25, low) * (1 - smoothstep(field, low, low + 0.2))
            rgb *= (1 - rng.uniform(0.05, 0.2) * rim)[..., None]
    if rng.random() < 0.8 * amount:  # streaks from above
        seep = np.zeros((height, width), np.float32)
        seep[: max(height // 50, 2)] = smoothstep(value_noise(rng, 1, width, (1, 60 / mm_per_px)), 0.2, 1.6)
        flow = runs(rng, height, width, seep, length_px=rng.uniform(300, 900) / mm_per_px, spread_px=12 / mm_per_px)
        rgb *= 1 - flow[..., None] * np.array([0.3, 0.29, 0.27], np.float32) * rng.uniform(0.3, 1.0)


def rust(
    rng: np.random.Generator, rgb: Float32, spots: list[tuple[float, float]], *, mm_per_px: float, amount: float
) -> None:
    """Rust that runs down from spots (x, y in px): bolts, ties, a bar too near to the surface."""
    if amount <= 0 or not spots:
        return
    height, width = rgb.shape[:2]
    seep = np.zeros((height, width), np.float32)
    for x, y in spots:
        radius = max(rng.uniform(3, 12) / mm_per_px, 1)
        value = float(rng.uniform(0.3, 1.1) * (0.3 + amount))
        cv2.ellipse(seep, (round(x), round(y)), (round(radius) + 1, round(radius / 2) + 1), 0, 0, 360, value, -1)
    flow = runs(rng, height, width, seep, length_px=rng.uniform(50, 220) / mm_per_px, spread_px=7 / mm_per_px)
    flow = as_float32(flow * (0.8 + 0.2 * value_noise(rng, height, width, 4 / mm_per_px + 1)))
    thick = np.clip(flow, 0, 1)[..., None]
    rgb *= 1 - thick * np.array([0.22, 0.42, 0.62], np.float32)  # a stain dyes, it does not hide
    blend(rgb, RUST, as_float32(0.45 * smoothstep(flow, 0.7, 1.2)))


def moss(rng: np.random.Generator, rgb: Float32, damp: Float32, *, mm_per_px: float, amount: float) -> None:
    """Moss and algae where it is damp ((H, W), [0, 1]): a veil, and small cushions in it."""
    if amount <= 0:
        return
    height, width = rgb.shape[:2]
    field = cloud(rng, height, width, [160 / mm_per_px + 2, 50 / mm_per_px + 2, 14 / mm_per_px + 2]) + 2.2 * damp
    veil = smoothstep(field, 2.6 - 1.6 * amount, 4.4 - 1.6 * amount)
    rgb *= 1 - veil[..., None] * np.array([0.3, 0.25, 0.38], np.float32)
    velvet = value_noise(rng, height, width, 2.5 / mm_per_px + 1) + 0.7 * value_noise(
        rng, height, width, 9 / mm_per_px + 1
    )
    tufts = smoothstep(as_float32(velvet + 2.4 * veil), 1.6, 3.4) * veil
    shade = (1 + 0.3 * grain(rng, height, width, 0.8))[..., None] * np.asarray(MOSS, np.float32)
    rgb += (0.6 * tufts)[..., None] * (shade - rgb)


def efflorescence(
    rng: np.random.Generator, rgb: Float32, relief: Float32, source: Float32, *, mm_per_px: float, amount: float
) -> None:
    """Lime that came out at `source` ((H, W), [0, 1]): a white crust beside it, veils and runs below."""
    if amount <= 0:
        return
    height, width = rgb.shape[:2]
    patchy = smoothstep(value_noise(rng, height, width, 140 / mm_per_px + 2), 0.9 - 1.2 * amount, 1.8 - 1.2 * amount)
    seep = as_float32(source * patchy)
    flow = runs(rng, height, width, seep, length_px=rng.uniform(40, 200) / mm_per_px, spread_px=14 / mm_per_px)
    near = cv2.GaussianBlur(seep, (0, 0), max(9 / mm_per_px, 1.0))
    ragged = 1 + 0.55 * cloud(rng, height, width, [24 / mm_per_px + 1, 7 / mm_per_px + 1, 2])
    crust = smoothstep(as_float32((1.5 * flow + 2.0 * near) * ragged), 0.45, 1.5)
    veil = smoothstep(as_float32((flow + near) * ragged), 0.1, 1.6)
    blend(rgb, LIME, as_float32(0.2 * veil + 0.45 * crust * (0.8 + 0.2 * value_noise(rng, height, width, 3))))
    relief += 0.8 * crust * (1 + 0.4 * value_noise(rng, height, width, 5 / mm_per_px + 1))


def chalk(
    rng: np.random.Generator,
    rgb: Float32,
    lines: list[Float32],
    text: list[tuple[str, float, float]],
    *,
    mm_per_px: float,
) -> None:
    """Chalk or spray: strokes (K, 2) in px, and words (text, x, y of the lower left corner); crumbly on roughness."""
    height, width = rgb.shape[:2]
    canvas = np.zeros((height, width), np.uint8)
    pen = max(round(rng.uniform(4, 9) / mm_per_px), 1)
    for line in lines:
        points = np.round(np.asarray(line) * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(canvas, [points], isClosed=False, color=255, thickness=pen, lineType=cv2.LINE_AA, shift=4)
    for words, x, y in text:
        size = rng.uniform(35, 95) / mm_per_px / 22  # Hershey's capitals are 22 px high at size 1
        cv2.putText(canvas, words, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, size, 255, pen, cv2.LINE_AA)
    crumbly = smoothstep(
        grain(rng, height, width, max(0.8 / mm_per_px, 0.7)) + 0.6 * value_noise(rng, height, width, 30 / mm_per_px),
        *sorted((rng.uniform(-2.2, -0.4), rng.uniform(-0.3, 1.2))),
    )
    alpha = cv2.GaussianBlur(canvas, (0, 0), max(0.8 / mm_per_px, 0.5)).astype(np.float32) / 255
    blend(rgb, CHALKS[rng.choice(4, p=(0.55, 0.2, 0.15, 0.1))], as_float32(alpha * crumbly * rng.uniform(0.35, 0.85)))


def seeping(line_px: Float64, source: Float32, damp: Float32, *, mm_per_px: float) -> None:
    """Let a crack leak, in place: lime and damp come out along it.

    Args:
        line_px: (K, 2), its centre line.
        source: (H, W), [0, 1]: where lime comes out.
        damp: (H, W), [0, 1]: where it is wet.
        mm_per_px: scale.
    """
    height, width = source.shape
    if line_px[:, 0].max() < -50 or line_px[:, 0].min() > width + 50:
        return
    stroke = np.zeros((height, width), np.uint8)
    points = np.round(line_px * 16).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(stroke, [points], isClosed=False, color=255, thickness=2, lineType=cv2.LINE_AA, shift=4)
    wet = np.minimum(cv2.GaussianBlur(stroke, (0, 0), max(3 / mm_per_px, 1.0)).astype(np.float32) / 60, 1)
    np.maximum(source, wet, out=source)
    np.maximum(damp, cv2.GaussianBlur(wet, (0, 0), 20 / mm_per_px), out=damp)
