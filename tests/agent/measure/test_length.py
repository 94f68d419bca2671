from __future__ import annotations

import numpy as np
import pytest

from agent.contract.frame import UNKNOWN_SCALE
from agent.measure import MeasureSettings, measure_cracks
from agent.measure.length import branch_lengths, smoothed, step_lengths
from tests.agent.measure.bands import coverage


def test_lengths_of_bands_at_any_angle_are_right() -> None:
    rng = np.random.default_rng(3)
    errors = []
    for width in (1.5, 3, 8):
        for angle in np.arange(0, 180, 12.5):
            length = rng.uniform(70, 110)
            shift = tuple(rng.uniform(-0.5, 0.5, 2).tolist())
            band = np.rint(coverage(width=width, length=length, angle_deg=angle, shift_xy=shift) * 255).astype(np.uint8)
            frame = np.full((*band.shape, 3), 150, np.uint8)
            (crack,) = measure_cracks(band, frame, threshold=0.5, scale=UNKNOWN_SCALE, settings=MeasureSettings())
            errors.append(crack.length_px / length - 1)
            assert crack.orientation_deg is not None
            assert abs((crack.orientation_deg - angle + 90) % 180 - 90) < 4
    assert abs(np.mean(errors)) <= 0.01
    assert np.mean(np.abs(errors)) <= 0.01
    assert np.max(np.abs(errors)) <= 0.06


@pytest.mark.parametrize("radius", [20, 40, 80])
def test_the_length_of_an_arc_is_right_to_two_percent(radius: int) -> None:
    angle = np.linspace(0, np.pi, 40 * radius)
    pixels = np.unique(np.rint(radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)), axis=0)
    pixels = pixels[np.argsort(np.arctan2(pixels[:, 1], pixels[:, 0]))]
    starts = np.array([0, len(pixels)], np.int32)
    got = branch_lengths(smoothed(pixels, starts), starts)[0]
    assert got == pytest.approx(np.pi * radius, rel=0.02)


def test_smoothing_keeps_the_ends_of_each_branch_and_does_not_mix_branches() -> None:
    xy = np.array([[0, 0], [1, 0], [2, 1], [3, 1], [50, 50], [51, 50]], np.float64)
    starts = np.array([0, 4, 6], np.int32)
    got = smoothed(xy, starts)
    np.testing.assert_allclose(got[[0, 3, 4, 5]], xy[[0, 3, 4, 5]])
    np.testing.assert_allclose(got[1], [1, 1 / 3])
    np.testing.assert_allclose(step_lengths(xy, starts), [1, np.sqrt(2), 1, 0, 1, 0])
    np.testing.assert_allclose(branch_lengths(xy, starts), [2 + np.sqrt(2), 1])


def test_a_branch_of_one_point_has_no_length() -> None:
    xy, starts = np.array([[4.0, 4.0]]), np.array([0, 1], np.int32)
    assert branch_lengths(smoothed(xy, starts), starts).tolist() == [0]
