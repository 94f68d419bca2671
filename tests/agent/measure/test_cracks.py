from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.contract.crack import Crack
from agent.contract.frame import UNKNOWN_SCALE, Scale
from agent.measure import MeasureSettings, measure_cracks


def measured(mask: NDArray[np.uint8], *, settings: MeasureSettings | None = None) -> list[Crack]:
    """Measure a map of 0 and 255 on a photo in which it is dark."""
    frame = np.repeat(np.where(mask, 70, 160).astype(np.uint8)[..., None], 3, axis=2)
    return measure_cracks(
        mask, frame, threshold=0.5, scale=UNKNOWN_SCALE, settings=settings or MeasureSettings(min_area_px=1)
    )


def lines(hw: tuple[int, int], *ends: tuple[int, int, int, int], thickness: int = 3) -> NDArray[np.uint8]:
    mask = np.zeros(hw, np.uint8)
    for x0, y0, x1, y1 in ends:
        cv2.line(mask, (x0, y0), (x1, y1), 255, thickness)
    return mask


@pytest.mark.parametrize(
    ("hw", "value", "lengths"),
    [
        pytest.param((50, 70), 0, [], id="an empty map"),
        pytest.param((1, 1), 255, [], id="a single white pixel is too short"),
        pytest.param((1, 90), 255, [90], id="a frame one pixel high"),
        pytest.param((90, 1), 255, [90], id="a frame one pixel wide"),
        pytest.param((2, 90), 255, [90], id="a frame two pixels high"),
    ],
)
def test_odd_frames_are_measured(hw: tuple[int, int], value: int, lengths: list[float]) -> None:
    cracks = measured(np.full(hw, value, np.uint8))
    assert [crack.length_px for crack in cracks] == pytest.approx(lengths, abs=1)


def test_a_white_map_is_one_region_without_a_width() -> None:
    (crack,) = measured(np.full((120, 180), 255, np.uint8))
    assert crack.area_px == 120 * 180
    assert crack.width_px is None
    assert crack.not_gradable_reason


def test_a_map_that_marks_too_much_is_measured_at_a_reduced_size_and_says_so() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[100:300, 50:550] = 255
    (crack,) = measured(mask, settings=MeasureSettings(max_crack_px=20_000))
    assert crack.bbox_xywh_px == pytest.approx((50, 100, 500, 200), abs=3)
    assert crack.mask.shape == crack.bbox_xywh_px[:1:-1]
    assert crack.area_px == pytest.approx(200 * 500, rel=0.03)
    assert crack.length_px == pytest.approx(500, rel=0.05)
    assert "42% of the frame" in (crack.not_gradable_reason or "")
    assert crack.width_px is None


def test_the_errors_of_the_scale_add_in_quadrature() -> None:
    frame, mask = np.full((80, 200, 3), 180, np.uint8), np.zeros((80, 200), np.uint8)
    frame[40:44, 20:180], mask[40:44, 20:180] = 60, 255
    scale = Scale(mm_per_px=2.0, source="telemetry", error=0.04)
    (crack,) = measure_cracks(mask, frame, threshold=0.5, scale=scale, settings=MeasureSettings(scale_error=0.03))
    assert crack.scale_error == pytest.approx(0.05)


def test_cracks_that_touch_the_border_are_measured_to_the_border() -> None:
    mask = np.zeros((80, 100), np.uint8)
    mask[39:42] = 255
    (crack,) = measured(mask)
    assert crack.bbox_xywh_px == (0, 39, 100, 3)
    assert crack.length_px == pytest.approx(100, abs=1)
    assert crack.area_px == 300


def test_cracks_come_in_the_order_of_their_boxes_and_the_same_every_time() -> None:
    mask = lines((200, 300), (200, 20, 280, 30), (20, 20, 90, 60), (10, 150, 250, 100))
    cracks = measured(mask)
    boxes = [crack.bbox_xywh_px for crack in cracks]
    assert [(x, y) for x, y, _, _ in boxes] == sorted([(x, y) for x, y, _, _ in boxes], key=lambda xy: xy[::-1])
    again = measured(mask)
    for one, other in zip(cracks, again, strict=True):
        assert one.bbox_xywh_px == other.bbox_xywh_px
        for first, second in zip(one.branches, other.branches, strict=True):
            np.testing.assert_array_equal(first.line_xy_px, second.line_xy_px)
            np.testing.assert_array_equal(first.width_px, second.width_px)


@pytest.mark.parametrize(
    ("end", "angle"), [((180, 100), 0), ((180, 20), 45), ((100, 20), 90), ((20, 20), 135), ((180, 60), 26.565)]
)
def test_orientation_counts_counter_clockwise_from_the_x_axis(end: tuple[int, int], angle: float) -> None:
    (crack,) = measured(lines((200, 200), (100, 100, *end)))
    assert crack.orientation_deg is not None
    assert abs((crack.orientation_deg - angle + 90) % 180 - 90) < 2
    assert 0 <= crack.orientation_deg < 180


@pytest.mark.parametrize(("gap", "count"), [(4, 1), (5, 2)])
def test_pieces_a_few_pixels_apart_are_one_crack(gap: int, count: int) -> None:
    mask = np.zeros((60, 160), np.uint8)
    mask[30:33, 10:60] = mask[30:33, 60 + gap : 120] = 255
    cracks = measured(mask, settings=MeasureSettings(gap_px=4))
    assert len(cracks) == count
    assert sum(crack.length_px for crack in cracks) == pytest.approx(110 - gap, abs=2)


def test_a_fork_has_three_branches_that_meet() -> None:
    (crack,) = measured(lines((200, 200), (20, 100, 100, 100), (100, 100, 180, 40), (100, 100, 180, 160)))
    assert len(crack.branches) == 3
    ends = [branch.line_xy_px[end] for branch in crack.branches for end in (0, -1)]
    near = [np.hypot(*(point - (100, 100))) < 6 for point in ends]
    assert sum(near) == 3
    assert crack.length_px == pytest.approx(80 + 100 + 100, rel=0.03)


def test_short_specks_are_not_reported() -> None:
    mask = lines((100, 100), (10, 10, 20, 10), (10, 50, 90, 50))
    (crack,) = measured(mask)
    assert crack.bbox_xywh_px[2] > 80


def test_the_mask_of_a_crack_holds_its_own_pixels_only() -> None:
    mask = lines((100, 100), (10, 90, 90, 10), (10, 20, 35, 20))
    cracks = measured(mask)
    total = np.zeros_like(mask)
    for crack in cracks:
        x, y, width, height = crack.bbox_xywh_px
        total[y : y + height, x : x + width] += crack.mask.astype(np.uint8)
        assert crack.area_px == np.count_nonzero(crack.mask)
    np.testing.assert_array_equal(total, mask // 255)


@pytest.mark.parametrize(("threshold", "found"), [(0.5, True), (0.6, True), (0.61, False), (0.0, True), (1.0, False)])
def test_at_or_above_the_threshold_is_crack(threshold: float, found: bool) -> None:  # noqa: FBT001
    mask = lines((60, 60), (10, 30, 50, 30)) // 255 * np.uint8(153)  # 0.6
    frame = np.zeros((60, 60, 3), np.uint8)
    cracks = measure_cracks(mask, frame, threshold=threshold, scale=UNKNOWN_SCALE, settings=MeasureSettings())
    assert bool(cracks) == found
    assert all(crack.confidence == pytest.approx(0.6) for crack in cracks)


def test_millimetres_follow_from_the_scale() -> None:
    mask = lines((100, 100), (10, 50, 89, 50))
    scale = Scale(mm_per_px=0.5, source="setting")
    frame = np.repeat((160 - mask // 3)[..., None], 3, axis=2)
    (crack,) = measure_cracks(mask, frame, threshold=0.5, scale=scale, settings=MeasureSettings())
    assert crack.length_mm == pytest.approx(crack.length_px / 2)
    assert crack.area_mm2 == pytest.approx(crack.area_px / 4)


@pytest.mark.parametrize(
    ("frame_hw", "threshold", "message"),
    [
        pytest.param((10, 11), 0.5, "does not go with a frame", id="sizes differ"),
        pytest.param((10, 10), 1.5, "must lie in", id="a threshold above 1"),
        pytest.param((10, 10), float("nan"), "must lie in", id="a threshold that is no number"),
    ],
)
def test_wrong_input_is_refused(frame_hw: tuple[int, int], threshold: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_cracks(
            np.zeros((10, 10), np.uint8),
            np.zeros((*frame_hw, 3), np.uint8),
            threshold=threshold,
            scale=UNKNOWN_SCALE,
            settings=MeasureSettings(),
        )


@pytest.mark.parametrize(
    "value", [{"min_length_px": -1}, {"gap_px": 33}, {"max_interval": 0}, {"darkness": 1.5}, {"min_lenght_px": 3}]
)
def test_settings_out_of_range_or_misspelt_are_refused(value: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(value))):
        MeasureSettings(**value)
