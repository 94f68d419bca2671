"""Training pictures: a random surface, perhaps cracked, with what is mistaken for cracks, as a camera would see it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from agent.contract.arrays import Bool, Float32, UInt8
from agent.simulate import distractors
from agent.simulate.camera import Camera, lamp_light, random_camera, take_picture
from agent.simulate.cracks import CrackLayer, CrackShape, draw, grow_crack, map_cracking, paint
from agent.simulate.noise import log_uniform
from agent.simulate.surface import Material, render_surface

MIN_SIZE_PX = 32
MARGIN_PX = 4  # rendered around and cut off, so that blur and JPEG blocks have no border of their own
REFERENCE_PX = 192  # the size for which one crack and up to a few distractors are usual
GAPING_SHARE = 0.1  # of the cracks are up to twice as wide as asked for: a close-up


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """A picture and its truth, pixel by pixel."""

    image_rgb: UInt8  # (H, W, 3)
    mask: Bool  # (H, W): coverage >= 0.5, or crossed by a centre line
    coverage: Float32  # (H, W), [0, 1]: share of the pixel that is crack, before the camera's blur
    cracks: tuple[CrackShape, ...]  # in px of this picture


def render_patch(
    rng: np.random.Generator,
    size_px: int,
    *,
    crack_share: float = 0.6,
    width_px: tuple[float, float] = (0.5, 8.0),
    material: Material | None = None,
) -> Patch:
    """Return one square training picture; the same generator state gives the same bytes.

    Args:
        rng: the source of everything random.
        size_px: edge, px, >= 32; a few thousand are fine and hold more cracks and distractors.
        crack_share: probability that it has a crack, [0, 1].
        width_px: narrowest and widest typical crack, px; small widths are more frequent (log-uniform).
        material: None draws one.

    Raises:
        ValueError: a size, share or width out of range.
    """
    if size_px < MIN_SIZE_PX:
        raise ValueError(f"size_px={size_px}: a patch has at least {MIN_SIZE_PX} px")
    if not 0 <= crack_share <= 1:
        raise ValueError(f"crack_share={crack_share} must lie between 0 and 1")
    if not 0 < width_px[0] <= width_px[1]:
        raise ValueError(f"width_px={width_px} must be two positive figures, the smaller one first")
    size = size_px + 2 * MARGIN_PX
    chosen: Material = material or ("concrete" if rng.random() < 0.6 else "asphalt")
    surface = render_surface(rng, size, size, material=chosen, feature_px=log_uniform(rng, 0.6, 2.2))
    cracked = rng.random() < crack_share
    crowd = min(size / REFERENCE_PX, 4.0)
    distractors.add_distractors(rng, surface, int(rng.poisson((0.7 if cracked else 1.2) * crowd)))
    camera = random_camera(rng, float(surface[::2, ::2].mean()))
    cracks = crossing_cracks(rng, size, width_px, visible_darkness(surface, camera), crowd) if cracked else ()
    layer = draw(cracks, size, size)
    return photographed(rng, paint(surface, cracks, layer), cracks, layer, camera, shadow_share=0.25)


def photographed(
    rng: np.random.Generator,
    light: Float32,
    cracks: tuple[CrackShape, ...],
    layer: CrackLayer,
    camera: Camera,
    *,
    shadow_share: float,
) -> Patch:
    """Return the patch of a painted surface, after what may hide, shade and light it, its margin cut off.

    Args:
        rng: the source of everything random.
        light: (H, W, 3), with the margin and the cracks; it is changed.
        cracks: in px of it.
        layer: of the same cracks.
        camera: that takes the picture.
        shadow_share: probability of a shadow, [0, 1].
    """
    size = len(light)
    coverage, mask = layer.coverage, layer.mask
    if rng.random() < 0.08:  # something lies over the crack, and hides it
        hidden = distractors.cable(rng, light)
        coverage, mask = coverage * (1 - hidden), mask & (hidden < 0.5)
    if rng.random() < shadow_share:
        distractors.shadow(rng, light)
    if rng.random() < 0.4:
        light = light * lamp_light(rng, size, size, rng.uniform(0.05, 0.5))[..., None]
    picture = take_picture(rng, light, camera)
    inner = slice(MARGIN_PX, size - MARGIN_PX)
    shift = np.array([[1.0, 0.0, -MARGIN_PX], [0.0, 1.0, -MARGIN_PX]])
    return Patch(
        image_rgb=np.ascontiguousarray(picture[inner, inner]),
        mask=np.ascontiguousarray(mask[inner, inner]),
        coverage=np.ascontiguousarray(coverage[inner, inner]),
        cracks=tuple(crack.transformed(shift, 1.0) for crack in cracks),
    )


@dataclass(frozen=True, slots=True)
class Visibility:
    """How dark a crack must be to stand out from the texture, after the camera's blur."""

    texture: float  # standard deviation of the texture, relative to its brightness
    blur_px: float

    def least_darkness(self, width_px: float) -> float:
        """Contrast of the crack equal to the texture's deviation."""
        return self.texture / min(1.0, width_px / (1 + 1.5 * self.blur_px))


def visible_darkness(surface: Float32, camera: Camera) -> Visibility:
    """Return how dark a crack must be to be seen on a surface (H, W, 3) by a camera."""
    grey = surface[..., 1]
    smooth = cv2.GaussianBlur(grey, (0, 0), max(camera.blur_px, 0.6))
    detail = (smooth - cv2.GaussianBlur(grey, (0, 0), 6)) / np.maximum(smooth, 0.02)
    middle = np.clip(detail, *np.percentile(detail[::4, ::4], (5, 95)))  # edges of distractors are no texture
    return Visibility(float(middle.std()) + camera.noise * 0.5, camera.blur_px)


def crossing_cracks(
    rng: np.random.Generator, size: int, width_px: tuple[float, float], seen: Visibility, crowd: float
) -> tuple[CrackShape, ...]:
    """One to a few cracks that pass through the picture, or a network of them."""
    cracks = []
    for _ in range(1 + int(rng.poisson(0.3 * crowd))):
        width = log_uniform(rng, *width_px)
        if rng.random() < GAPING_SHARE:
            width = width_px[1] * rng.uniform(1, 2)
        darkness = min(max(rng.uniform(0.15, 0.85), rng.uniform(0.8, 2.2) * seen.least_darkness(width)), 0.92)
        if width > 4:
            darkness = max(darkness, rng.uniform(0.55, 0.92))  # nobody sees the bottom of a wide crack
        if rng.random() < 0.1 and width < 5:
            cell = rng.uniform(0.15, 0.45) * min(size, 400)
            extent = min(size, 6 * cell)
            left, top = rng.uniform(0, max(size - extent, 1), 2)
            box = (left - 5, top - 5, left + extent + 5, top + extent + 5)
            cracks.append(map_cracking(rng, box=box, cell=cell, width=width, darkness=darkness, step=1.0))
            continue
        heading = rng.uniform(0, 2 * math.pi)
        length = max(size * rng.uniform(0.5, 2.2), 18 * width)
        through = rng.uniform(0.1, 0.9, 2) * size
        back = length * rng.uniform(0.2, 0.8)
        start = through - back * np.array([math.cos(heading), math.sin(heading)])
        cracks.append(
            grow_crack(
                rng,
                start_xy=(float(start[0]), float(start[1])),
                heading_rad=heading,
                length=length,
                width=width,
                darkness=darkness,
                step=1.0,
                branching=rng.uniform(0, 2.0),
            )
        )
    return tuple(cracks)
