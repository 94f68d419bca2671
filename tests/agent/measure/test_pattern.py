from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.contract.frame import UNKNOWN_SCALE
from agent.measure import MeasureSettings, measure_cracks

Line = tuple[int, int, int, int]
GRID: list[Line] = [(20, y, 180, y) for y in (20, 100, 180)] + [(x, 20, x, 180) for x in (20, 100, 180)]
LADDER: list[Line] = [(20, 90, 180, 90), (20, 102, 180, 102), *[(x, 90, x, 102) for x in range(20, 181, 20)]]


def drawn(lines: list[Line]) -> NDArray[np.uint8]:
    mask = np.zeros((200, 200), np.uint8)
    for x0, y0, x1, y1 in lines:
        cv2.line(mask, (x0, y0), (x1, y1), 255, 3)
    return mask


@pytest.mark.parametrize(
    ("lines", "points", "pattern"),
    [
        pytest.param([(20, 100, 180, 100)], 0, "single", id="a line"),
        pytest.param([(20, 100, 180, 100), (100, 100, 140, 30)], 1, "branched", id="a fork"),
        pytest.param([(20, 20, 180, 180), (20, 180, 180, 20)], 1, "branched", id="a crossing is one point"),
        pytest.param([(20, 100, 180, 100), (60, 100, 60, 30), (140, 100, 140, 170)], 2, "branched", id="two forks"),
        pytest.param(GRID, 5, "map", id="four cells"),
        pytest.param(LADDER, 14, "branched", id="slits between two edges are no cells"),
    ],
)
def test_patterns_and_branch_points(lines: list[Line], points: int, pattern: str) -> None:
    mask = drawn(lines)
    frame = np.repeat(np.where(mask, 70, 160).astype(np.uint8)[..., None], 3, axis=2)
    (crack,) = measure_cracks(mask, frame, threshold=0.5, scale=UNKNOWN_SCALE, settings=MeasureSettings())
    assert crack.branch_points == points
    assert crack.pattern == pattern


def test_each_crack_of_a_frame_has_its_own_branch_points() -> None:
    mask = np.hstack([drawn([(20, 100, 180, 100)]), drawn(GRID), drawn([(20, 100, 180, 100), (100, 100, 140, 30)])])
    frame = np.repeat(np.where(mask, 70, 160).astype(np.uint8)[..., None], 3, axis=2)
    cracks = measure_cracks(mask, frame, threshold=0.5, scale=UNKNOWN_SCALE, settings=MeasureSettings())
    found = sorted((crack.bbox_xywh_px[0] // 200, crack.branch_points, crack.pattern) for crack in cracks)
    assert found == [(0, 0, "single"), (1, 5, "map"), (2, 1, "branched")]
