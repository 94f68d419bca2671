from __future__ import annotations

import cv2
import numpy as np
import pytest

from agent.contract.arrays import UInt8
from agent.contract.crack import Crack
from agent.contract.frame import UNKNOWN_SCALE
from agent.measure import MeasureSettings, measure_cracks
from agent.track.untangle import nearest, untangle
from tests.agent.track.drawn import wandering


def measured(canvas: UInt8) -> list[Crack]:
    light = np.where(canvas > 0, 60, 160).astype(np.uint8)
    frame = np.repeat(np.asarray(cv2.GaussianBlur(light, (0, 0), 0.8), np.uint8)[..., None], 3, axis=2)
    return measure_cracks(
        canvas, np.asarray(frame, np.uint8), threshold=0.5, scale=UNKNOWN_SCALE, settings=MeasureSettings()
    )


def drawn(*lines: tuple[np.ndarray[tuple[int, int], np.dtype[np.float64]], int]) -> UInt8:
    canvas = np.zeros((400, 500), np.uint8)
    for points, width in lines:
        cv2.polylines(canvas, [np.rint(points * 16).astype(np.int32)], False, 255, width, shift=4)
    return canvas


JOINT = np.array([[250.0, 10.0], [262.0, 390.0]])
CRACK = wandering(21, (120, 200), 260)


def test_a_crack_that_crosses_a_joint_is_taken_off_it() -> None:
    (tangled,) = measured(drawn((JOINT, 6), (CRACK, 3)))
    run, rest = untangle(tangled)
    assert run.length_px == pytest.approx(380, rel=0.05)
    assert rest.length_px == pytest.approx(260, rel=0.12)
    assert run.width_px == pytest.approx(6.5, abs=1.2)
    (alone,) = measured(drawn((CRACK, 3)))
    assert rest.width_p50_px == pytest.approx(alone.width_p50_px, abs=0.5)
    assert run.orientation_deg == pytest.approx(88, abs=4)
    assert run.area_px + rest.area_px == pytest.approx(tangled.area_px, rel=0.02)
    x, _, width, height = rest.bbox_xywh_px
    assert rest.mask.shape == (height, width)
    assert x >= 115
    assert width <= 275


def test_a_crack_with_branches_of_its_own_stays_whole() -> None:
    for seed in range(30, 50):
        main = wandering(seed, (80, 200), 330)
        side = wandering(seed + 100, (float(main[150, 0]), float(main[150, 1])), 120, heading_deg=55)
        for crack in measured(drawn((main, 3), (side, 3))):
            assert untangle(crack) == [crack], seed


def test_a_joint_alone_stays_whole() -> None:
    (joint,) = measured(drawn((JOINT, 5)))
    assert untangle(joint) == [joint]


@pytest.mark.parametrize("band_px", [16, 128, 4096])
def test_each_pixel_goes_to_the_nearest_branch_however_the_mask_is_looked_at(band_px: int) -> None:
    """The bands only spare work: a look at the whole box, here done by hand, says the same."""
    (tangled,) = measured(drawn((JOINT, 6), (CRACK, 3)))
    chosen = np.arange(len(tangled.branches)) % 2 == 0
    x, y, width, height = tangled.bbox_xywh_px
    away = []
    for side in (chosen, ~chosen):
        picture = np.ones((height, width), np.uint8)
        for one in np.flatnonzero(side):
            at = np.rint(tangled.branches[one].line_xy_px).astype(int) - (x, y)
            picture[at[:, 1], at[:, 0]] = 0
        away.append(cv2.distanceTransform(picture, cv2.DIST_L2, 5))
    to_chosen, to_others = nearest(tangled, chosen, band_px=band_px)
    assert np.array_equal(to_chosen, tangled.mask & (away[0] <= away[1]))
    assert np.array_equal(to_others, tangled.mask & (away[1] <= away[0]))
