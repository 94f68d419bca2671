"""Training pictures with relief: same seed, same bytes; truth and picture agree."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from agent.simulate.inspection.close_ups import render_close_up
from agent.simulate.inspection.texture import light_from, shaded
from agent.simulate.patches import Patch


def close_up(seed: int, size: int = 96, crack_share: float = 0.6, width: tuple[float, float] = (0.5, 8.0)) -> Patch:
    return render_close_up(np.random.default_rng(seed), size, crack_share=crack_share, width_px=width)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    for seed in range(6):
        a, b, other = close_up(seed), close_up(seed), close_up(seed + 1000)
        assert a.image_rgb.shape == (96, 96, 3)
        assert a.mask.shape == a.coverage.shape == (96, 96)
        assert a.image_rgb.tobytes() == b.image_rgb.tobytes()
        assert a.mask.tobytes() == b.mask.tobytes()
        assert a.image_rgb.tobytes() != other.image_rgb.tobytes()


def test_a_close_up_without_a_crack_has_an_empty_mask() -> None:
    for seed in range(12):
        p = close_up(seed, crack_share=0.0)
        assert not p.mask.any()
        assert p.cracks == ()


def test_the_mask_is_darker_than_what_lies_beside_it() -> None:
    darker = []
    for seed in range(50):
        p = close_up(seed, 128, crack_share=1.0, width=(1.5, 6.0))
        grey = p.image_rgb.mean(axis=2)
        core = p.coverage > 0.9
        near = cv2.dilate(p.mask.astype(np.uint8), np.ones((15, 15))) > 0
        beside = near & ~(cv2.dilate(p.mask.astype(np.uint8), np.ones((7, 7))) > 0)
        if core.sum() > 40 and beside.sum() > 40:
            darker.append(grey[core].mean() < grey[beside].mean())
    assert len(darker) > 25
    assert np.mean(darker) > 0.9


@pytest.mark.parametrize(("azimuth_deg", "bright"), [(0, "right"), (180, "left")])
def test_a_slope_that_faces_the_light_is_bright(azimuth_deg: float, bright: str) -> None:
    """A ridge down the picture, lit from the right: its right flank, where h falls with u, is bright."""
    u = np.linspace(-3, 3, 61, dtype=np.float32)
    height = np.broadcast_to(np.exp(-(u**2)), (5, 61))
    slope = np.stack([np.gradient(height, axis=1), np.zeros_like(height)], axis=2).astype(np.float32)
    shade = shaded(slope, light_from(np.radians(azimuth_deg), np.radians(30)))[2]
    left, right = shade[20:30].mean(), shade[31:41].mean()
    facing, away = (right, left) if bright == "right" else (left, right)
    assert facing > 1.02
    assert away < 0.98
    np.testing.assert_allclose(shade[[0, -1]], 1, atol=0.01)


def test_shading_is_n_dot_l() -> None:
    """By hand: slope 1 along u, light at 45 degrees from u: n = (-1, 0, 1) / sqrt 2, l = (1, 0, 1) / sqrt 2, n . l = 0;
    light from the other side: 1, over sin 45 of the level surface: sqrt 2."""
    slope = np.array([[[1.0, 0.0]]], np.float32)
    assert shaded(slope, light_from(0.0, np.pi / 4))[0, 0] == pytest.approx(0, abs=1e-6)
    assert shaded(slope, light_from(np.pi, np.pi / 4))[0, 0] == pytest.approx(np.sqrt(2), rel=1e-6)
