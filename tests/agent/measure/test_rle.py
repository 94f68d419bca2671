from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.contract.flight import MaskRle
from agent.measure import mask_rle


def decoded(size: tuple[int, int], counts: tuple[int, ...]) -> NDArray[np.bool_]:
    """Lay the runs down pixel by pixel, columns first, as COCO defines it."""
    height, width = size
    frame = np.zeros((height, width), np.bool_)
    place, value = 0, False
    for count in counts:
        for _ in range(count):
            frame[place % height, place // height] = value
            place += 1
        value = not value
    assert place == height * width
    return frame


@pytest.mark.parametrize("seed", range(12))
def test_a_mask_is_read_back_as_it_was(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 24, 2).tolist()
    h, w = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
    y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    mask = rng.random((h, w)) < rng.choice([0.2, 0.5, 0.9])
    frame = np.zeros((height, width), np.bool_)
    frame[y : y + h, x : x + w] = mask
    size, counts = mask_rle((x, y, w, h), mask, (height, width))
    np.testing.assert_array_equal(decoded(size, counts), frame)
    assert all(count > 0 for count in counts[1:])
    assert MaskRle(size=size, counts=counts).size == (height, width)


@pytest.mark.parametrize(
    ("box", "mask", "hw", "counts"),
    [
        pytest.param(
            (0, 0, 2, 2), np.ones((2, 2), np.bool_), (2, 2), (0, 4), id="a full frame begins with no background"
        ),
        pytest.param((1, 0, 1, 2), np.ones((2, 1), np.bool_), (2, 3), (2, 2, 2), id="column by column"),
        pytest.param((0, 0, 2, 3), np.ones((3, 2), np.bool_), (3, 3), (0, 6, 3), id="a run goes on in the next column"),
        pytest.param((0, 0, 1, 1), np.zeros((1, 1), np.bool_), (2, 2), (4,), id="an empty mask"),
    ],
)
def test_counts_are_those_of_coco(
    box: tuple[int, int, int, int], mask: NDArray[np.bool_], hw: tuple[int, int], counts: tuple[int, ...]
) -> None:
    assert mask_rle(box, mask, hw) == (hw, counts)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        pytest.param((0, 0, 3, 2), "does not fill a box", id="another size"),
        pytest.param((9, 0, 2, 2), "leaves the frame", id="beyond the edge"),
        pytest.param((-1, 0, 2, 2), "leaves the frame", id="before the edge"),
    ],
)
def test_a_box_that_does_not_fit_is_refused(box: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask_rle(box, np.ones((2, 2), np.bool_), (10, 10))
