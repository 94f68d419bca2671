"""Training pictures from flights: same seed, same bytes; truth and picture agree."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from agent.simulate.inspection.views import CRACK_SHARE, View, render_view


def view(seed: int, size: int = 128) -> View:
    return render_view(np.random.default_rng(seed), size)


@pytest.mark.parametrize("size", [64, 130])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(size: int) -> None:
    for seed in range(6):
        a, b, other = view(seed, size), view(seed, size), view(seed + 1000, size)
        assert a.image_rgb.shape == (size, size, 3)
        assert a.mask.shape == (size, size)
        assert a.image_rgb.tobytes() == b.image_rgb.tobytes()
        assert a.mask.tobytes() == b.mask.tobytes()
        assert a.image_rgb.tobytes() != other.image_rgb.tobytes()


def test_about_half_of_the_pictures_have_a_crack_that_is_darker_than_its_surroundings() -> None:
    pictures = [view(seed) for seed in range(80)]
    cracked = [p for p in pictures if p.mask.any()]
    assert CRACK_SHARE - 0.2 < len(cracked) / len(pictures) < CRACK_SHARE + 0.2
    darker = []
    for p in cracked:
        grey, core = p.image_rgb.mean(axis=2), cv2.erode(p.mask.astype(np.uint8), np.ones((2, 2))) > 0
        near = cv2.dilate(p.mask.astype(np.uint8), np.ones((15, 15))) > 0
        beside = near & ~(cv2.dilate(p.mask.astype(np.uint8), np.ones((7, 7))) > 0)
        if core.sum() > 40:
            darker.append(grey[core].mean() < grey[beside].mean())
    assert len(darker) > 15
    assert np.mean(darker) > 0.9
