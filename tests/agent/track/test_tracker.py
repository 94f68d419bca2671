from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.arrays import Float64, UInt8
from agent.contract.flight import TrackRow
from agent.contract.frame import Pose
from agent.track.settings import TrackSettings
from agent.track.tracker import Followed, Tracker
from tests.agent.track.drawn import HALF_MM, crack_along, frame, seen, shift, wall, wandering

HW = (240, 320)
WALL = wall(0, 300, 1400)
BLANK = np.full((*HW, 3), 128, np.uint8)


def pan(
    lines: Sequence[Float64], stops: Sequence[float], *, tracker: Tracker | None = None
) -> tuple[Tracker, list[Followed]]:
    """Fly along the wall without a pose: pictures alone tell the motion."""
    tracker = tracker or Tracker("m", TrackSettings())
    told = []
    for index, x in enumerate(stops):
        left = round(x)
        picture = np.ascontiguousarray(WALL[30 : 30 + HW[0], left : left + HW[1]])
        told.append(tracker.follow(frame(index, picture), seen(lines, shift(left, 30), HW)))
    return tracker, told


def rows(told: Sequence[Followed], tracker: Tracker) -> list[TrackRow]:
    return [row for one in told for row in one.rows] + tracker.finish()


def whole(all_rows: Sequence[TrackRow]) -> dict[str, TrackRow]:
    """What there is at the end."""
    final = {row.crack_id: row for row in all_rows}
    return {name: row for name, row in final.items() if row.event != "retracted"}


class TestPan:
    LINES = (wandering(1, (60, 100), 1200), wandering(2, (300, 190), 150, heading_deg=12))

    def test_a_crack_longer_than_the_frame_is_one_crack_of_its_whole_length(self) -> None:
        tracker, told = pan(self.LINES, range(0, 1040, 40))
        found = sorted(whole(rows(told, tracker)).values(), key=lambda row: row.length_px)
        assert [row.event for row in found] == ["final", "final"]
        assert found[0].length_px == pytest.approx(150, rel=0.1)
        assert found[1].length_px == pytest.approx(1200, rel=0.05)
        assert found[1].sightings == len(told)

    def test_a_camera_that_goes_there_and_back_sees_no_new_crack(self) -> None:
        there = list(range(0, 240, 30))
        tracker, told = pan(self.LINES, [*there, *there[::-1]])
        assert len(whole(rows(told, tracker))) == 2

    def test_a_black_frame_in_between_ends_nothing(self) -> None:
        tracker = Tracker("m", TrackSettings())
        _, told = pan(self.LINES, range(0, 200, 40), tracker=tracker)
        tracker.follow(frame(5, np.zeros((*HW, 3), np.uint8)), [])
        picture = np.ascontiguousarray(WALL[30 : 30 + HW[0], 220 : 220 + HW[1]])
        last = tracker.follow(frame(6, picture), seen(self.LINES, shift(220, 30), HW))
        assert {name.crack_id for name in last.names} <= {name.crack_id for one in told for name in one.names}

    def test_the_frames_size_may_change_in_mid_video(self) -> None:
        tracker, told = pan(self.LINES, range(0, 160, 40))
        picture = np.ascontiguousarray(WALL[30 : 30 + HW[0], 160 : 160 + HW[1]])
        small = np.asarray(
            cv2.resize(picture, (HW[1] * 3 // 4, HW[0] * 3 // 4), interpolation=cv2.INTER_AREA), np.uint8
        )
        view = 0.75 * shift(160, 30)
        last = tracker.follow(frame(4, small), seen(self.LINES, view, (HW[0] * 3 // 4, HW[1] * 3 // 4)))
        before = {name.crack_id for one in told for name in one.names}
        assert {name.crack_id for name in last.names} <= before
        assert whole(rows([*told, last], tracker)).keys() <= before

    def test_the_same_twice_is_the_same(self) -> None:
        first, second = (rows(told, tracker) for tracker, told in (pan(self.LINES, range(0, 400, 40)) for _ in "ab"))
        assert first == second
        assert first

    def test_revisions_rise_and_begin_with_new(self) -> None:
        tracker, told = pan(self.LINES, range(0, 1040, 40))
        revisions: dict[str, list[TrackRow]] = {}
        for row in rows(told, tracker):
            revisions.setdefault(row.crack_id, []).append(row)
        for history in revisions.values():
            assert [row.revision for row in history] == list(range(len(history)))
            assert history[0].event == "new"
            assert history[-1].event == "final"
            assert len({row.id for row in history}) == len(history)

    def test_a_crack_that_stays_as_it_is_is_not_told_again(self) -> None:
        tracker, told = pan(self.LINES[1:], [200] * 12)
        assert [row.event for row in rows(told, tracker)] == ["new", "final"]


def test_a_folder_of_unrelated_photos_has_no_common_crack() -> None:
    tracker = Tracker("m", TrackSettings())
    same_place = wandering(3, (40, 120), 200)
    told = [tracker.follow(frame(index, wall(index, *HW)), [crack_along(same_place, HW)]) for index in range(6)]
    assert len({name.crack_id for one in told for name in one.names}) == 6
    assert len(whole(rows(told, tracker))) == 6


class TestPose:
    LINES = (wandering(4, (20, 60), 400), wandering(5, (120, 90), 60, heading_deg=15))  # mm

    def fly(
        self, poses: Sequence[Pose | None], *, image: UInt8 = BLANK, tracker: Tracker | None = None
    ) -> list[TrackRow]:
        """Blank walls: the pose alone tells where a frame lies; where it is missing, x goes on as planned."""
        tracker = tracker or Tracker("m", TrackSettings())
        told = []
        for index, pose in enumerate(poses):
            place = pose if pose is not None and math.isfinite(pose.x_mm) else Pose(x_mm=20.0 * index, y_mm=0)
            cos, sin = math.cos(math.radians(place.rotation_deg)), math.sin(math.radians(place.rotation_deg))
            turn = 0.5 * np.array([[cos, -sin], [sin, cos]])
            back = np.linalg.inv(turn)
            view = np.column_stack([back, -back @ (place.x_mm, place.y_mm) - 0.5])
            cracks = [replace(crack, scale=HALF_MM) for crack in seen(self.LINES, view, HW)]
            told.append(tracker.follow(frame(index, image, pose=pose, scale=HALF_MM), cracks))
        return rows(told, tracker)

    def test_cracks_are_followed_by_the_pose_alone_and_measured_in_mm(self) -> None:
        poses = [Pose(x_mm=20.0 * index, y_mm=3.0 * (index % 2), rotation_deg=2.0 * (index % 3)) for index in range(15)]
        found = sorted(whole(self.fly(poses)).values(), key=lambda row: row.length_px)
        assert len(found) == 2
        assert found[0].length_mm == pytest.approx(60, rel=0.1)
        assert found[1].length_mm == pytest.approx(400, rel=0.06)

    def test_a_second_pass_finds_the_cracks_that_had_ended(self) -> None:
        there = [Pose(x_mm=20.0 * index, y_mm=0) for index in range(15)]
        away = [Pose(x_mm=9000.0 + 20 * index, y_mm=0) for index in range(40)]
        all_rows = self.fly([*there, *away, *there])
        assert len(whole(all_rows)) == 2
        events = Counter(row.event for row in all_rows if row.crack_id == all_rows[0].crack_id)
        assert events["final"] == 2

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(Pose(x_mm=math.nan, y_mm=0), id="NaN"),
            pytest.param(Pose(x_mm=math.inf, y_mm=0), id="infinity"),
            pytest.param(None, id="no pose"),
        ],
    )
    def test_a_frame_without_a_usable_pose_harms_no_other(self, fault: Pose | None) -> None:
        poses: list[Pose | None] = [Pose(x_mm=20.0 * index, y_mm=0) for index in range(12)]
        poses[5] = fault
        found = whole(self.fly(poses))
        # blank walls: what that one frame shows cannot be put anywhere, and is counted apart
        lengths = sorted(row.length_mm or 0 for row in found.values() if row.sightings > 1)
        assert lengths == pytest.approx([60, 380], rel=0.12)
        assert all(math.isfinite(row.length_px) for row in found.values())

    def test_a_pose_that_jumps_is_overruled_by_the_pictures(self) -> None:
        tracker = Tracker("m", TrackSettings())
        told = []
        lines = [2.0 * line for line in self.LINES]
        for index in range(12):
            left = 20 * index
            picture = np.ascontiguousarray(WALL[30 : 30 + HW[0], left : left + HW[1]])
            x = 0.5 * left + (3000 if index in {4, 7} else 0)  # two rows of another place
            cracks = [replace(crack, scale=HALF_MM) for crack in seen(lines, shift(left, 30), HW)]
            told.append(tracker.follow(frame(index, picture, pose=Pose(x_mm=x, y_mm=15), scale=HALF_MM), cracks))
        assert len(whole(rows(told, tracker))) == 2
        assert tracker._cameras["cam"].locator.conflicts == 2

    def test_memory_stays_bounded_over_a_long_flight(self) -> None:
        tracker = Tracker("m", TrackSettings(most_points=10_000, final_after_frames=2))
        line = wandering(6, (10, 60), 140)
        for index in range(1500):
            at = Pose(x_mm=200.0 * index, y_mm=0)
            crack = replace(crack_along(2 * line, HW), scale=HALF_MM)
            tracker.follow(frame(index, BLANK, pose=at, scale=HALF_MM), [crack])
        kept = sum(len(track.line) for track in tracker._cameras["cam"].tracks[0])
        assert kept <= 10_000
        assert tracker.forgotten > 0


class TestLineage:
    def views(self, *frames: Sequence[Float64]) -> list[TrackRow]:
        tracker = Tracker("m", TrackSettings(join_px=0))
        pose = Pose(x_mm=0, y_mm=0)
        told = [
            tracker.follow(
                frame(index, BLANK, pose=pose, scale=HALF_MM),
                [replace(crack_along(line, HW), scale=HALF_MM) for line in lines],
            )
            for index, lines in enumerate(frames)
        ]
        return rows(told, tracker)

    LINE = wandering(8, (20, 100), 260)

    def test_pieces_that_turn_out_to_be_one_are_merged(self) -> None:
        left, right = self.LINE[:110], self.LINE[140:]
        events = self.views([left, right], [self.LINE], [self.LINE])
        assert [row.event for row in events] == ["new", "new", "retracted", "merge", "final"]
        gone, merged = events[2], events[3]
        assert merged.parents == (gone.crack_id,)
        assert gone.parents == (merged.crack_id,)
        assert events[-1].length_px == pytest.approx(260, rel=0.05)

    def test_a_gap_in_between_splits_nothing(self) -> None:
        events = self.views([self.LINE], [self.LINE[:110], self.LINE[140:]], [self.LINE])
        assert [row.event for row in events] == ["new", "final"]
        assert events[-1].sightings == 3

    def test_one_that_turns_out_to_be_two_side_by_side_is_split(self) -> None:
        # far away, two lines 5 px apart looked like one in the middle between them
        above, below = self.LINE - np.array((0, 3)), self.LINE + np.array((0, 3))
        events = self.views([self.LINE], [above, below], [above, below])
        assert [row.event for row in events][:2] == ["new", "split"]
        assert events[1].parents == (events[0].crack_id,)
        assert len(whole(events)) == 2

    def test_what_is_hardly_ever_found_is_retracted(self) -> None:
        events = self.views([self.LINE], *[[] for _ in range(20)])
        assert [row.event for row in events] == ["new", "retracted"]
        assert (events[-1].sightings, events[-1].in_view) == (1, 21)

    def test_facing_ends_across_a_gap_are_one_crack_and_staggered_ones_are_not(self) -> None:
        tracker = Tracker("m", TrackSettings())
        straight = np.column_stack([np.arange(20.0, 280.0), np.full(260, 80.0)])
        lower = straight + np.array((0, 12))
        cracks = [crack_along(part, HW) for part in (straight[:120], straight[135:])]
        one = tracker.follow(frame(0, BLANK), cracks)
        assert len({name.crack_id for name in one.names}) == 1
        staggered = [crack_along(part, HW) for part in (straight[:140], lower[120:])]
        other = Tracker("n", TrackSettings()).follow(frame(0, BLANK), staggered)
        assert len({name.crack_id for name in other.names}) == 2


@settings(max_examples=60, deadline=None)
@given(
    gap=st.floats(10, 60),
    angle=st.floats(0, 180),
    jitter=st.lists(st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5)), min_size=4, max_size=8),
    missed=st.lists(st.sampled_from(["both", "one", "two"]), min_size=8, max_size=8),
    broken=st.booleans(),
)
def test_two_parallel_cracks_are_never_one(
    gap: float, angle: float, jitter: list[tuple[float, float]], missed: list[str], *, broken: bool
) -> None:
    """Whatever their distance and direction, however frames are misplaced, and whichever of them a frame misses."""
    turn = np.array([[math.cos(r := math.radians(angle)), -math.sin(r)], [math.sin(r), math.cos(r)]])
    line = wandering(9, (-75, 0), 150)
    lines = [(line + np.array((0, side * gap / 2))) @ turn.T + (160, 120) for side in (-1, 1)]
    tracker = Tracker("m", TrackSettings())
    owner: dict[str, set[int]] = {}
    for index, (offset, which) in enumerate(zip(jitter, missed, strict=False)):
        chosen = {"both": (0, 1), "one": (0,), "two": (1,)}[which]
        cracks, truth = [], []
        for number in chosen:
            parts = [lines[number][:70], lines[number][85:]] if broken and index % 2 else [lines[number]]
            for part in parts:
                cracks.append(crack_along(part + offset, HW))
                truth.append(number)
        told = tracker.follow(frame(index, BLANK, pose=Pose(x_mm=0, y_mm=0), scale=HALF_MM), cracks)
        for name, number in zip(told.names, truth, strict=True):
            owner.setdefault(name.crack_id, set()).add(number)
    assert all(len(numbers) == 1 for numbers in owner.values())
