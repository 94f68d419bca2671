from __future__ import annotations

import math

import numpy as np
import pytest

from agent.contract.crack import Crack
from agent.contract.frame import UNKNOWN_SCALE
from agent.measure import MeasureSettings, measure_cracks
from agent.measure.band import fit_bands
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
    ("width", "blur"), [(3, 0.5), (4, 0.5), (4, 1.0), (5, 1.0), (5, 1.5), (8, 0.5), (8, 1.0), (8, 1.5)]
)
def test_the_width_of_a_band_wider_than_the_blur_is_right_although_its_mask_is_too_wide(
    width: float, blur: float
) -> None:
    cracks = band_cracks(width=width, blur=blur, count=6, settings=MeasureSettings())
    medians = [crack.width_p50_px for crack in cracks if crack.width_p50_px is not None]
    points = np.concatenate([branch.width_px for crack in cracks for branch in crack.branches])
    assert len(medians) >= 5
    assert np.mean(medians) == pytest.approx(width, abs=0.1)
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


@pytest.mark.parametrize(("depth", "width", "blur"), [(0.3, 4.0, 1.0), (0.6, 8.0, 0.6), (0.2, 3.0, 0.7)])
def test_the_fit_finds_the_band_that_made_a_profile(depth: float, width: float, blur: float) -> None:
    step, centre = 0.3, 0.4
    t = (np.arange(61) - 30) * step
    scale = math.sqrt(2) * blur
    profile = [
        depth / 2 * (math.erf((x - centre + width / 2) / scale) - math.erf((x - centre - width / 2) / scale)) + 0.01
        for x in t
    ]
    fit = fit_bands(np.array([profile]), np.array([step]))
    assert fit.depth[0] == pytest.approx(depth, rel=1e-3)
    assert fit.width_px[0] == pytest.approx(width, rel=1e-3)
    assert fit.blur_px[0] == pytest.approx(blur, rel=1e-2)
    assert fit.depth_error[0] < 1e-3
