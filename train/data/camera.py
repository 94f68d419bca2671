"""What a camera and its light do to a picture, for a whole batch at once, on whatever device it lies.

The same changes, with the same settings, as `train.data.augment.photometric` makes to one crop.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from train.settings import Augment

_BLURRED, _NOISY = 0.3, 0.5  # shares of the crops
_BLOCK = 8  # px, of JPEG
# ITU-T T.81, table K.1
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def photographed(rng: np.random.Generator, image: Tensor, augment: Augment) -> Tensor:
    """Return crops as other cameras under other lights might have seen them.

    Args:
        rng: the source of everything random.
        image: (N, 3, H, W) in [0, 1].
        augment: what is changed, and how far.
    """
    count = len(image)

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        values = rng.uniform(low, high, (count, *shape)).astype(np.float32)
        return torch.from_numpy(values).to(image.device).view(count, *shape, *[1] * (3 - len(shape)))

    blurred, grey, noisy, packed = (
        np.flatnonzero(rng.random(count) < share) for share in (_BLURRED, augment.grey, _NOISY, augment.jpeg)
    )
    if augment.blur_px and len(blurred):
        sigma = rng.uniform(0.3, max(augment.blur_px, 0.3), len(blurred))
        image = _with(image, blurred, lambda some: _blurred(some, sigma))
    image = image.clamp(0, 1) ** drawn(-augment.gamma, augment.gamma).exp()
    contrast = 1 + drawn(-augment.contrast, augment.contrast)
    image = (image - 0.5) * contrast + 0.5 + drawn(-augment.brightness, augment.brightness)
    image = (image * (1 + drawn(-augment.colour, augment.colour, 3))).clamp(0, 1)
    if augment.hue or augment.saturation:
        image = _tinted(image, drawn(-augment.hue, augment.hue)[:, 0], 1 + drawn(-1, 1) * augment.saturation)
    if len(grey):
        weights = image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        image = _with(image, grey, lambda some: (some * weights).sum(dim=1, keepdim=True).expand_as(some))
    if augment.noise and len(noisy):
        generator = torch.Generator(image.device).manual_seed(int(rng.integers(2**62)))
        size = image.new_tensor(rng.uniform(0, augment.noise, (len(noisy), 1, 1, 1)))
        noise = torch.randn(len(noisy), *image.shape[1:], generator=generator, device=image.device) * size
        image = _with(image, noisy, lambda some: (some + noise).clamp(0, 1))
    if len(packed):
        quality = rng.integers(40, 96, len(packed))
        image = _with(image, packed, lambda some: as_jpeg(some, quality))
    return (image * 255).round() / 255  # pictures have 256 levels


def as_jpeg(image: Tensor, quality: NDArray[np.int64]) -> Tensor:
    """Return pictures as the quantisation of JPEG leaves them.

    Blocks of 8 x 8 with the luminance table for all three channels; colour is not subsampled.

    Args:
        image: (N, 3, H, W) in [0, 1]; what is left over beyond whole blocks passes as it is.
        quality: (N,), 1 to 100, on the scale of libjpeg.
    """
    height, width = (edge // _BLOCK * _BLOCK for edge in image.shape[-2:])
    scale = np.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    table = image.new_tensor(np.clip(np.round(np.array(_LUMINANCE) * scale[:, None, None]), 1, 255)) / 255
    place, frequency = torch.arange(_BLOCK, device=image.device), torch.arange(_BLOCK, device=image.device)[:, None]
    basis = torch.cos(math.pi * (2 * place + 1) * frequency / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    basis[0] /= math.sqrt(2)
    inner = image[..., :height, :width] - 128 / 255
    blocks = inner.unfold(2, _BLOCK, _BLOCK).unfold(3, _BLOCK, _BLOCK)  # (N, 3, rows, columns, 8, 8)
    step = table[:, None, None, None]
    quantised = (basis @ blocks @ basis.T / step).round() * step
    back = (basis.T @ quantised @ basis).permute(0, 1, 2, 4, 3, 5).reshape(inner.shape)
    result = image.clone()
    result[..., :height, :width] = (back + 128 / 255).clamp(0, 1)
    return result


def _tinted(image: Tensor, turn: Tensor, factor: Tensor) -> Tensor:
    """Turn the hue and multiply the saturation, as HSV has them.

    A colour is its largest channel less its saturation times what the hue leaves out of each channel.

    Args:
        image: (N, 3, H, W) in [0, 1].
        turn: (N, 1, 1) share of the circle.
        factor: (N, 1, 1, 1).
    """
    red, green, blue = image.unbind(1)
    value, least = image.amax(1), image.amin(1)
    span = (value - least).clamp_min(1e-12)
    sector = torch.where(
        value == red,
        (green - blue) / span,
        torch.where(value == green, 2 + (blue - red) / span, 4 + (red - green) / span),
    )
    hue = sector / 6 + turn
    saturation = ((value - least) / value.clamp_min(1e-12))[:, None] * factor
    place = (image.new_tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1) + 6 * hue[:, None]).remainder(6)
    left_out = torch.minimum(place, 4 - place).clamp(0, 1)
    return value[:, None] * (1 - saturation.clamp(0, 1) * left_out)


def _with(image: Tensor, places: NDArray[np.int64], change: Callable[[Tensor], Tensor]) -> Tensor:
    at = torch.from_numpy(places).to(image.device)
    return image.index_copy(0, at, change(image.index_select(0, at)))


def _blurred(image: Tensor, sigma: NDArray[np.float64]) -> Tensor:
    """Gaussian blur, each picture by its own sigma, px."""
    radius = max(math.ceil(3 * float(sigma.max())), 1)
    place = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (place / sigma[:, None]) ** 2)
    kernel /= kernel.sum(axis=1, keepdims=True)
    count, channels, height, width = image.shape
    taps = image.new_tensor(kernel).repeat_interleave(channels, dim=0)[:, None]
    flat = image.reshape(1, count * channels, height, width)
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="reflect"), taps[:, :, None], groups=count * channels)
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="reflect"), taps[..., None], groups=count * channels)
    return flat.view_as(image)
