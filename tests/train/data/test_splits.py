"""Pictures of one place never stand on both sides of a split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.splits import group_names, split
from train.settings import Grouping


def test_runs_of_numbers_end_at_a_gap() -> None:
    stems = ["slide30", "slide35", "slide45", "slide56", "slide57"]
    groups = group_names(stems, Grouping(rule="runs", gap=10))
    assert groups[0] == groups[1] == groups[2] != groups[3] == groups[4]


def test_equal_numbers_under_different_prefixes_are_different_places() -> None:
    a, b = group_names(["DJI0090", "slide90"], Grouping(rule="runs"))
    assert a != b


@pytest.mark.parametrize(
    ("stem", "first"),
    [
        pytest.param("00001", 1, id="the first"),
        pytest.param("00050", 1, id="the last of a block"),
        pytest.param("00051", 51, id="the first of the next"),
        pytest.param("00051_1", 51, id="a shorter number behind it"),
    ],
)
def test_blocks_count_from_one(stem: str, first: int) -> None:
    assert group_names([stem], Grouping(rule="blocks", size=50)) == (str(first),)


def test_files_and_names_without_a_number_stand_alone() -> None:
    assert group_names(["a1", "a2"], Grouping(rule="file")) == ("a1", "a2")
    assert len(set(group_names(["wall", "floor"], Grouping(rule="runs")))) == 2


@given(
    groups=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_a_split_parts_no_group_and_loses_no_picture(groups: list[str], share: float, seed: int) -> None:
    learnt, held = split(groups, share, seed)
    assert sorted(learnt + held) == list(range(len(groups)))
    assert not {groups[i] for i in learnt} & {groups[i] for i in held}


def test_a_split_holds_back_about_the_share_asked_for_and_follows_its_seed() -> None:
    groups = [str(i // 5) for i in range(500)]
    _, held = split(groups, 0.2, seed=1)
    assert 95 <= len(held) <= 105
    assert split(groups, 0.2, seed=1) == split(groups, 0.2, seed=1)
    assert split(groups, 0.2, seed=1) != split(groups, 0.2, seed=2)
