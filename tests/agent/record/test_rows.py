from __future__ import annotations

import uuid

import numpy as np
import pytest

from agent.contract.frame import UNKNOWN_SCALE
from agent.record import crack_row, frame_row
from tests.support import flights


def test_ids_are_the_same_in_every_replay_and_differ_between_cracks_frames_and_missions() -> None:
    crack = flights.cracks_of()[0]
    first = crack_row(crack, flights.frame(0), number=0, mission_id="m")
    assert first.id == crack_row(crack, flights.frame(0), number=0, mission_id="m").id
    others = [
        crack_row(crack, flights.frame(0), number=1, mission_id="m"),
        crack_row(crack, flights.frame(1), number=0, mission_id="m"),
        crack_row(crack, flights.frame(0), number=0, mission_id="n"),
    ]
    assert len({row.id for row in [first, *others]} | {row.crack_id for row in [first, *others]}) == 8
    assert uuid.UUID(first.id).version == 5


def test_figures_in_mm_are_absent_where_the_scale_is_unknown() -> None:
    _, (known, _) = flights.rows(0)
    _, (unknown, _) = flights.rows(0, scale=UNKNOWN_SCALE)
    assert known.length_mm == pytest.approx(known.length_px / 2)
    assert known.width_mm == pytest.approx(1.5)
    assert known.area_mm2 == pytest.approx(known.area_px / 4)
    assert unknown.length_px == known.length_px
    fields = ["length_mm", "width_mm", "width_p50_mm", "width_max_mm", "area_mm2", "scale_mm_px"]
    assert [getattr(unknown, field) for field in fields] == [None] * 6
    assert unknown.scale_source == "none"


def test_a_width_that_was_not_measured_is_null() -> None:
    _, (_, level) = flights.rows(0)
    assert level.branches[0].width_px == (None, None)
    assert level.width_px is None
    assert (level.gradable, level.not_gradable_reason) == (False, "narrower than the blur")


def test_the_mask_is_run_lengths_down_the_columns_of_the_frame() -> None:
    crack, picture = flights.cracks_of()[0], flights.frame(0)
    mask = crack_row(crack, picture, number=0, mission_id="m").mask
    flat = np.repeat(np.arange(len(mask.counts)) % 2, mask.counts)
    x, y, w, h = crack.bbox_xywh_px
    whole = np.zeros((200, 320), bool)
    whole[y : y + h, x : x + w] = crack.mask
    assert mask.size == (200, 320)
    assert np.array_equal(flat.reshape(320, 200).T.astype(bool), whole)


def test_a_frames_line_carries_what_is_known_about_it() -> None:
    row = frame_row(flights.frame(3), cracks=2, runtime="onnxruntime", variant="fp32", tiles=6, tiles_segmented=1)
    assert (row.index, row.status, row.width, row.height, row.scale_mm_px) == (3, "inferred", 320, 200, 0.5)
    assert (row.tiles, row.tiles_segmented, row.cracks, row.pose) == (6, 1, 2, None)
