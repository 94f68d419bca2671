from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.measure.graph import MAX_RADIUS_PX, Skeleton, distance_to_outside, trace
from agent.measure.skeleton import guo_hall, neighbour_table, subset_table


def drawn(*rows: str) -> NDArray[np.uint8]:
    return np.array([[mark != "." for mark in row] for row in rows], np.uint8)


def traced(mask: NDArray[np.uint8], *, spur_factor: float = 0, thin: bool = False) -> Skeleton:
    padded = np.pad(mask, 1)
    stride = padded.shape[1]
    pixels = np.flatnonzero(padded).astype(np.int32)
    table = neighbour_table(pixels, stride)
    kept = guo_hall(table) if thin else np.ones(len(pixels), np.bool_)
    radius = distance_to_outside(pixels[kept], padded.ravel().astype(np.bool_), stride)
    return trace(pixels[kept], subset_table(table, kept), radius, stride, spur_factor=spur_factor)


@pytest.mark.parametrize(
    ("mask", "lengths"),
    [
        pytest.param(drawn("....", ".#..", "...."), [1], id="a single pixel is a branch of one point"),
        pytest.param(drawn("#.", ".#"), [2], id="two pixels"),
        pytest.param(drawn("####.", "....#"), [5], id="a line"),
        pytest.param(drawn("###", "..#", "..#"), [5], id="a corner is no junction"),
        pytest.param(
            drawn("#...#", ".#.#.", "..#..", "..#.."), [2, 3, 3], id="a fork has three branches that share a point"
        ),
        pytest.param(drawn("..#..", "..#..", "#####", "..#..", "..#.."), [3, 3, 3, 3], id="a cross has four"),
        pytest.param(drawn(".##.", "#..#", "#..#", ".##."), [9], id="a cycle ends where it began"),
        pytest.param(drawn(".##...", "#..#..", "#...##", "#..#..", ".##..."), [2, 11], id="a cycle with a tail"),
        pytest.param(drawn("##..", "....", "...#"), [1, 2], id="two pieces"),
        pytest.param(drawn("....", "...."), [], id="nothing"),
    ],
)
def test_pixels_become_branches(mask: NDArray[np.uint8], lengths: list[int]) -> None:
    assert sorted(np.diff(traced(mask).starts).tolist()) == lengths


@pytest.mark.parametrize("seed", range(6))
def test_branches_hold_every_pixel_and_go_from_neighbour_to_neighbour(seed: int) -> None:
    mask = (np.random.default_rng(seed).random((30, 30)) < 0.35).astype(np.uint8)
    skeleton = traced(mask, thin=True)
    assert set(skeleton.points.tolist()) == set(range(len(skeleton.pixels)))
    inner = skeleton.degree[skeleton.points] == 2
    assert len(set(skeleton.points[inner].tolist())) >= inner.sum() - len(skeleton)  # a cycle names its start twice
    rows, columns = np.divmod(skeleton.pixels[skeleton.points], skeleton.stride)
    step = np.maximum(np.abs(np.diff(rows)), np.abs(np.diff(columns)))
    step[skeleton.starts[1:-1] - 1] = 1
    assert (step == 1).all()


def test_spurs_shorter_than_the_local_width_are_pruned_and_longer_branches_stay() -> None:
    mask = np.zeros((60, 120), np.uint8)
    mask[30:37, 5:115] = 1
    mask[26:30, 40:43] = 1  # a bump on the outline
    mask[5:30, 80:83] = 1  # a branch
    assert len(traced(mask, thin=True, spur_factor=1)) == 3
    assert len(traced(mask, thin=True, spur_factor=0)) > 3


@pytest.mark.parametrize("seed", range(4))
def test_distance_to_the_outside_is_that_to_the_nearest_pixel_outside(seed: int) -> None:
    padded = np.pad(np.random.default_rng(seed).random((25, 31)) < 0.5 + 0.12 * seed, 1)
    pixels = np.flatnonzero(padded).astype(np.int32)
    outside, inside = np.argwhere(~padded), np.argwhere(padded)
    expected = np.sqrt(((inside[:, None] - outside[None]) ** 2).sum(axis=2)).min(axis=1)
    got = distance_to_outside(pixels, padded.ravel(), padded.shape[1])
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_distance_to_the_outside_is_bounded() -> None:
    padded = np.pad(np.ones((201, 201), np.bool_), 1)
    centre = np.array([101 * 203 + 101], np.int32)
    assert distance_to_outside(centre, padded.ravel(), 203).tolist() == [MAX_RADIUS_PX]
