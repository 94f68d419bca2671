from __future__ import annotations

import math

import numpy as np
import pytest

from agent.contract.arrays import Float64
from agent.contract.crack import Crack
from agent.contract.frame import UNKNOWN_SCALE
from agent.measure import MeasureSettings, measure_cracks
from agent.measure.band import HALF, SAMPLES, darkness_quantiles, snapped
from tests.agent.measure.bands import coverage, generous_mask, photo


def band_cracks(
    *, width: float, blur: float, count: int, settings: MeasureSettings, darkness: float | None = None
) -> list[Crack]:
    """Measure bands at random angles and of random darkness, in masks a pixel too wide, with 2 % noise."""
    rng = np.random.default_rng(round(100 * width + 10 * blur))
    cracks = []
    for _ in range(count):
        shift = tuple(rng.uniform(-0.5, 0.5, 2).tolist())
        band = coverage(width=width, length=110, angle_deg=rng.uniform(0, 180), shift_xy=shift)
        frame = photo(band, darkness=darkness or rng.uniform(0.2, 0.6), blur=blur, noise=0.02, rng=rng)
        mask = generous_mask(band)
        cracks += measure_cracks(mask, frame, threshold=0.5, scale=UNKNOWN_SCALE, settings=settings)
    assert len(cracks) == count
    return cracks


@pytest.mark.parametrize(
    ("width", "blur", "bias"),
    [
        *[(w, b, 0.05) for w, b in ((3, 0.5), (4, 0.5), (4, 1.0), (5, 1.0), (8, 0.5), (8, 1.0), (8, 1.5))],
        (5, 1.5, 0.2),  # 3.3 times the blur: the top of the profile is no longer flat
    ],
)
def test_the_width_of_a_band_wider_than_the_blur_is_right_although_its_mask_is_too_wide(
    width: float, blur: float, bias: float
) -> None:
    cracks = band_cracks(width=width, blur=blur, count=6, settings=MeasureSettings())
    medians = [crack.width_p50_px for crack in cracks if crack.width_p50_px is not None]
    points = np.concatenate([branch.width_px for crack in cracks for branch in crack.branches])
    assert len(medians) >= 5
    assert np.mean(medians) == pytest.approx(width, abs=bias)
    assert math.sqrt(np.nanmean(np.square(points - width))) < 0.2
    assert max(crack.width_px or 0 for crack in cracks) < width + 0.5


@pytest.mark.parametrize(("width", "blur"), [(0.6, 0.5), (1, 0.5), (1, 1.0), (1.5, 1.0)])
def test_a_band_narrower_than_the_blur_gets_a_reason_and_the_width_of_its_mask(width: float, blur: float) -> None:
    cracks = band_cracks(width=width, blur=blur, count=6, settings=MeasureSettings())
    refused = [crack for crack in cracks if crack.not_gradable_reason]
    assert len(refused) >= 5
    for crack in refused:
        mask_width = crack.area_px / crack.length_px
        assert crack.width_p50_px == pytest.approx(mask_width, abs=1)


@pytest.mark.parametrize(("width", "blur"), [(0.5, 0.5), (0.75, 1.0), (1, 0.5), (1, 1.0), (1.5, 1.0)])
def test_with_known_darkness_a_band_below_a_pixel_gets_its_width(width: float, blur: float) -> None:
    settings = MeasureSettings(darkness=0.5)
    cracks = band_cracks(width=width, blur=blur, count=6, settings=settings, darkness=0.5)
    medians = [crack.width_p50_px for crack in cracks]
    assert all(median is not None for median in medians)
    assert np.mean([median for median in medians if median is not None]) == pytest.approx(width, abs=0.15)


@pytest.mark.parametrize(
    ("light", "reason"),
    [
        pytest.param((150, 150), "too little contrast", id="a mask over a plain surface"),
        pytest.param((150, 200), "too little contrast", id="brighter than the surface"),
        pytest.param((255, 120), "overexposed", id="a white surface"),
        pytest.param((4, 0), "underexposed", id="a black surface"),
    ],
)
def test_where_the_picture_tells_nothing_the_reason_says_so(light: tuple[int, int], reason: str) -> None:
    band = coverage(width=4, length=100, angle_deg=30)
    frame = np.rint(light[0] + (light[1] - light[0]) * band).astype(np.uint8)
    (crack,) = measure_cracks(
        generous_mask(band),
        np.repeat(frame[..., None], 3, axis=2),
        threshold=0.5,
        scale=UNKNOWN_SCALE,
        settings=MeasureSettings(),
    )
    assert reason in (crack.not_gradable_reason or "")
    assert not crack.gradable


def test_a_slope_of_light_across_the_crack_does_not_change_its_width() -> None:
    band = coverage(width=5, length=120, angle_deg=20)
    slope = np.linspace(0.6, 1.2, band.shape[1])
    frame = np.repeat(np.rint(180 * slope * (1 - 0.5 * band))[..., None], 3, axis=2).astype(np.uint8)
    (crack,) = measure_cracks(
        generous_mask(band), frame, threshold=0.5, scale=UNKNOWN_SCALE, settings=MeasureSettings()
    )
    assert crack.width_p50_px == pytest.approx(5, abs=0.1)


def profile(depth: float, width: float, blur: float, inner: float) -> list[float]:
    scale = math.sqrt(2) * blur
    at = [inner * (k / HALF - 1) for k in range(SAMPLES)]
    return [depth / 2 * (math.erf((x + width / 2) / scale) - math.erf((x - width / 2) / scale)) for x in at]


def quantiles(depth: float, width: float, blur: float) -> Float64:
    """Of the darkness of one stretch, with 0.2 % noise."""
    inner = snapped(np.array([width / 2 + 5]))
    noise = np.random.default_rng(1).normal(0, 0.002, SAMPLES)
    found: Float64 = darkness_quantiles(
        np.array([profile(depth, width, blur, inner[0])]) + noise, inner, np.array([0])
    )[0]
    return found


@pytest.mark.parametrize(("depth", "width", "blur"), [(0.3, 6.0, 1.0), (0.6, 8.0, 0.8), (0.2, 5.0, 0.7), (0.5, 40, 3)])
def test_of_a_band_wider_than_its_blur_the_darkness_is_told(depth: float, width: float, blur: float) -> None:
    low, middle, high = quantiles(depth, width, blur)
    assert middle == pytest.approx(depth, rel=0.02)
    assert low < depth < high < 1.15 * depth


@pytest.mark.parametrize(("depth", "width", "blur"), [(0.3, 1.0, 1.0), (0.5, 0.7, 0.8), (0.2, 1.5, 1.5)])
def test_of_a_band_narrower_than_its_blur_the_darkness_stays_open(depth: float, width: float, blur: float) -> None:
    low, _, high = quantiles(depth, width, blur)
    assert low < 1.6 * depth
    assert high > 0.8


def test_a_wide_band_tells_the_frames_blur_to_the_narrow_one_beside_it() -> None:
    inner = snapped(np.array([6.5, 9.0]))
    rng = np.random.default_rng(2)
    narrow = np.array(profile(0.4, 3.0, 1.2, inner[0])) + rng.normal(0, 0.002, SAMPLES)
    wide = np.array(profile(0.5, 8.0, 1.2, inner[1])) + rng.normal(0, 0.002, SAMPLES)
    alone = darkness_quantiles(narrow[None], inner[:1], np.array([0]))[0]
    helped = darkness_quantiles(np.stack([narrow, wide]), inner, np.array([0, 1]))[0]
    assert helped[2] / helped[0] < 0.8 * alone[2] / alone[0]
    assert helped[0] < 0.4 < helped[2]
