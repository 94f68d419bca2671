"""TopoNet's loss: where pieces and holes are born and die, counted by hand and by labelling."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.support.pixel_loss_oracles import lifetimes
from train.losses.topology import NOWHERE, holes, pieces, topological

if TYPE_CHECKING:
    from torch import Tensor


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dual", [False, True], ids=["pieces", "holes"])
def test_births_and_deaths_are_those_of_labelling_at_every_threshold(seed: int, dual: bool) -> None:  # noqa: FBT001
    image = np.random.default_rng(seed).uniform(0.01, 0.99, (9, 11))
    places = (holes if dual else pieces)(image)
    values = [
        (float(image.flat[birth]), 0.0 if death == NOWHERE else float(image.flat[death])) for birth, death in places
    ]
    np.testing.assert_allclose(sorted(values), sorted(lifetimes(image, holes=dual)))


def test_two_pieces_with_a_saddle_between_them() -> None:
    row = np.array([[0.9, 0.2, 0.7, 0.1]])
    assert pieces(row).tolist() == [[2, 1], [0, NOWHERE]]
    assert holes(row).tolist() == []


def test_a_ring_is_a_piece_with_a_hole_that_is_born_at_its_weakest_pixel() -> None:
    ring = np.full((3, 3), 0.9)
    ring[1, 1], ring[0, 1] = 0.2, 0.6
    assert holes(ring).tolist() == [[1, 4]]
    assert len(pieces(ring)) == 1


def test_a_gap_in_a_crack_pulls_at_the_gap_and_a_false_spot_at_the_spot() -> None:
    """One piece is wanted: the gradient of the topological part raises the gap, and lowers what must not be there."""
    target = torch.zeros(1, 1, 9, 20)
    target[..., 4, :] = 1
    logits = (8 * target - 4 + 0.01 * torch.rand(target.shape)).double()
    logits[..., 4, 10] = -1.0  # a gap
    logits[..., 0, 2] = 2.0  # a spot
    logits.requires_grad_()
    shape = topological(logits, target, weight=1.0) - topological(logits, target, weight=0.0)
    (gradient,) = torch.autograd.grad(shape, logits)
    assert gradient[0, 0, 4, 10] < 0, "filling the gap costs less"
    assert gradient[0, 0, 0, 2] > 0, "so does losing the spot"


def test_a_truth_told_surely_costs_almost_nothing_and_patches_are_counted_by_themselves() -> None:
    target = torch.zeros(2, 1, 20, 30)
    target[..., 10, :] = 1
    assert float(topological(40 * (2 * target - 1), target, weight=1.0, patch_px=8)) == pytest.approx(0, abs=1e-9)
    wrong = 40 * (2 * target - 1)
    wrong[0, 0, 2, 2] = 40.0  # a false piece, in one of 24 patches: the way of (1, 0) to the diagonal
    found = float(topological(wrong, target, weight=1.0, patch_px=8)) - float(
        topological(wrong, target, weight=0.0, patch_px=8)
    )
    assert found == pytest.approx(0.5 / 24)


def test_what_the_truth_has_too_many_of_is_priced_at_the_diagonal_and_the_best_is_matched() -> None:
    """Equation (3.2) by hand, on one patch, from births and deaths alone."""
    price = functools.partial(_price, patch_px=40)
    ring = torch.zeros(1, 1, 7, 7)
    ring[..., 2:5, 2:5], ring[..., 3, 3] = 1, 0
    # nearer to the diagonal than to (1, 0): its piece goes there, and the truth's piece and hole
    assert price(torch.full_like(ring, 0.01), ring) == pytest.approx(0.01**2 / 2 + 0.5 + 0.5)
    weak = torch.where(ring > 0, 0.9, 0.01)
    weak[..., 3, 3] = 0.7  # all that fills the hole
    # the piece: born at .9, never dies; the hole: born at .9, dies at .7, nearer to the diagonal than to (1, 0)
    assert price(weak, ring) == pytest.approx(0.1**2 + min(0.1**2 + 0.7**2, 0.2**2 / 2 + 0.5), abs=1e-6)
    one = torch.zeros(1, 1, 3, 9)
    one[..., 1, 0] = 1
    two = torch.full_like(one, 0.0001)
    two[..., 1, 0], two[..., 1, 8] = 0.6, 0.8  # two pieces where one is wanted: the higher is matched
    assert price(two, one) == pytest.approx(0.2**2 + (0.6 - 0.0001) ** 2 / 2, abs=1e-6)


def _price(probability: Tensor, target: Tensor, *, patch_px: int) -> float:
    logits = probability.double().logit()
    with_shape, without = (float(topological(logits, target, weight=w, patch_px=patch_px)) for w in (1.0, 0.0))
    return with_shape - without


@pytest.mark.parametrize(("options", "fault"), [({"weight": -1.0}, "weight"), ({"patch_px": 1}, "patch_px")])
def test_parameters_out_of_range_are_refused(options: dict[str, float], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        topological(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), **options)  # type: ignore[arg-type]
