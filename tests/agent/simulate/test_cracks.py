"""Cracks: their geometry, and that the picture has exactly the width that the geometry says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agent.contract.arrays import Float32
from agent.simulate.cracks import CrackBranch, CrackShape, draw, grow_crack, map_cracking, paint

SIZE = 128
DARKNESS = 0.5


def straight_crack(width: float, angle_deg: float) -> CrackShape:
    """A line through the middle of the picture, off the pixel grid, longer than the picture."""
    along = np.arange(-120.0, 120.5, 1.0)
    direction = np.array([math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))])
    line = np.array([63.3, 64.2]) + along[:, None] * direction
    return CrackShape(
        branches=(CrackBranch(line_xy=line, width=np.full(len(line), width), darkness=np.full(len(line), DARKNESS)),)
    )


def missing_light_per_px(picture: Float32, angle_deg: float) -> float:
    """The width by photometry: all missing light, over the darkness, over the length inside the picture."""
    middle = picture[32:96, 32:96]
    y, x = np.mgrid[32:96, 32:96]
    along = (x - 63.3) * math.cos(math.radians(angle_deg)) + (y - 64.2) * math.sin(math.radians(angle_deg))
    part = np.abs(along) < 25  # a whole number of sections, well inside
    return float((1 - middle[..., 0])[part].sum() / DARKNESS / 50)


@pytest.mark.parametrize("angle_deg", [0, 22, 45, 90, 137])
@pytest.mark.parametrize("width", [0.6, 1.0, 2.5, 5.0])
def test_the_darkness_across_a_crack_sums_to_its_width(width: float, angle_deg: float) -> None:
    crack = straight_crack(width, angle_deg)
    picture = paint(np.ones((SIZE, SIZE, 3), np.float32), [crack], draw([crack], SIZE, SIZE))
    assert missing_light_per_px(picture, angle_deg) == pytest.approx(width, rel=0.04)


def test_the_darkness_of_a_covered_pixel_is_the_cracks_own() -> None:
    crack = straight_crack(5.0, 0)
    picture = paint(np.ones((SIZE, SIZE, 3), np.float32), [crack], draw([crack], SIZE, SIZE))
    assert picture.min() == pytest.approx(1 - DARKNESS, abs=1e-5)


def test_the_mask_is_what_is_at_least_half_covered_and_the_centre_line() -> None:
    wide, thin = draw([straight_crack(3.0, 0)], SIZE, SIZE), draw([straight_crack(0.3, 0)], SIZE, SIZE)
    np.testing.assert_array_equal(np.flatnonzero(wide.mask[:, 64]), [63, 64, 65])
    assert thin.coverage.max() < 0.5
    np.testing.assert_array_equal(np.flatnonzero(thin.mask[:, 64]), [64])


def test_nothing_is_drawn_where_there_is_no_crack() -> None:
    layer = draw([], 8, 9)
    assert layer.coverage.shape == (8, 9)
    assert not layer.mask.any()
    assert not layer.shade.any()


def test_a_crack_outside_the_picture_leaves_no_trace() -> None:
    far = straight_crack(3.0, 0).transformed(np.array([[1.0, 0, 0], [0, 1, 500]]), 1.0)
    assert not draw([far], SIZE, SIZE).mask.any()


def grown(seed: int, *, width: float = 2.0, branching: float = 2.0) -> CrackShape:
    return grow_crack(
        np.random.default_rng(seed),
        start_xy=(10, 64),
        heading_rad=0.0,
        length=100,
        width=width,
        darkness=0.6,
        step=1.0,
        branching=branching,
    )


def test_a_grown_crack_starts_where_it_was_told_to_and_has_the_length_and_width_asked_for() -> None:
    crack = grown(1)
    main = crack.branches[0]
    np.testing.assert_allclose(main.line_xy[0], (10, 64))
    assert main.length == pytest.approx(100, rel=0.15)
    assert 1.0 < np.median(main.width) < 3.5
    assert main.width.min() > 0
    assert all(len(b.line_xy) == len(b.width) == len(b.darkness) for b in crack.branches)


def test_branches_leave_from_a_point_of_another_branch() -> None:
    crack = next(c for c in map(grown, range(20)) if len(c.branches) > 1)
    for number, branch in enumerate(crack.branches[1:], 1):
        others = np.concatenate([b.line_xy for i, b in enumerate(crack.branches) if i != number])
        assert np.hypot(*(others - branch.line_xy[0]).T).min() < 1e-9


def test_the_same_generator_gives_the_same_crack_and_another_one_another() -> None:
    np.testing.assert_array_equal(grown(3).branches[0].line_xy, grown(3).branches[0].line_xy)
    assert not np.array_equal(grown(3).branches[0].line_xy, grown(4).branches[0].line_xy)


@pytest.mark.parametrize("wrong", [{"length": 0.0}, {"width": -1.0}, {"step": 0.0}])
def test_a_size_that_is_not_positive_is_named(wrong: dict[str, float]) -> None:
    sizes = {"length": 10.0, "width": 1.0, "step": 1.0} | wrong
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=f"{name}={value}"):
        grow_crack(np.random.default_rng(0), start_xy=(0, 0), heading_rad=0, darkness=0.5, **sizes)


def test_a_moved_and_magnified_crack_has_the_moved_line_and_the_magnified_width() -> None:
    crack = straight_crack(2.0, 30)
    twice = crack.transformed(np.array([[2.0, 0, 5], [0, 2.0, -7]]), 2.0)
    np.testing.assert_allclose(twice.branches[0].line_xy, crack.branches[0].line_xy * 2 + (5, -7))
    np.testing.assert_allclose(twice.branches[0].width, 4.0)


def test_map_cracking_is_a_network_inside_its_box() -> None:
    crack = map_cracking(np.random.default_rng(0), box=(20, 20, 220, 220), cell=40, width=1.5, darkness=0.6, step=1.0)
    left, top, right, bottom = crack.bounds
    assert len(crack.branches) > 20
    assert min(left, top) > -60
    assert max(right, bottom) < 300
