"""Widths and their 90 % interval on rendered surfaces with a known truth: the short form of `bench_width`."""

from __future__ import annotations

import numpy as np
import pytest

from agent.contract.arrays import UInt8
from agent.contract.crack import Crack
from agent.contract.frame import UNKNOWN_SCALE
from agent.measure import MeasureSettings, measure_cracks
from agent.simulate.noise import log_uniform
from tests.support.width_scenes import WidthScene, band_scene, crack_scene


def measured(scene: WidthScene) -> Crack | None:
    cracks = measure_cracks(scene.mask, scene.image_rgb, threshold=0.5, scale=UNKNOWN_SCALE, settings=MeasureSettings())
    return max(cracks, key=lambda crack: crack.length_px, default=None)


@pytest.mark.parametrize(("width", "blur"), [(3, 0.5), (4, 0.5), (5, 0.5), (5, 1.0), (8, 1.0), (8, 1.5)])
def test_widths_of_bands_on_textured_concrete_are_right(width: float, blur: float) -> None:
    errors = []
    for number in range(6):
        rng = np.random.default_rng([5, number, round(10 * width), round(10 * blur)])
        crack = measured(band_scene(rng, width=width, blur=blur, darkness=rng.uniform(0.25, 0.6)))
        if crack is not None and crack.gradable and crack.width_p50_px is not None:
            errors.append(crack.width_p50_px - width)
    assert len(errors) >= 3
    assert abs(np.mean(errors)) <= 0.1
    assert np.sqrt(np.mean(np.square(errors))) <= 0.15


def test_of_wandering_cracks_with_dirt_beside_them_the_interval_holds_the_truth_about_nine_times_in_ten() -> None:
    covered = []
    for number in range(120):
        rng = np.random.default_rng([6, number])
        scene = crack_scene(
            rng,
            width=log_uniform(rng, 3, 8),
            blur=rng.uniform(0.5, 1.2),
            darkness=rng.uniform(0.3, 0.6),
            material="concrete",
        )
        crack = measured(scene)
        if crack is not None and crack.width_lo_px is not None and crack.width_hi_px is not None:
            covered.append(crack.width_lo_px <= scene.width_px <= crack.width_hi_px)
    assert len(covered) >= 50
    assert 0.8 <= np.mean(covered) <= 0.98


def test_bands_of_a_pixel_whose_darkness_nobody_told_are_not_graded() -> None:
    for number in range(12):
        rng = np.random.default_rng([7, number])
        scene = band_scene(rng, width=log_uniform(rng, 0.6, 1.4), blur=1.0, darkness=rng.uniform(0.1, 0.6))
        crack = measured(scene)
        assert crack is None or not crack.gradable


def frame_of(light: float, *, contrast: float = 0.0) -> UInt8:
    picture = np.full((120, 160, 3), light, np.float64)
    picture[58:62] *= 1 - contrast
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        pytest.param(frame_of(0), "underexposed", id="all black"),
        pytest.param(frame_of(255), "glare", id="all white"),
        pytest.param(frame_of(150), "too little contrast", id="out of focus: nothing left to see"),
    ],
)
def test_pictures_that_tell_nothing_give_a_reason_and_no_interval(picture: UInt8, reason: str) -> None:
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[56:64, 10:150] = 255
    (crack,) = measure_cracks(mask, picture, threshold=0.5, scale=UNKNOWN_SCALE, settings=MeasureSettings())
    assert reason in (crack.not_gradable_reason or "")
    assert crack.width_lo_px is None
    assert crack.width_hi_px is None


@pytest.mark.parametrize("light", [0, 120, 255])
def test_a_mask_that_covers_the_whole_frame_has_no_width(light: float) -> None:
    picture = frame_of(light)
    (crack,) = measure_cracks(
        np.full(picture.shape[:2], 255, np.uint8),
        picture,
        threshold=0.5,
        scale=UNKNOWN_SCALE,
        settings=MeasureSettings(),
    )
    assert not crack.gradable
    assert crack.width_px is None or crack.width_px > 100
    assert crack.width_lo_px is None


def test_a_strongly_blurred_crack_is_not_graded() -> None:
    rng = np.random.default_rng(8)
    for _ in range(5):
        crack = measured(band_scene(rng, width=2.5, blur=4.0, darkness=0.6, noise=0.01))
        assert crack is not None
        assert not crack.gradable
