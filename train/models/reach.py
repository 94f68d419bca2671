"""How far an output pixel sees: steps of a network followed back, from the output to the input, as intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor
from typing import TypeAlias

Interval: TypeAlias = tuple[int, int]  # first and last pixel along one axis
Step: TypeAlias = Callable[[Interval], Interval]  # pixels of a result -> the pixels it was computed from


def conv(kernel: int, stride: int = 1, padding: int | None = None, dilation: int = 1) -> Step:
    """Return the step of a convolution or a pool; padding None is half the kernel's extent."""
    pad = dilation * (kernel // 2) if padding is None else padding
    return lambda of: (of[0] * stride - pad, of[1] * stride - pad + dilation * (kernel - 1))


def transposed(kernel: int, stride: int, padding: int = 0) -> Step:
    """Return the step of a transposed convolution."""
    return lambda of: (-((kernel - 1 - padding - of[0]) // stride), (of[1] + padding) // stride)


def bilinear(factor: int) -> Step:
    """Return the step of bilinear resizing by a factor, corners not aligned."""

    def left_neighbour(pixel: int) -> int:
        return floor((pixel + 0.5) / factor - 0.5)

    return lambda of: (left_neighbour(of[0]), left_neighbour(of[1]) + 1)


def nearest(factor: int) -> Step:
    """Return the step of repeating or rearranging pixels by a factor, unpooling too."""
    return lambda of: (of[0] // factor, of[1] // factor)


def receptive_field(steps: Sequence[Step], period: int) -> int:
    """Return twice the largest distance of an input pixel that an output pixel depends on, plus 1, px.

    Args:
        steps: of the longest path, from the output to the input.
        period: the network's stride: output pixels that far apart see alike.
    """
    farthest = 0
    for pixel in range(period):
        low, high = pixel, pixel
        for step in steps:
            low, high = step((low, high))
        farthest = max(farthest, pixel - low, high - pixel)
    return 2 * farthest + 1
