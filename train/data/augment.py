"""Random changes of a crop. Where things are changes for image and mask alike; what they look like, for the image.

Quarter turns, mirroring and whole shifts move pixels as they are. Turns by other angles and shear resample the picture
at its own scale, and only then is the crop resized, so that a reduced crop is averaged over all that it shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Bool, Float32, Float64, UInt8
from train.settings import Augment, Border

BORDERS: Final[Mapping[Border, int]] = {"reflect": cv2.BORDER_REFLECT_101, "nearest": cv2.BORDER_REPLICATE}
_THIN = 0.4  # a reduced pixel is crack from this share on: at 0.5 a crack of 1 px vanishes when the picture is halved


def random_crop(
    rng: np.random.Generator,
    image_rgb: UInt8,
    mask: Bool | None,
    size_px: int,
    augment: Augment,
    *,
    whole: bool = False,
) -> tuple[UInt8, Bool | None]:
    """Return a square crop of the picture at a random place, scale and orientation, and its mask.

    A picture smaller than the crop needs is continued at its far edges, as the agent does with frames, and a crop that
    reaches beyond the picture on all sides: as `augment.border` says.

    Args:
        rng: the source of everything random.
        image_rgb: (H, W, 3).
        mask: (H, W), or None.
        size_px: edge of the crop, px.
        augment: all that says where things are, and `border`.
        whole: keep all of the picture in sight, for one that is labelled as a whole.
    """
    scale = math.exp(rng.uniform(math.log(augment.scale[0]), math.log(augment.scale[1])))
    side = max(round(size_px / scale), 8)
    height, width = image_rgb.shape[:2]
    if whole:
        side = max(side, height, width)
    image_rgb, mask = pad(image_rgb, mask, max(side, height), max(side, width), augment.border)
    height, width = image_rgb.shape[:2]
    y, x = _corner(rng, mask, side, height, width, augment.seek)
    if augment.turn_deg or augment.shear_deg or augment.shift:
        image, truth = _moved(rng, image_rgb, mask, side, (x, y), augment, whole=whole)
    else:
        image, truth = image_rgb[y : y + side, x : x + side], None if mask is None else mask[y : y + side, x : x + side]
    if augment.rotate:
        turns = int(rng.integers(4))
        image, truth = np.rot90(image, turns), None if truth is None else np.rot90(truth, turns)
    if augment.flip and rng.random() < 0.5:
        image, truth = image[:, ::-1], None if truth is None else truth[:, ::-1]
    if augment.flip_vertical and rng.random() < 0.5:
        image, truth = image[::-1], None if truth is None else truth[::-1]
    return resized(image, truth, size_px, size_px)


def _corner(
    rng: np.random.Generator, mask: Bool | None, side: int, height: int, width: int, seek: float
) -> tuple[int, int]:
    """Return where a crop begins: anywhere, or for the share `seek` so that it holds a random crack pixel."""
    y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    if mask is None or rng.random() >= seek:
        return y, x
    crack = np.flatnonzero(mask)
    if not len(crack):
        return y, x
    row, column = divmod(int(crack[rng.integers(len(crack))]), width)
    inside = rng.integers(side, size=2)
    return (
        int(np.clip(row - inside[0], 0, height - side)),
        int(np.clip(column - inside[1], 0, width - side)),
    )


def _moved(
    rng: np.random.Generator,
    image_rgb: UInt8,
    mask: Bool | None,
    side: int,
    corner_xy: tuple[int, int],
    augment: Augment,
    *,
    whole: bool,
) -> tuple[UInt8, Bool | None]:
    """Return a crop of `side` px that is turned, sheared and shifted about the middle of the one at a corner."""
    angle, shear = (math.radians(rng.uniform(-1, 1) * limit) for limit in (augment.turn_deg, augment.shear_deg))
    shift = rng.uniform(-1, 1, 2) * augment.shift * side * (not whole)
    matrix = sampling_matrix(angle, shear)
    middle = (side - 1) / 2
    start = np.array(corner_xy) + middle + shift - matrix @ [middle, middle]
    inverse = np.column_stack([matrix, start])

    def sampled(content: UInt8) -> UInt8:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(content, inverse, (side, side), flags=flags, borderMode=BORDERS[augment.border])
        return np.asarray(warped, np.uint8)

    truth = None if mask is None else sampled(mask.view(np.uint8) * np.uint8(255)) >= 255 * _THIN
    return sampled(image_rgb), truth


def sampling_matrix(angle: float, shear: float) -> Float64:
    """Return how a step in the crop moves in the picture, (2, 2), x before y.

    Args:
        angle: rad, by which the crop's axes are turned in the picture.
        shear: rad, by which the crop's upright axis leans.
    """
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.asarray(turn @ np.array([[1.0, math.tan(shear)], [0.0, 1.0]]), np.float64)


def pad(
    image_rgb: UInt8, mask: Bool | None, height: int, width: int, border: Border = "reflect"
) -> tuple[UInt8, Bool | None]:
    """Continue a picture and its mask, below and to the right, to at least this extent."""
    below, right = max(height - image_rgb.shape[0], 0), max(width - image_rgb.shape[1], 0)
    if not below and not right:
        return image_rgb, mask
    grown = cv2.copyMakeBorder(image_rgb, 0, below, 0, right, BORDERS[border])
    if mask is None:
        return np.asarray(grown, np.uint8), None
    truth = cv2.copyMakeBorder(mask.view(np.uint8), 0, below, 0, right, BORDERS[border])
    return np.asarray(grown, np.uint8), truth.astype(np.bool_)


def resized(image_rgb: UInt8, mask: Bool | None, height: int, width: int) -> tuple[UInt8, Bool | None]:
    """Return picture and mask at another extent: by area when it shrinks, linear when it grows."""
    image = np.ascontiguousarray(image_rgb)
    truth = None if mask is None else np.ascontiguousarray(mask)
    if image.shape[:2] == (height, width):
        return image, truth
    shrinks = height < image.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)
    if truth is None:
        return image, None
    share = cv2.resize(truth.view(np.uint8) * np.uint8(255), (width, height), interpolation=how)
    return image, np.asarray(share >= 255 * (_THIN if shrinks else 0.5), np.bool_)


def photometric(rng: np.random.Generator, image_rgb: UInt8, augment: Augment) -> UInt8:
    """Return the crop as another camera under another light might have seen it, (H, W, 3)."""
    image = image_rgb
    if augment.blur_px and rng.random() < 0.3:
        sigma = rng.uniform(0.3, max(augment.blur_px, 0.3))
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    image = _recoloured(rng, image, augment)
    if augment.hue or augment.saturation:
        image = _tinted(image, rng.uniform(-1, 1) * augment.hue, 1 + rng.uniform(-1, 1) * augment.saturation)
    if rng.random() < augment.grey:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    if augment.noise and rng.random() < 0.5:
        image = _noisy(rng, image, 255 * rng.uniform(0, augment.noise))
    if rng.random() < augment.jpeg:
        _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))])
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)  # channel order passes through
    return image


def _recoloured(rng: np.random.Generator, image: UInt8, augment: Augment) -> UInt8:
    """Gamma, contrast, brightness and the gain of each channel, as one table per channel."""
    level = np.linspace(0, 1, 256)
    level = level ** math.exp(rng.uniform(-augment.gamma, augment.gamma))
    contrast = 1 + rng.uniform(-augment.contrast, augment.contrast)
    level = (level - 0.5) * contrast + 0.5 + rng.uniform(-augment.brightness, augment.brightness)
    gains = 1 + rng.uniform(-augment.colour, augment.colour, 3)
    table = np.clip(level[:, None] * gains * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def _tinted(image: UInt8, turn: float, factor: float) -> UInt8:
    """Turn the hue by a share of the circle, and multiply the saturation; lightness as HSV has it stays."""
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] * factor, 0, 1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255 + 0.5, np.float32).clip(0, 255).astype(np.uint8)


def _noisy(rng: np.random.Generator, image: UInt8, sigma: float) -> UInt8:
    """Gaussian noise, sigma in grey levels."""
    noise: Float32 = rng.standard_normal(image.shape, np.float32)
    return np.clip(image + noise * np.float32(sigma) + np.float32(0.5), 0, 255).astype(np.uint8)
