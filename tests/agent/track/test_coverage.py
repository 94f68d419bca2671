from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from agent.contract.arrays import Float64, UInt8
from agent.contract.frame import Frame, Pose, Scale
from agent.track.coverage import CoverageMap
from agent.track.locator import SURFACE, Located
from agent.track.placement import placed
from agent.track.quality import BLUR, BRIGHT, DARK, IGNORED, OK, judge
from agent.track.settings import CoverageSettings
from tests.agent.track.drawn import frame, wall

HW = (240, 320)
ONE_MM = Scale(mm_per_px=1.0, source="setting")
SHARP = wall(1, *HW)


def located(picture: Frame) -> Located | None:
    place = placed(picture.pose, picture.scale, (picture.height, picture.width))
    return None if place is None else Located(patch=SURFACE, placement=place, metric=True, posed=True)


def covered(poses: Sequence[Pose], image: UInt8 = SHARP, **settings: object) -> CoverageMap:
    gathered = CoverageMap(CoverageSettings.model_validate({"cell_mm": 5.0, **settings}))
    for index, pose in enumerate(poses):
        picture = frame(index, image, pose=pose, scale=ONE_MM)
        gathered.add(picture, located(picture))
    return gathered


def union_m2(poses: Sequence[Pose]) -> float:
    """The area under all frames, drawn at 1 mm: another route than cells and masks."""
    canvas = np.zeros((1500, 2500), np.uint8)
    for pose in poses:
        cos, sin = math.cos(math.radians(pose.rotation_deg)), math.sin(math.radians(pose.rotation_deg))
        corner: Float64 = np.array([(0, 0), (HW[1], 0), (HW[1], HW[0]), (0, HW[0])]) @ np.array(
            [[cos, sin], [-sin, cos]]
        )
        cv2.fillPoly(canvas, [np.rint(corner + np.array((pose.x_mm + 400, pose.y_mm + 400))).astype(np.int32)], 1)
    return float(canvas.sum()) / 1e6


class TestSurface:
    POSES = tuple(
        Pose(x_mm=110.0 * index, y_mm=40 * math.sin(index), rotation_deg=8 * math.cos(index)) for index in range(12)
    )

    def test_the_area_is_that_under_all_frames_each_place_once(self) -> None:
        result = covered(self.POSES).result()
        assert result.inspected_m2 == pytest.approx(union_m2(self.POSES), rel=0.02)
        assert result.not_gradable_m2 == 0

    def test_a_second_look_adds_nothing(self) -> None:
        once, twice = covered(self.POSES).result(), covered([*self.POSES, *self.POSES]).result()
        assert once == twice

    def test_a_hole_that_was_flown_around_was_never_seen(self) -> None:
        ring = [Pose(x_mm=x, y_mm=y) for x in (0, 300, 600) for y in (0, 220, 440) if (x, y) != (300, 220)]
        result = covered(ring).result()
        assert result.never_seen_m2 == pytest.approx((300 - 20) * (220 - 20) / 1e6, rel=0.06)
        (hole,) = [area for area in result.areas if area.state == "never_seen"]
        assert hole.area_m2 == result.never_seen_m2
        (whole,) = [area for area in result.areas if area.state == "inspected"]
        assert len(whole.outlines_mm) == 2  # an outline with a hole

    def test_of_a_target_area_all_that_is_missing_was_never_seen(self) -> None:
        target = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.48), (0.0, 0.48))
        result = covered([Pose(x_mm=0, y_mm=0)], target_m=target).result()
        assert result.target
        assert result.never_seen_m2 == pytest.approx(1.0 * 0.48 - 0.32 * 0.24, rel=0.03)

    def test_the_smallest_width_is_that_of_the_nearest_look(self) -> None:
        gathered = CoverageMap(CoverageSettings(cell_mm=5.0, findable_px=2.0))
        for index, scale in enumerate((1.0, 0.4)):
            picture = frame(index, SHARP, pose=Pose(x_mm=0, y_mm=0), scale=Scale(mm_per_px=scale, source="setting"))
            gathered.add(picture, located(picture))
        result = gathered.result()
        # the nearer look covers 0.16 of the farther one's area
        assert result.smallest_width_mm == pytest.approx(2.0, rel=0.7)
        assert result.smallest_width_worst_mm is not None
        assert result.smallest_width_worst_mm >= 2.0
        near = CoverageMap(CoverageSettings(cell_mm=5.0))
        near.add(picture, located(picture))
        assert (near.result().smallest_width_mm or 9) < (result.smallest_width_mm or 0)

    def test_a_pose_far_off_costs_no_memory_and_harms_no_figure(self) -> None:
        away = covered([Pose(x_mm=0, y_mm=0), Pose(x_mm=5e8, y_mm=-5e8)])
        result = away.result()
        assert result.inspected_m2 == pytest.approx(2 * 0.32 * 0.24, rel=0.02)
        assert result.never_seen_m2 is None  # too large to be looked at as a whole, and said so
        assert result.areas == ()

    def test_what_memory_has_no_room_for_is_counted(self) -> None:
        result = covered([Pose(x_mm=1000.0 * index, y_mm=0) for index in range(20)], most_cells=40_000).result()
        assert result.beyond_memory_m2 > 0
        assert (result.inspected_m2 or 0) + result.beyond_memory_m2 == pytest.approx(20 * 0.32 * 0.24, rel=0.02)


class TestWithoutPose:
    def test_with_a_scale_areas_are_summed_frame_by_frame(self) -> None:
        gathered = CoverageMap(CoverageSettings())
        for index in range(3):
            gathered.add(frame(index, SHARP, scale=ONE_MM), None)
        result = gathered.result()
        assert result.inspected_m2 is None
        assert result.unplaced_inspected_m2 == pytest.approx(3 * 0.32 * 0.24)

    def test_without_a_scale_frames_are_counted(self) -> None:
        gathered = CoverageMap(CoverageSettings())
        for index, image in enumerate((SHARP, np.zeros_like(SHARP))):
            gathered.add(frame(index, image), None)
        result = gathered.result()
        assert (result.unscaled_frames, result.unscaled_gradable) == (2, 1.0)
        assert result.unplaced_inspected_m2 is None


class TestQuality:
    @pytest.mark.parametrize(
        ("image", "state"),
        [
            pytest.param(SHARP, OK, id="a sharp wall"),
            pytest.param(np.zeros_like(SHARP), DARK, id="an all-black frame"),
            pytest.param(np.full_like(SHARP, 255), BRIGHT, id="an all-white frame"),
            pytest.param(np.asarray(cv2.GaussianBlur(SHARP, (0, 0), 6), np.uint8), BLUR, id="out of focus"),
        ],
    )
    def test_a_frame_says_why_it_tells_nothing(self, image: UInt8, state: int) -> None:
        assert (judge(image, None, CoverageSettings()).state == state).mean() > 0.9

    @pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0, 6.0])
    def test_blur_is_told_in_px(self, sigma: float) -> None:
        edges = np.kron(np.random.default_rng(0).integers(0, 2, (8, 10)), np.ones((30, 32))) * 120 + 60
        image = np.repeat(cv2.GaussianBlur(edges, (0, 0), sigma).astype(np.uint8)[..., None], 3, axis=2)
        told = judge(image, None, CoverageSettings()).blur_px
        assert float(np.median(told)) == pytest.approx(sigma, abs=0.35 + 0.1 * sigma)

    def test_the_carriers_own_gear_is_ignored_where_it_is(self) -> None:
        ignored = np.zeros(HW, np.bool_)
        ignored[:, :128] = True
        quality = judge(SHARP, ignored, CoverageSettings())
        assert (quality.state[:, :4] == IGNORED).all()
        assert (quality.state[:, 4:] == OK).all()

    def test_a_frame_of_one_pixel_is_judged_too(self) -> None:
        assert judge(np.full((1, 1, 3), 128, np.uint8), None, CoverageSettings()).state.shape == (1, 1)
