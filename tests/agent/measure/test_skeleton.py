from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.measure.skeleton import guo_hall, neighbour_table


def thinned(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Guo and Hall 1989, algorithm A1, pixel by pixel as the paper writes it."""
    image = np.pad(mask, 1)
    while True:
        before = image.copy()
        for turn in (0, 1):
            dead = []
            for y in range(1, image.shape[0] - 1):
                for x in range(1, image.shape[1] - 1):
                    if not image[y, x]:
                        continue
                    p2, p3, p4 = bool(image[y - 1, x]), bool(image[y - 1, x + 1]), bool(image[y, x + 1])
                    p5, p6, p7 = bool(image[y + 1, x + 1]), bool(image[y + 1, x]), bool(image[y + 1, x - 1])
                    p8, p9 = bool(image[y, x - 1]), bool(image[y - 1, x - 1])
                    crossings = sum(
                        [
                            not p2 and (p3 or p4),
                            not p4 and (p5 or p6),
                            not p6 and (p7 or p8),
                            not p8 and (p9 or p2),
                        ]
                    )
                    pairs = min(
                        sum([p9 or p2, p3 or p4, p5 or p6, p7 or p8]), sum([p2 or p3, p4 or p5, p6 or p7, p8 or p9])
                    )
                    side = (p2 or p3 or not p5) and p4 if turn else (p6 or p7 or not p9) and p8
                    if crossings == 1 and pairs in {2, 3} and not side:
                        dead.append((y, x))
            for y, x in dead:
                image[y, x] = 0
        if (image == before).all():
            return image[1:-1, 1:-1]


def skeleton_of(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    padded = np.pad(mask, 1)
    pixels = np.flatnonzero(padded).astype(np.int32)
    kept = np.zeros(padded.size, np.uint8)
    kept[pixels[guo_hall(neighbour_table(pixels, padded.shape[1]))]] = 1
    return kept.reshape(padded.shape)[1:-1, 1:-1]


def blobs(seed: int, size: int = 40) -> NDArray[np.uint8]:
    """Random shapes of many thicknesses."""
    noise = np.random.default_rng(seed).normal(size=(size, size))
    for _ in range(seed % 4):
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, -1, 1)) / 2
    return (noise > 0).astype(np.uint8)


@pytest.mark.parametrize("seed", range(8))
def test_the_skeleton_is_that_of_the_plain_loops_on_random_shapes(seed: int) -> None:
    mask = blobs(seed)
    np.testing.assert_array_equal(skeleton_of(mask), thinned(mask))


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.ones((1, 1), np.uint8), id="a single pixel"),
        pytest.param(np.ones((1, 9), np.uint8), id="a row"),
        pytest.param(np.ones((9, 1), np.uint8), id="a column"),
        pytest.param(np.ones((2, 2), np.uint8), id="a square of four"),
        pytest.param(np.ones((17, 23), np.uint8), id="a filled frame"),
        pytest.param(np.zeros((5, 5), np.uint8), id="nothing"),
        pytest.param(np.pad(np.zeros((5, 5), np.uint8), 4, constant_values=1), id="a ring"),
    ],
)
def test_the_skeleton_is_that_of_the_plain_loops_on_edge_cases(mask: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(skeleton_of(mask), thinned(mask))
