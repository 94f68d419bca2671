"""TopoNet's loss: where pieces and holes are born and die, counted by hand and by labelling."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.pixel_loss_oracles import lifetimes
from train.losses.topology import NOWHERE, holes, pieces, topological


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


@pytest.mark.parametrize(("options", "fault"), [({"weight": -1.0}, "weight"), ({"patch_px": 1}, "patch_px")])
def test_parameters_out_of_range_are_refused(options: dict[str, float], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        topological(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), **options)  # type: ignore[arg-type]
