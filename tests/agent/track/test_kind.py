from __future__ import annotations

import math
from collections import Counter

import cv2
import numpy as np
import pytest

from agent.contract.arrays import Float64, UInt8
from agent.contract.flight import TrackRow
from agent.contract.frame import Pose, Scale
from agent.contract.reports import Kind
from agent.track.kind import Evidence, evenly_spaced, look_at
from agent.track.lines import line_of
from agent.track.placement import Cylinder, placed
from agent.track.settings import TrackSettings
from agent.track.tracker import Tracker
from tests.agent.track.drawn import HALF_MM, crack_along, frame, seen, shift, wall, wandering

HW = (240, 420)
STRAIGHT = np.column_stack([np.linspace(40, 380, 341), np.linspace(100, 130, 341)])


def picture(line: Float64, *, inside: int, above: int = 150, below: int = 150) -> UInt8:
    """A line of this light between two surfaces."""
    grey = np.full(HW, above, np.uint8)
    area = np.concatenate([[(0, HW[0])], [(0, line[0, 1])], line, [(HW[1], line[-1, 1])], [(HW[1], HW[0])]])
    cv2.fillPoly(grey, [np.rint(area).astype(np.int32)], below)
    cv2.polylines(grey, [np.rint(line * 16).astype(np.int32)], False, inside, 3, cv2.LINE_AA, 4)
    soft = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.8), np.uint8)
    return np.repeat(soft[..., None], 3, axis=2)


def kind_of(line: Float64, image: UInt8, *, width_px: float = 3.0) -> Kind:
    crack = crack_along(line, HW, width_px=width_px)
    evidence = Evidence()
    evidence.add(look_at(crack, line_of(crack), image))
    return evidence.kind()


@pytest.mark.parametrize("seed", range(40, 60))
def test_what_wanders_is_a_crack(seed: int) -> None:
    line = wandering(seed, (40, 120), 330)
    assert kind_of(line, picture(line, inside=60)) == "crack"


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        pytest.param(picture(STRAIGHT, inside=60), "joint", id="straight and dark"),
        pytest.param(picture(STRAIGHT, inside=220), "print", id="paler than what lies around it"),
        pytest.param(picture(STRAIGHT, inside=110, above=180, below=100), "shadow", id="an edge between two tones"),
    ],
)
def test_what_is_no_crack_is_told_by_its_geometry(image: UInt8, kind: Kind) -> None:
    assert kind_of(STRAIGHT, image) == kind


def test_a_short_straight_piece_tells_nothing() -> None:
    short = STRAIGHT[:100]
    assert kind_of(short, picture(short, inside=60)) == "crack"


def test_what_moves_against_the_wall_is_a_cable() -> None:
    line = wandering(41, (40, 120), 330)
    crack = crack_along(line, HW)
    evidence = Evidence()
    for _ in range(5):
        evidence.add(look_at(crack, line_of(crack), picture(line, inside=60)))
    assert evidence.kind() == "crack"
    evidence.shift, evidence.travel = 12.0, 200.0
    assert evidence.kind() == "cable"


@pytest.mark.parametrize(
    ("offsets", "even"),
    [([0, 250, 500, 750], True), ([0, 250, 760, 1010], True), ([0, 250], False), ([0, 210, 500, 690], False)],
)
def test_lines_at_one_pitch_repeat(offsets: list[float], *, even: bool) -> None:
    assert evenly_spaced(offsets) is even


class TestCylinder:
    POSE = Pose(x_mm=1000, y_mm=500, radius_mm=3000, standoff_mm=2000)
    PLACE = placed(POSE, Scale(mm_per_px=2.0, source="setting"), (1000, 1000))

    def test_px_go_to_the_wall_and_back(self) -> None:
        assert isinstance(self.PLACE, Cylinder)
        xy = np.random.default_rng(0).uniform(0, 1000, (200, 2))
        np.testing.assert_allclose(self.PLACE.to_frame(self.PLACE.to_surface(xy)), xy, atol=1e-6)

    def test_the_ray_meets_the_circle_where_trigonometry_says(self) -> None:
        assert self.PLACE is not None
        # 45 degrees off the axis: the law of sines in the triangle of axis, camera and wall
        below = np.array([[499.5, 499.5 + 1000.0]])  # 2000 mm aside on the tangent plane, at 2000 mm standoff
        arc = float(self.PLACE.to_surface(below)[0, 1] - self.PLACE.to_surface(np.array([[499.5, 499.5]]))[0, 1])
        at_wall = math.asin((3000 - 2000) * math.sin(math.radians(45)) / 3000)
        assert arc == pytest.approx(3000 * (math.radians(45) - at_wall), rel=1e-9)

    def test_what_lies_behind_the_camera_is_not_seen(self) -> None:
        assert self.PLACE is not None
        assert np.isnan(self.PLACE.to_frame(np.array([[2000.0, 1500 + 3000 * math.pi]]))).all()


def test_pieces_of_a_joint_are_a_joint_however_short_and_those_of_a_crack_a_crack() -> None:
    """No piece is long enough to tell by itself; together, also over frames that show only some of them, they do."""
    joint = np.column_stack([np.arange(0.0, 900), np.full(900, 150.0)])
    crack = wandering(5, (20, 90), 860)
    pieces = [line[start : start + 70] for line in (joint, crack) for start in range(0, 860, 110)]
    surface = np.asarray(np.clip(wall(1, 240, 1000) * 0.1 + 140, 0, 255), np.uint8)
    cv2.polylines(surface, [np.rint(one * 16).astype(np.int32) for one in pieces], False, (70, 70, 70), 3, shift=4)
    tracker = Tracker("m", TrackSettings())
    told: dict[str, TrackRow] = {}
    for index, left in enumerate(range(0, 640, 80)):
        image = np.ascontiguousarray(surface[:, left : left + 320])
        pose = Pose(x_mm=left * 0.5, y_mm=0.0, rotation_deg=0.0)
        found = seen(pieces, shift(left, 0), (240, 320))
        followed = tracker.follow(frame(index, image, pose=pose, scale=HALF_MM), found)
        told |= {row.crack_id: row for row in followed.rows}
    told |= {row.crack_id: row for row in tracker.finish()}
    kinds = Counter(row.kind for row in told.values() if row.event != "retracted")
    assert kinds == {"joint": 8, "crack": 8}
