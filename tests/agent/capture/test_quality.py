"""Sharpness and exposure, and which pictures are passed over for them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from agent.capture.quality import QualityFilter, measure_quality
from agent.capture.settings import QualitySettings
from agent.contract.arrays import UInt8
from agent.contract.frame import Quality
from tests.support.cameras import noise

SHARP = Quality(sharpness=100, exposure=0.5, clipped_dark=0, clipped_bright=0)
BLURRED = replace(SHARP, sharpness=40)


def test_sharpness_is_the_variance_of_the_laplacian_by_hand() -> None:
    """A picture smaller than a patch: the kernel 0 1 0 / 1 -4 1 / 0 1 0 by loops, borders reflected."""
    picture = noise(3, height=20, width=30)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(float)
    padded = np.pad(grey, 1, mode="reflect")
    values = [
        padded[y - 1, x] + padded[y + 1, x] + padded[y, x - 1] + padded[y, x + 1] - 4 * padded[y, x]
        for y in range(1, 21)
        for x in range(1, 31)
    ]
    mean = sum(values) / len(values)
    assert measure_quality(picture).sharpness == pytest.approx(
        sum((value - mean) ** 2 for value in values) / len(values), abs=1e-3
    )


def test_blur_lowers_sharpness_and_nothing_else() -> None:
    picture = noise(0, height=400, width=600)
    before, after = measure_quality(picture), measure_quality(_blurred(picture))
    assert after.sharpness < 0.1 * before.sharpness
    assert after.exposure == pytest.approx(before.exposure, abs=0.01)


def test_one_sharp_corner_does_not_make_a_sharp_picture() -> None:
    picture = _blurred(noise(0, height=400, width=600))
    picture[:130, :130] = noise(1, height=130, width=130)
    assert measure_quality(picture).sharpness == pytest.approx(
        measure_quality(_blurred(noise(0, height=400, width=600))).sharpness, rel=0.5
    )


@pytest.mark.parametrize(
    ("shade", "exposure", "dark", "bright"),
    [(0, 0.0, 1.0, 0.0), (255, 1.0, 0.0, 1.0), (51, 0.2, 0.0, 0.0)],
    ids=["black", "white", "a fifth of full scale"],
)
def test_exposure_of_a_plain_picture(shade: int, exposure: float, dark: float, bright: float) -> None:
    quality = measure_quality(np.full((50, 70, 3), shade, np.uint8))
    assert (quality.exposure, quality.clipped_dark, quality.clipped_bright) == (exposure, dark, bright)


def test_a_single_pixel_has_a_quality() -> None:
    assert measure_quality(np.full((1, 1, 3), 255, np.uint8)).exposure == 1


class TestPassingOver:
    @pytest.fixture
    def used(self) -> QualityFilter:
        """A filter that has seen sharp pictures."""
        made = QualityFilter(QualitySettings(blurred_below=0.5, most_skipped=2))
        assert [made.objection(SHARP, more_come=True) for _ in range(10)] == [None] * 10
        return made

    def test_blur_is_passed_over_while_more_pictures_come(self, used: QualityFilter) -> None:
        objection = used.objection(BLURRED, more_come=True)
        assert objection is not None
        assert objection.startswith("blurred: sharpness 40, and 100 is usual here")

    def test_blur_is_inferred_where_every_picture_can_be(self, used: QualityFilter) -> None:
        assert used.objection(BLURRED, more_come=False) is None

    def test_never_more_than_so_many_go_in_a_row(self, used: QualityFilter) -> None:
        passed = [used.objection(BLURRED, more_come=True) is None for _ in range(6)]
        assert passed == [False, False, True, False, False, True]

    def test_what_is_usual_follows_the_surface(self, used: QualityFilter) -> None:
        for _ in range(40):
            used.objection(BLURRED, more_come=True)
        assert used.objection(BLURRED, more_come=True) is None

    def test_the_first_pictures_are_never_called_blurred(self) -> None:
        fresh = QualityFilter(QualitySettings())
        assert fresh.objection(SHARP, more_come=True) is None
        assert fresh.objection(BLURRED, more_come=True) is None

    def test_clipped_pictures_go_even_where_every_picture_can_be_inferred(self, used: QualityFilter) -> None:
        assert used.objection(replace(SHARP, clipped_bright=0.99), more_come=False) == "99% of the picture is white"
        assert used.objection(replace(SHARP, clipped_dark=0.98), more_come=False) is None

    def test_zero_turns_it_off(self) -> None:
        off = QualityFilter(QualitySettings(blurred_below=0))
        assert [off.objection(SHARP, more_come=True) for _ in range(10)] == [None] * 10
        assert off.objection(replace(SHARP, sharpness=0.0), more_come=True) is None


def _blurred(picture: UInt8) -> UInt8:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 3), np.uint8)
