from __future__ import annotations

import cv2
import numpy as np
import pytest

from agent.contract.arrays import UInt8
from agent.contract.flight import FrameRow
from agent.contract.frame import UNKNOWN_SCALE
from agent.record import crack_row, frame_row
from agent.report.labels import LabelRoom
from agent.report.outlines import SUBPIXEL_BITS, Marked, View, mask_of, outlines
from agent.report.overlay import draw_crop, draw_overlay, reduced
from tests.support import flights


def _seen(width: int, height: int) -> tuple[UInt8, FrameRow, list[Marked]]:
    picture = flights.frame(0, width=width, height=height)
    cracks = [
        crack_row(crack, picture, number=number, mission_id="m")
        for number, crack in enumerate(flights.cracks_of(width, height))
    ]
    return picture.image_rgb, frame_row(picture, cracks=len(cracks)), [Marked.of(crack) for crack in cracks]


def _row_of(width: int, height: int) -> FrameRow:
    return frame_row(flights.frame(0), cracks=0).model_copy(update={"width": width, "height": height})


@pytest.mark.parametrize("size", [(5000, 2500), (4032, 3024), (2700, 33), (1600, 1200)])
def test_an_overlay_drawn_from_the_reduced_picture_shows_cracks_in_the_same_places(size: tuple[int, int]) -> None:
    image, frame, cracks = _seen(*size)
    small = draw_overlay(reduced(image), frame, cracks, edge_px=960)
    whole = draw_overlay(image, frame, cracks, edge_px=960)
    assert small.shape == whole.shape
    assert np.abs(small.astype(int) - whole).mean() < 2.5  # reduced in one step or in two


def test_a_large_photo_is_reduced_by_a_whole_factor_and_a_small_one_is_left_alone() -> None:
    assert reduced(np.zeros((3024, 4032, 3), np.uint8)).shape == (1512, 2016, 3)
    small = np.zeros((100, 200, 3), np.uint8)
    assert reduced(small) is small


def test_a_mask_unrolled_is_the_mask_that_was_measured() -> None:
    _, cracks = flights.rows(0)
    for crack, row in zip(flights.cracks_of(), cracks, strict=True):
        assert np.array_equal(mask_of(row), crack.mask)


@pytest.mark.parametrize("zoom", [0.25, 1.0, 3.0])
def test_outlines_go_around_the_crack_and_cover_no_pixel_of_it(zoom: float) -> None:
    _, (crack, _) = flights.rows(0)
    view = View(x=0, y=0, width=320, height=200, zoom=zoom)
    drawn = np.zeros(view.picture_wh[::-1], np.uint8)
    cv2.polylines(drawn, outlines(Marked.of(crack), view, gap_px=2.0), True, 1, 1, cv2.LINE_8, SUBPIXEL_BITS)
    whole = np.zeros((200, 320), np.uint8)
    whole[crack.bbox_y : crack.bbox_y + crack.bbox_h, crack.bbox_x : crack.bbox_x + crack.bbox_w] = mask_of(crack)
    shown = cv2.resize(whole, view.picture_wh, interpolation=cv2.INTER_NEAREST)
    assert not np.any(drawn & shown)
    outside = np.zeros((drawn.shape[0] + 2, drawn.shape[1] + 2), np.uint8)
    cv2.floodFill(filled := drawn.copy(), outside, (0, 0), 2)
    assert not np.any(filled[shown == 1] == 2)  # the line is closed around it


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((320, 200), (960, 600), id="a small picture is enlarged, so that its labels can be read"),
        pytest.param((848, 590), (848, 590), id="a video frame stays"),
        pytest.param((5000, 2500), (2560, 1280), id="a large photo is reduced"),
        pytest.param((1, 1), (4, 4), id="a picture of one pixel is no fault"),
        pytest.param((900, 2), (900, 2), id="nor is a thread"),
    ],
)
def test_an_overlay_has_the_pictures_size_above_a_legend(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.zeros((size[1], size[0], 3), np.uint8)
    overlay = draw_overlay(image, _row_of(*size), [])
    assert overlay.shape[1] == expected[0]
    assert expected[1] < overlay.shape[0] < expected[1] + max(40, expected[1] // 10)
    assert not overlay[: expected[1]].any()  # nothing was found, so nothing is drawn over it


@pytest.mark.parametrize("size", [(320, 200), (1600, 1200)])
def test_labels_cover_no_crack_and_the_crack_stays_dark(size: tuple[int, int]) -> None:
    image, frame, cracks = _seen(*size)
    overlay = draw_overlay(image, frame, cracks)
    zoom = overlay.shape[1] // size[0]
    plain = cv2.resize(image, (size[0] * zoom, size[1] * zoom), interpolation=cv2.INTER_CUBIC)
    for marked in cracks:
        crack = marked.crack
        box = (
            slice(crack.bbox_y * zoom, (crack.bbox_y + crack.bbox_h) * zoom),
            slice(crack.bbox_x * zoom, (crack.bbox_x + crack.bbox_w) * zoom),
        )
        on = cv2.resize(marked.mask, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST) == 1
        difference = overlay[box][on].astype(int) - plain[box][on]
        assert np.abs(difference).max() < 85  # a light tint; a label or a line gives 110 and more
    assert np.any(overlay[: size[1] * zoom] != plain)


def test_the_same_frame_gives_the_same_overlay_and_leaves_the_frame_alone() -> None:
    image, frame, cracks = _seen(320, 200)
    before = image.copy()
    assert np.array_equal(draw_overlay(image, frame, cracks), draw_overlay(image, frame, cracks))
    assert np.array_equal(image, before)


def test_an_unknown_scale_has_no_scale_bar() -> None:
    picture = flights.frame(0)
    known = draw_overlay(picture.image_rgb, frame_row(picture, cracks=0), [])
    unknown = draw_overlay(picture.image_rgb, frame_row(flights.frame(0, scale=UNKNOWN_SCALE), cracks=0), [])
    bar = slice(-33, None), slice(11, 100)
    assert (known[bar] > 200).any()
    assert np.array_equal(known[:600], unknown[:600])
    assert not np.array_equal(known[bar], unknown[bar])


def test_a_crop_shows_the_widest_place() -> None:
    image = np.full((2000, 2000, 3), 128, np.uint8)
    image[1495:1505, 295:305] = (255, 0, 0)
    _, (crack, _) = flights.rows(0)
    branch = crack.branches[0].model_copy(update={"line_px": ((900.0, 900.0), (300.0, 1500.0)), "width_px": (1.0, 9.0)})
    wide = crack.model_copy(update={"branches": (branch,), "bbox_w": 1})
    crop = draw_crop(image, Marked(wide, np.zeros((1, 1), np.uint8)))
    red = np.argwhere((crop[:, :, 0] > 200) & (crop[:, :, 1] < 60))
    assert max(crop.shape) == 480
    assert np.abs(red.mean(axis=0) - 240).max() < 8


class TestLabelRoom:
    def test_a_label_goes_beside_its_crack_and_never_on_one(self) -> None:
        taken = np.zeros((40, 60), np.uint8)
        taken[20] = 1
        spot = LabelRoom(taken, 10).take(taken.astype(bool), width_px=95, height_px=20)
        assert spot is not None
        assert spot.y in {180, 210}
        assert spot.crack_xy[1] == 205

    def test_two_labels_of_one_place_do_not_meet(self) -> None:
        taken = np.zeros((40, 60), np.uint8)
        own = np.zeros((40, 60), bool)
        own[20, 30] = True
        room = LabelRoom(taken, 10)
        spots = [room.take(own, width_px=100, height_px=20) for _ in range(5)]
        cells = {(s.y // 10 + dy, s.x // 10 + dx) for s in spots if s for dy in range(2) for dx in range(10)}
        assert len(cells) == 5 * 20

    def test_no_room_is_no_label(self) -> None:
        full = np.ones((10, 10), np.uint8)
        assert LabelRoom(full, 10).take(full.astype(bool), width_px=10, height_px=10) is None
        assert LabelRoom(np.zeros((10, 10), np.uint8), 10).take(full.astype(bool), width_px=999, height_px=9) is None


@pytest.mark.parametrize("zoom", [0.2, 0.5, 1.0, 2.5])
def test_outlines_of_a_long_crack_are_those_of_its_whole_box(zoom: float) -> None:
    """Bands and cuts only spare work: the box dilated as a whole, and drawn, is the same picture."""
    image, _, cracks = _seen(1600, 1200)
    marked = max(cracks, key=lambda one: one.mask.size)
    row = marked.crack
    for view in (
        View(x=0, y=0, width=image.shape[1], height=image.shape[0], zoom=zoom),
        View(x=row.bbox_x + row.bbox_w // 3, y=row.bbox_y + row.bbox_h // 3, width=200, height=150, zoom=zoom),
    ):
        reach = int(np.ceil(2.5 / zoom))
        whole = np.zeros((image.shape[0] + 200, image.shape[1] + 200), np.uint8)
        whole[100 + row.bbox_y :, 100 + row.bbox_x :][: row.bbox_h, : row.bbox_w] = marked.mask
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        found, _ = cv2.findContours(cv2.dilate(whole, disc), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        lines = [np.rint(((line - 100 - (view.x, view.y) + 0.5) * zoom - 0.5) * 16).astype(np.int32) for line in found]
        expected, drawn = (np.zeros(view.picture_wh[::-1], np.uint8) for _ in range(2))
        cv2.polylines(expected, lines, True, 255, 1, cv2.LINE_8, SUBPIXEL_BITS)
        cv2.polylines(drawn, outlines(marked, view, gap_px=2.5), True, 255, 1, cv2.LINE_8, SUBPIXEL_BITS)
        assert expected.any()
        beside = np.ones((3, 3), np.uint8)  # OpenCV rounds a line by where it begins, and that may lie outside
        assert not np.any(drawn[cv2.dilate(expected, beside) == 0])
        assert not np.any(expected[cv2.dilate(drawn, beside) == 0])
