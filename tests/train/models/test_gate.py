"""The patch gate is cheap, and sees a thin crack in a large patch."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from train import models
from train.models.gate import PatchGate


def flops(net: torch.nn.Module, edge: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.rand(1, 3, edge, edge))
    return int(counter.get_total_flops())


def test_it_answers_each_patch_with_two_logits() -> None:
    with torch.no_grad():
        assert PatchGate((4, 4)).eval()(torch.rand(3, 3, 64, 64)).shape == (3, 2)


def test_it_is_small_and_costs_a_tenth_of_the_segmenter_at_most() -> None:
    gate = models.build("patch_gate")
    assert sum(p.numel() for p in gate.parameters()) <= 300_000
    assert flops(gate, 256) <= 0.1 * flops(models.build("half_res_unet"), 512)


def test_the_maximum_keeps_a_spot_that_the_average_hardly_notices() -> None:
    torch.manual_seed(0)
    gate = PatchGate((8, 8)).eval()
    patch = torch.full((1, 3, 256, 256), 0.7)
    spot = patch.clone()
    spot[..., 120:124, 120:160] = 0.1
    with torch.no_grad():
        before, after = gate.features(patch * 2 - 1), gate.features(spot * 2 - 1)
    by_maximum = (after.amax((2, 3)) - before.amax((2, 3))).abs().max()
    by_average = (after.mean((2, 3)) - before.mean((2, 3))).abs().max()
    assert by_maximum > 10 * by_average
