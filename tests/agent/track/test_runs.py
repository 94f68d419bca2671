from __future__ import annotations

import numpy as np
import pytest

from agent.contract.arrays import Float64
from agent.track.lines import Line, line_of
from agent.track.runs import straight_runs
from tests.agent.track.drawn import crack_along, wandering

HW = (900, 1200)


def pieces_of(line: Float64, *, lengths: int = 70, gap: int = 30) -> list[Line]:
    """The line as a network finds it: pieces too short to be told from a crack's, with gaps between."""
    starts = range(0, len(line) - lengths + 1, lengths + gap)
    return [line_of(crack_along(line[start : start + lengths], HW)) for start in starts]


def straight(angle_deg: float, *, length: int = 500, noise_px: float = 0.0, seed: int = 0) -> Float64:
    along = np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))])
    line = np.array([300.0, 200.0]) + np.arange(length)[:, None] * along
    wobble = np.convolve(np.random.default_rng(seed).normal(0, 1, length + 30), np.hanning(31), mode="valid")[:length]
    wobble *= noise_px / max(float(wobble.std()), 1e-9)
    return np.asarray(line + wobble[:, None] * np.array([-along[1], along[0]]), np.float64)


@pytest.mark.parametrize("angle", [0, 17, 45, 74, 90])
@pytest.mark.parametrize("unit", [1.0, 0.35])
def test_pieces_of_a_joint_are_one_run(angle: float, unit: float) -> None:
    lines = [
        Line(one.xy * unit, one.along, one.weight * unit, one.stretch)
        for one in pieces_of(straight(angle, noise_px=0.5))
    ]
    assert straight_runs(lines, unit) == [list(range(len(lines)))]


@pytest.mark.parametrize("seed", range(40))
def test_pieces_of_a_crack_are_no_run(seed: int) -> None:
    assert straight_runs(pieces_of(wandering(seed, (100, 450), 600, heading_deg=10)), 1.0) == []


def test_a_crack_that_crosses_a_joint_is_no_piece_of_it() -> None:
    joint = pieces_of(straight(0))
    crack = pieces_of(wandering(3, (420, 60), 300, heading_deg=80))
    assert straight_runs([*joint, *crack], 1.0) == [list(range(len(joint)))]


def test_two_joints_side_by_side_are_two_runs() -> None:
    one = pieces_of(straight(0))
    other = pieces_of(straight(0) + np.array([0, 25]))
    assert straight_runs([*one, *other], 1.0) == [list(range(len(one))), list(range(len(one), 2 * len(one)))]


def test_two_short_pieces_far_apart_are_no_run() -> None:
    line = straight(0)
    ends = [line_of(crack_along(line[:60], HW)), line_of(crack_along(line[-60:], HW))]
    assert straight_runs(ends, 1.0) == []


def test_nothing_is_no_run() -> None:
    assert straight_runs([], 1.0) == []
