"""What lies on real surfaces and is no crack: joints, seams, paint, stains, shadows, cables, holes, writing.

Networks take the edges of patches, joints and stains for cracks, so pictures without a crack need them most. Every
function draws one of its kind at random, changes `rgb` (H, W, 3) in place and gives back where it hides what lies below
(H, W in [0, 1]), or None where a crack would still be seen through it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import cv2
import numpy as np

from agent.contract.arrays import Float32, UInt8
from agent.simulate.noise import as_float32, cloud, curve_noise, grain, log_uniform, smoothstep, value_noise
from agent.simulate.surface import render_surface

Distractor: TypeAlias = Callable[[np.random.Generator, Float32], "Float32 | None"]


def add_joint_line(
    rgb: Float32, line: Float32, *, width_px: float, depth: float | Float32, relief: float, step: float
) -> None:
    """Draw a straight joint in place.

    Args:
        rgb: (H, W, 3), changed.
        line: (H, W) signed distance from the joint, px.
        width_px: of the dark gap.
        depth: share of the light that the gap swallows, [0, 1]; one figure or (H, W). Below 0 it is pale.
        relief: relative brightness of the edge on the far side (below 0: darker); 0 for none.
        step: relative change of tone beyond the joint.
    """
    gap = np.clip(width_px / 2 + 0.5 - np.abs(line), 0, min(width_px, 1))
    edge = np.clip(1.5 - np.abs(line - width_px / 2 - 1), 0, 1)
    rgb *= ((1 - depth * gap) * (1 + relief * edge) * (1 + step * np.clip(line + 0.5, 0, 1)))[..., None]


def joint(rng: np.random.Generator, rgb: Float32) -> None:
    """A construction, sealing or formwork joint, or a row of planks."""
    height, width = rgb.shape[:2]
    line = _straight(rng, height, width) + rng.uniform(0, 0.8) * value_noise(rng, height, width, 30)
    many = rng.random() < 0.3
    if many:
        pitch = rng.uniform(0.1, 0.5) * max(min(height, width), 64)
        line = (line + pitch / 2) % np.float32(pitch) - np.float32(pitch / 2)
    gap = log_uniform(rng, 0.7, 12 if rng.random() < 0.4 else 4)
    depth: float | Float32 = rng.uniform(0.1, 0.85) if rng.random() < 0.8 else rng.uniform(-0.4, -0.1)
    if rng.random() < 0.4:  # dirt comes and goes along it
        worn = value_noise(rng, height, width, rng.uniform(6, 30))
        depth = as_float32(depth * smoothstep(worn, -1, rng.uniform(0, 1)))
    add_joint_line(
        rgb,
        line.astype(np.float32),
        width_px=gap,
        depth=depth,
        relief=rng.uniform(-0.4, 0.35) if rng.random() < 0.6 else 0.0,
        step=0.0 if many or rng.random() < 0.5 else rng.uniform(-0.25, 0.2),
    )


def ledge(rng: np.random.Generator, rgb: Float32) -> None:
    """A step in the surface: a band of another brightness, shaded at its edge."""
    height, width = rgb.shape[:2]
    line = _straight(rng, height, width)
    extent = rng.uniform(6, 0.5 * max(height, width))
    inside = np.clip(line + 0.5, 0, 1) * np.clip(extent - line + 0.5, 0, 1)
    shade = np.exp(-np.maximum(line, 0) / np.float32(rng.uniform(2, 30))) * rng.uniform(-0.2, 0.6)
    rgb *= (1 + inside * (np.float32(rng.uniform(-0.4, 0.3)) - shade))[..., None]


def repair(rng: np.random.Generator, rgb: Float32) -> Float32:
    """A repaved strip or a mortar patch: another surface with a straight or rough edge, perhaps sealed with tar."""
    height, width = rgb.shape[:2]
    line = _straight(rng, height, width)
    if rng.random() < 0.5:
        line = np.minimum(line, rng.uniform(20, 0.7 * max(height, width)) - line)
    if rng.random() < 0.4:
        line = np.minimum(line, _straight(rng, height, width))
    line = line + rng.uniform(0, 1.5) * value_noise(rng, height, width, rng.uniform(4, 20))
    other = render_surface(
        rng, height, width, material="concrete" if rng.random() < 0.4 else "asphalt", feature_px=rng.uniform(0.6, 1.8)
    )
    level = float(rgb.mean()) / max(float(other.mean()), 1e-3) * rng.uniform(0.7, 1.3)
    alpha = np.clip(line / np.float32(rng.uniform(1, 4)) + 0.5, 0, 1).astype(np.float32)
    _blend(rgb, other * np.float32(level), alpha)
    if rng.random() < 0.6:
        seam = np.clip(rng.uniform(0.8, 6) / 2 + 0.5 - np.abs(line), 0, 1)
        rgb *= (1 - rng.uniform(0.1, 0.7) * seam)[..., None]
    return as_float32(alpha)


def tar_band(rng: np.random.Generator, rgb: Float32) -> Float32:
    """A sealed joint: a smooth dark band that is far wider and duller than a crack."""
    height, width = rgb.shape[:2]
    line = _straight(rng, height, width) + rng.uniform(0.5, 4) * value_noise(rng, height, width, rng.uniform(30, 90))
    half = rng.uniform(4, 16)
    rough = value_noise(rng, height, width, 5) * rng.uniform(0.1, 1)
    alpha = np.clip(half - np.abs(line) + rough, 0, 1).astype(np.float32)
    tar = np.float32(rng.uniform(0.08, 0.3)) * (1 + 0.08 * grain(rng, height, width, 1.5))
    _blend(rgb, np.repeat(tar[..., None], 3, axis=2), alpha * np.float32(rng.uniform(0.7, 1)))
    return as_float32(alpha)


def marking(rng: np.random.Generator, rgb: Float32) -> None:
    """A painted stripe, white, yellow or grey, worn."""
    height, width = rgb.shape[:2]
    line = _straight(rng, height, width)
    alpha = np.clip(line + 0.5, 0, 1) * np.clip(rng.uniform(5, 0.4 * max(height, width)) - line + 0.5, 0, 1)
    worn = cloud(rng, height, width, [24, 6, 2])
    alpha = alpha * smoothstep(worn, *_sorted_pair(rng, -2.4, 0.2)) * np.float32(rng.uniform(0.3, 0.95))
    colour = np.array(
        [(0.9, 0.9, 0.88), (0.85, 0.7, 0.25), (0.5, 0.5, 0.5), (0.7, 0.25, 0.2)][rng.choice(4)], np.float32
    )
    rgb *= (1 - alpha)[..., None]
    rgb += alpha[..., None] * colour * np.float32(rng.uniform(0.6, 1.0))


def stain(rng: np.random.Generator, rgb: Float32) -> None:
    """Water, lime, rust, oil or moss: a blotch or a run-off streak, often with a darker rim."""
    height, width = rgb.shape[:2]
    cell = rng.uniform(0.1, 0.6) * min(height, width, 600)
    drips = rng.random() < 0.35
    field = value_noise(rng, height, width, (cell * 5, cell / 2) if drips else cell)
    field += rng.uniform(0.05, 0.4) * cloud(rng, height, width, [cell / 4 + 2, cell / 10 + 2, 3])
    field += rng.uniform(0.0, 0.3) * grain(rng, height, width, 0.9)
    low = rng.uniform(0.0, 1.3)
    soft = log_uniform(rng, 0.03, 0.8)
    alpha = smoothstep(field, low, low + soft)
    dye = np.array(
        [
            (-0.3, -0.29, -0.27),  # water
            (0.45, 0.46, 0.45),  # lime
            (-0.06, -0.2, -0.32),  # rust
            (-0.45, -0.45, -0.43),  # oil, soot
            (-0.3, -0.24, -0.36),  # moss
        ][rng.choice(5, p=(0.35, 0.2, 0.2, 0.15, 0.1))],
        np.float32,
    ) * np.float32(rng.uniform(0.3, 1.2))
    rgb *= np.maximum(1 + alpha[..., None] * dye, 0.1)
    if rng.random() < 0.4:  # a tide line
        rim = smoothstep(field, low - soft, low) * (1 - smoothstep(field, low, low + max(soft, 0.1)))
        rgb *= (1 + rng.uniform(-0.35, 0.1) * rim)[..., None]


def shadow(rng: np.random.Generator, rgb: Float32) -> None:
    """A cast shadow: of an edge, of a pole, or of leaves; hard or soft, a little blue in sunlight."""
    height, width = rgb.shape[:2]
    kind = rng.random()
    soft = log_uniform(rng, 0.7, 40)
    if kind < 0.7:
        line = _straight(rng, height, width, any_angle=True)
        if rng.random() < 0.4:
            line = line + rng.uniform(2, 12) * value_noise(rng, height, width, rng.uniform(20, 90))
        alpha = smoothstep(line.astype(np.float32), -soft, soft)
        if kind < 0.3:
            alpha = alpha * smoothstep(rng.uniform(4, 60) - line.astype(np.float32), -soft, soft)
    else:
        cell = rng.uniform(8, 60)
        alpha = smoothstep(cloud(rng, height, width, [cell, cell / 2, cell / 4]), 0.0, rng.uniform(0.6, 2.0))
    strength = np.float32(rng.uniform(0.15, 0.65))
    rgb *= 1 - strength * alpha[..., None] * np.array([1, 0.97, 0.92], np.float32)


def cable(rng: np.random.Generator, rgb: Float32) -> Float32:
    """A cable, wire or pipe: a smooth curve of one width with a highlight and a shadow."""
    height, width = rgb.shape[:2]
    size = float(max(height, width))
    count = 64
    angle = rng.uniform(0, 2 * math.pi) + rng.uniform(0, 0.5) * curve_noise(rng, count, 30)
    middle = np.array([rng.uniform(0, width), rng.uniform(0, height)])
    line = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], axis=1), axis=0) * (3 * size / count)
    line = line - line[count // 2] + middle
    thickness = round(log_uniform(rng, 1, 12))
    alpha = _stroke(line, height, width, thickness)
    if rng.random() < 0.5:
        below = _stroke(line + rng.uniform(1, 5, 2) * thickness / 3, height, width, thickness)
        rgb *= (1 - rng.uniform(0.2, 0.5) * cv2.GaussianBlur(below, (0, 0), 0.6 + thickness / 4))[..., None]
    colour = np.float32(log_uniform(rng, 0.04, 0.9)) * as_float32(1 + rng.normal(0, 0.1, 3))
    _blend(rgb, np.broadcast_to(colour, rgb.shape), alpha)
    if thickness > 3:
        glint = _stroke(line - thickness / 6, height, width, max(thickness // 4, 1))
        rgb *= (1 + rng.uniform(0, 0.6) * glint)[..., None]
    return as_float32(alpha)


def holes(rng: np.random.Generator, rgb: Float32) -> Float32:
    """Tie holes, anchors or drill holes: round, dark or plugged, some in a row, with a ring."""
    height, width = rgb.shape[:2]
    radius = rng.uniform(2, 12)
    first = np.array([rng.uniform(0, width), rng.uniform(0, height)])
    pitch = rng.uniform(-1, 1, 2) * max(height, width) * 0.5
    disc, ring = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    for i in range(int(rng.integers(1, 4))):
        x, y = first + i * pitch
        cv2.circle(disc, (round(x * 16), round(y * 16)), round(radius * 16), 255, -1, cv2.LINE_AA, 4)
        cv2.circle(
            ring, (round(x * 16), round(y * 16)), round(radius * 16), 255, max(round(radius / 5), 1), cv2.LINE_AA, 4
        )
    alpha = disc.astype(np.float32) / 255
    rgb *= (1 + rng.uniform(-0.85, 0.15) * alpha)[..., None]
    rgb *= (1 + rng.uniform(-0.5, 0.2) * (ring.astype(np.float32) / 255))[..., None]
    return as_float32(alpha)


def scratches(rng: np.random.Generator, rgb: Float32) -> None:
    """Light scrapes and chalk strokes: thin, straight, brighter than the surface."""
    height, width = rgb.shape[:2]
    lines = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        a = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        b = a + rng.normal(0, 0.25 * min(height, width, 500), 2)
        lines = np.maximum(lines, _stroke(np.stack([a, b]), height, width, 1 + int(rng.random() < 0.3)))
    rgb *= (1 + rng.uniform(0.1, 0.5) * lines)[..., None]


def writing(rng: np.random.Generator, rgb: Float32) -> None:
    """Numbers and letters sprayed or chalked on by inspectors."""
    height, width = rgb.shape[:2]
    text = "".join(rng.choice(list("0123456789ABKRWX.-/+"), int(rng.integers(1, 7))))
    size = rng.uniform(0.4, 3)
    canvas = np.zeros((height, width), np.uint8)
    at = (round(rng.uniform(-0.2, 0.8) * width), round(rng.uniform(0.1, 1) * height))
    cv2.putText(
        canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, 255, max(round(size * rng.uniform(0.7, 2.5)), 1), cv2.LINE_AA
    )
    turned = cv2.warpAffine(
        canvas, cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-30, 30), 1.0), (width, height)
    )
    alpha = as_float32(cv2.GaussianBlur(turned, (0, 0), rng.uniform(0.4, 1.5))) / np.float32(255)
    alpha = alpha * np.float32(rng.uniform(0.3, 0.9)) * smoothstep(value_noise(rng, height, width, 3), -2, 0)
    colour = np.array(
        [(0.95, 0.95, 0.95), (0.1, 0.1, 0.1), (0.7, 0.15, 0.1), (0.2, 0.3, 0.6)][rng.choice(4)], np.float32
    )
    _blend(rgb, np.broadcast_to(colour, rgb.shape), alpha)


def debris(rng: np.random.Generator, rgb: Float32) -> Float32:
    """Leaves, twigs, pebbles and gum."""
    height, width = rgb.shape[:2]
    alpha = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(1, 8))):
        spot = np.zeros((height, width), np.uint8)
        long, thin = log_uniform(rng, 1.5, 14), rng.uniform(0.15, 1)
        centre = (round(rng.uniform(0, width) * 16), round(rng.uniform(0, height) * 16))
        axes = (round(long * 16), max(round(long * thin * 16), 10))
        cv2.ellipse(spot, centre, axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA, 4)
        alpha = np.maximum(alpha, spot / np.float32(255))
    colour = np.array(
        [(0.3, 0.2, 0.1), (0.55, 0.45, 0.25), (0.7, 0.7, 0.68), (0.15, 0.15, 0.14)][rng.choice(4)], np.float32
    )
    rgb *= (1 - 0.35 * cv2.warpAffine(alpha, np.array([[1.0, 0, 1.5], [0, 1, 1.5]]), (width, height)))[..., None]
    _blend(rgb, np.broadcast_to(colour * np.float32(rng.uniform(0.6, 1.3)), rgb.shape), alpha)
    return as_float32(alpha)


DISTRACTORS: Final[Mapping[str, tuple[Distractor, float]]] = {  # and how often, relative to each other
    "joint": (joint, 3.0),
    "stain": (stain, 3.0),
    "shadow": (shadow, 1.6),
    "repair": (repair, 1.2),
    "marking": (marking, 1.0),
    "ledge": (ledge, 1.0),
    "cable": (cable, 0.9),
    "tar_band": (tar_band, 0.6),
    "holes": (holes, 0.8),
    "scratches": (scratches, 0.8),
    "writing": (writing, 0.6),
    "debris": (debris, 0.5),
}


def add_distractors(rng: np.random.Generator, rgb: Float32, count: int) -> None:
    """Draw `count` distractors of random kinds, in place."""
    names = list(DISTRACTORS)
    weights = np.array([DISTRACTORS[name][1] for name in names])
    for name in rng.choice(names, count, p=weights / weights.sum()):
        DISTRACTORS[str(name)][0](rng, rgb)


def _straight(rng: np.random.Generator, height: int, width: int, *, any_angle: bool = False) -> Float32:
    """Signed distance (H, W), px, from a random straight line: mostly along an axis, as builders build."""
    if any_angle or rng.random() < 0.3:
        angle = rng.uniform(0, 2 * math.pi)
    else:
        angle = rng.choice(4) * math.pi / 2 + rng.normal(0, 0.04)
    x, y = rng.uniform(0.05, 0.95) * width, rng.uniform(0.05, 0.95) * height
    across = np.float32(math.cos(angle)) * (np.arange(width, dtype=np.float32) - np.float32(x))
    down = np.float32(math.sin(angle)) * (np.arange(height, dtype=np.float32) - np.float32(y))
    return np.asarray(across[None] + down[:, None], np.float32)


def _stroke(line: Float32 | np.ndarray, height: int, width: int, thickness: int) -> Float32:
    """A line (K, 2) of one thickness, px, antialiased: (H, W) in [0, 1]."""
    canvas: UInt8 = np.zeros((height, width), np.uint8)
    points = np.round(np.asarray(line) * 16).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [points], isClosed=False, color=255, thickness=thickness, lineType=cv2.LINE_AA, shift=4)
    return as_float32(canvas / np.float32(255))


def _blend(rgb: Float32, other: Float32, alpha: Float32) -> None:
    rgb += alpha[..., None] * (other - rgb)


def _sorted_pair(rng: np.random.Generator, low: float, high: float) -> tuple[float, float]:
    a, b = sorted(rng.uniform(low, high, 2))
    return float(a), float(max(b, a + 0.1))
