from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from agent.contract.arrays import Float64, UInt8
from agent.contract.frame import Frame, Place, Pose, Scale
from agent.place import earth
from agent.place.lens import Lens
from agent.place.surface import Cylinder, Plane, View, middle_scale
from agent.track.coverage import CoverageMap
from agent.track.grey import Grey
from agent.track.locator import SURFACE, Located
from agent.track.mosaic import MOST_BLOCKS, NEVER, Mosaic
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


class TestReasonsAndWidths:
    def test_each_reason_has_parts_of_its_own(self) -> None:
        image = SHARP.copy()
        image[:, :96], image[:, 96:160] = 0, 255
        ignored = np.zeros(HW, np.bool_)
        ignored[192:] = True
        gathered = CoverageMap(CoverageSettings(cell_mm=4.0))
        picture = replace(frame(0, image, pose=Pose(x_mm=0, y_mm=0), scale=ONE_MM), ignored=ignored)
        gathered.add(picture, located(picture))
        result = gathered.result()
        by_reason = {
            reason: sum(area.area_m2 for area in result.areas if area.reason == reason)
            for reason in ("ignored", "dark", "bright", "blur")
        }
        assert by_reason["dark"] == pytest.approx(0.096 * 0.192)
        assert by_reason["ignored"] == pytest.approx(0.32 * 0.048)
        assert by_reason == pytest.approx(
            {
                "ignored": result.not_gradable_ignored_m2,
                "dark": result.not_gradable_dark_m2,
                "bright": result.not_gradable_bright_m2,
                "blur": result.not_gradable_blur_m2,
            }
        )
        assert {area.reason for area in result.areas if area.state == "inspected"} == {None}
        assert sum(by_reason.values()) == pytest.approx(result.not_gradable_m2)

    def test_widths_are_told_where_they_hold(self) -> None:
        gathered = CoverageMap(CoverageSettings(cell_mm=5.0, findable_px=2.0))
        for index, (x_mm, scale) in enumerate(((0.0, 1.0), (320.0, 2.0))):
            pose = Pose(x_mm=x_mm, y_mm=-240.0 * index)
            picture = frame(index, SHARP, pose=pose, scale=Scale(mm_per_px=scale, source="setting"))
            gathered.add(picture, located(picture))
        (told,) = gathered.result().widths
        assert (told.camera, told.surface, told.x_mm, told.y_mm) == ("cam", "wall", 0.0, -240.0)

        def at(x_mm: float, y_mm: float) -> float | None:
            column, row = int((x_mm - told.x_mm) // told.block_mm[0]), int((y_mm - told.y_mm) // told.block_mm[1])
            return told.width_mm[row * told.columns + column]

        near, far = at(160, 120), at(600, 100)
        assert near is not None
        assert far == pytest.approx(2 * near, rel=0.05)
        assert at(160, -120) is None  # nobody looked there
        assert len(told.width_mm) <= 6000

    def test_of_a_large_surface_a_block_tells_its_worst_cell(self) -> None:
        random = np.random.default_rng(3)
        width = random.uniform(0.1, 5, (310, 420)).astype(np.float32)
        width[random.random(width.shape) < 0.4] = np.inf
        width[:40, :70] = np.inf
        state = np.where(np.isfinite(width), OK, BLUR).astype(np.uint8)
        state[:12], state[:, :7] = NEVER, NEVER  # nobody looked there: no blocks
        mosaic = Mosaic(state, np.where(state == OK, width, np.inf), np.array([-64.0, 128]), np.array([4.0, 5]), None)
        told = mosaic.widths()
        columns, edge = told["columns"], round(told["block_mm"][0] / 4.0)
        assert edge > 1
        assert len(told["width_mm"]) <= MOST_BLOCKS
        assert (told["x_mm"], told["y_mm"], told["block_mm"][1]) == ((-64 + 7) * 4.0, (128 + 12) * 5.0, edge * 5.0)
        for index, value in enumerate(told["width_mm"]):
            top, left = 12 + index // columns * edge, 7 + index % columns * edge
            cells = [float(cell) for cell in mosaic.width_mm[top : top + edge, left : left + edge].ravel()]
            known = [cell for cell in cells if math.isfinite(cell)]
            assert value == (None if not known else pytest.approx(max(known), abs=6e-4))
        assert None in told["width_mm"]


LENS = Lens.simple(400.0, HW[1], HW[0])


def beheld(index: int, view: View) -> Frame:
    """A frame that knows how it lies, and has no pose."""
    mm = middle_scale(view)
    scale = Scale(mm_per_px=mm, source="telemetry", method="radius", geometry=view)
    return replace(frame(index, SHARP, scale=scale), place=view.camera)


class TestPlacesWithoutPose:
    def test_a_tunnel_is_covered_by_chainage_and_clock_angle(self) -> None:
        gathered = CoverageMap(CoverageSettings(cell_mm=20.0))
        shape = Cylinder(radius_mm=3000, distance_mm=3000)  # on the axis: as much of the arc as the lens sees
        for index, clock in enumerate(range(0, 360, 30)):
            for chainage in (100.0, 101.5):
                camera = Place(chainage_m=chainage, clock_deg=float(clock))
                gathered.add(beheld(index, View(lens=LENS, shape=shape, camera=camera)), None)
        result = gathered.result()
        assert result.lining_radius_mm == 3000
        assert result.unplaced_inspected_m2 is None
        # from the axis a row at the angle t sees 320 / 400 * 3 m * cos t along the tunnel, of which each picture counts
        # up to 15 degrees, where the next one begins; the two chainages overlap
        cos = math.sin(math.radians(15)) / math.radians(15)  # its mean
        assert result.inspected_m2 == pytest.approx(2 * math.pi * 3.0 * (1.5 + 2.4 * cos), rel=0.005)
        (area,) = [one for one in result.areas if one.state == "inspected"]
        assert area.surface == "lining"
        x, y = np.concatenate([np.array(line) for line in area.outlines_mm]).T
        assert x.min() == pytest.approx(100_000 - 1500 * 0.8, abs=80)
        assert -math.pi * 3000 - 20 <= y.min() < y.max() <= math.pi * 3000 + 20

    def test_level_ground_is_covered_by_position_and_attitude(self) -> None:
        gathered = CoverageMap(CoverageSettings(cell_mm=50.0))
        for index in range(4):
            lat, lon = earth.moved(47.0, 8.0, north_m=3.0 * index, east_m=0.0)
            view = View(
                lens=LENS, shape=Plane(distance_mm=5000), camera=Place(lat=lat, lon=lon), attitude_deg=(0.0, -90.0, 0.0)
            )
            gathered.add(beheld(index, view), None)
        result = gathered.result()
        assert (result.ground_lat, result.ground_lon) == (47.0, 8.0)
        assert result.inspected_m2 == pytest.approx(4.0 * (9.0 + 3.0), rel=0.03)  # 4 m x 3 m each, side by side
        (area,) = [one for one in result.areas if one.state == "inspected"]
        assert area.surface == "ground"
        x, y = np.array(area.outlines_mm[0]).T
        assert (x.min(), x.max(), y.min(), y.max()) == pytest.approx((-2000, 2000, -10_500, 1500), abs=100)

    def test_a_wall_of_which_only_the_cameras_position_is_known_is_counted(self) -> None:
        gathered = CoverageMap(CoverageSettings())
        view = View(
            lens=LENS, shape=Plane(distance_mm=5000), camera=Place(lat=47.0, lon=8.0), attitude_deg=(0.0, 0.0, 0.0)
        )
        gathered.add(beheld(0, view), None)
        result = gathered.result()
        assert result.inspected_m2 is None
        assert result.unplaced_inspected_m2 == pytest.approx(4.0 * 3.0, rel=1e-6)


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
        assert (judge(Grey(image), None, CoverageSettings()).state == state).mean() > 0.9

    @pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0, 6.0])
    def test_blur_is_told_in_px(self, sigma: float) -> None:
        edges = np.kron(np.random.default_rng(0).integers(0, 2, (8, 10)), np.ones((30, 32))) * 120 + 60
        image = np.repeat(cv2.GaussianBlur(edges, (0, 0), sigma).astype(np.uint8)[..., None], 3, axis=2)
        told = judge(Grey(image), None, CoverageSettings()).blur_px
        assert float(np.median(told)) == pytest.approx(sigma, abs=0.35 + 0.1 * sigma)

    def test_the_carriers_own_gear_is_ignored_where_it_is(self) -> None:
        ignored = np.zeros(HW, np.bool_)
        ignored[:, :128] = True
        quality = judge(Grey(SHARP), ignored, CoverageSettings())
        assert (quality.state[:, :4] == IGNORED).all()
        assert (quality.state[:, 4:] == OK).all()

    def test_blocks_at_the_far_edges_are_judged_by_what_there_is_of_them(self) -> None:
        image = np.full((100, 75, 3), 128, np.uint8)
        image[96:], image[:, 64:] = 0, 255
        state = judge(Grey(image), None, CoverageSettings()).state
        assert state.tolist() == [[OK, OK, BRIGHT]] * 3 + [[DARK, DARK, BRIGHT]]

    def test_a_frame_of_one_pixel_is_judged_too(self) -> None:
        assert judge(Grey(np.full((1, 1, 3), 128, np.uint8)), None, CoverageSettings()).state.shape == (1, 1)
