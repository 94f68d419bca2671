"""The network that all others are laid beside never changes."""

from __future__ import annotations

import torch

from tests.support import bench_nets
from train import models


def test_it_has_the_parameters_and_the_cost_that_it_is_known_for() -> None:
    assert sum(p.numel() for p in models.build("yardstick").parameters()) == 514_801
    assert bench_nets.build("yardstick") is not None, "it asserts 6.7 GFLOP at 512 px"


def test_it_answers_each_pixel_and_reaches_as_far_as_it_says() -> None:
    torch.manual_seed(0)
    net = models.build("yardstick").eval()
    for parameter in net.parameters():
        parameter.data.abs_().add_(0.01)
    image = torch.rand(1, 3, 576, 576, requires_grad=True)
    logits = net(image)
    assert logits.shape == (1, 1, 576, 576)
    farthest = 0
    for centre in range(288, 320, 5):
        (gradient,) = torch.autograd.grad(logits[0, 0, centre, centre], image, retain_graph=True)
        reached = gradient.abs().sum((0, 1)).nonzero()
        farthest = max(farthest, int((reached - centre).abs().max()))
    assert 2 * farthest + 1 <= int(net.receptive_field_px)  # type: ignore[arg-type]
    assert 2 * farthest + 1 >= int(net.receptive_field_px) - 40, "a pool passes its gradient to one pixel of four"  # type: ignore[arg-type]
