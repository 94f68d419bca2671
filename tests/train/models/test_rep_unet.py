"""Branches of training are one convolution when they ship, and answer the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.support.bench_designs import GATES, SEGMENTERS, SHIPS
from train import models
from train.models.rep_unet import RepUNet
from train.models.reparam import RepConv, fused

SMALL: dict[str, Any] = {"widths": (4, 6, 6), "depths": (1, 1), "merges": (1, 1)}


def lived_in(net: nn.Module) -> nn.Module:
    """Return the network in eval mode with statistics and weights that no normalisation starts with."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_var, module.weight):
                assert values is not None
                values.data.uniform_(0.5, 2.0, generator=generator)
            for values in (module.running_mean, module.bias):
                assert values is not None
                values.data.uniform_(-0.5, 0.5, generator=generator)
    return net.eval()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"inputs": 5, "outputs": 5}, id="with identity"),
        pytest.param({"inputs": 5, "outputs": 7, "stride": 2}, id="stride 2"),
        pytest.param({"inputs": 3, "outputs": 4, "kernel": 5, "stride": 2}, id="a stem of 5 x 5"),
        pytest.param({"inputs": 6, "outputs": 6, "dilation": 4, "strips": True}, id="dilated strips"),
        pytest.param({"inputs": 6, "outputs": 4, "kernel": 1, "plain": True}, id="one branch of 1 x 1"),
    ],
)
def test_the_branches_add_up_to_one_convolution(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    conv = lived_in(RepConv(**options)).double()
    assert isinstance(conv, RepConv)
    one = conv.fused()
    assert sum(isinstance(module, nn.Conv2d) for module in one.modules()) == 1
    x = torch.randn(2, options["inputs"], 24, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(one.double()(x), conv(x), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name, design in SEGMENTERS.items() if design.model == "rep_unet"])
def test_a_fused_network_answers_as_the_trained_one(name: str) -> None:
    torch.manual_seed(0)
    net = lived_in(models.build("rep_unet", **SEGMENTERS[name].options))
    shipped = fused(net)
    assert not any(isinstance(module, RepConv | nn.BatchNorm2d) for module in shipped.modules())
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        before, after = net(image), shipped(image)
    assert before.shape == (1, 1, 64, 96)
    assert before.std() > 0.01
    torch.testing.assert_close(after, before, atol=1e-3 * float(before.abs().max()), rtol=1e-4)


def test_fusing_leaves_the_trained_network_as_it_was() -> None:
    net = RepUNet(**SMALL).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert fused(net) is not net
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    plain = nn.Conv2d(1, 1, 1)
    assert fused(plain) is plain


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"dilations": (2,)}, id="dilated"),
        pytest.param({"strip_px": 9, "depths": (0, 0)}, id="strips reach farther than the lowest level"),
        pytest.param({"detail": 2, "up": "nearest"}, id="detail"),
        pytest.param({"finest": 1, "widths": (4, 4, 6)}, id="a way up that ends at 1/4"),
    ],
)
def test_its_receptive_field_is_the_reach_of_the_gradient(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = fused(RepUNet(**{**SMALL, **options}).eval())
    assert isinstance(net, RepUNet)
    assert net.receptive_field_px is not None
    for parameter in net.parameters():
        parameter.data.abs_().add_(0.01)  # nothing cancels out or dies in a ReLU
    stride = net.stride_px
    edge = (net.receptive_field_px // stride + 3) * stride
    image = torch.rand(1, 3, edge, edge, requires_grad=True)
    logits, farthest = net(image * 0.5 + 0.5), 0
    for offset in range(stride):
        centre = edge // 2 // stride * stride + offset
        (gradient,) = torch.autograd.grad(logits[0, 0, centre, centre], image, retain_graph=True)
        reached = gradient.abs().sum((0, 1)).nonzero()
        farthest = max(farthest, int((reached - centre).abs().max()))
    assert 2 * farthest + 1 == net.receptive_field_px


def test_what_ships_is_small_and_its_gate_a_tenth_of_it() -> None:
    segmenter = fused(models.build("rep_unet", **SEGMENTERS[SHIPS[0]].options).eval())
    gate = models.build("patch_gate", **GATES[SHIPS[1]].options).eval()
    assert sum(p.numel() for p in segmenter.parameters()) <= 600_000
    assert sum(p.numel() for p in gate.parameters()) <= 300_000
    assert _flop(segmenter, 512) <= 0.6 * _flop(models.build("yardstick").eval(), 512)
    assert _flop(gate, 256) <= 0.1 * _flop(segmenter, 512)


@pytest.mark.parametrize(
    "options", [{"widths": [8, 8]}, {"depths": [1]}, {"strip_px": 4}, {"stem_kernel": 4}, {"up": "cubic"}]
)
def test_options_that_make_no_network_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"levels or more|odd"):
        RepUNet(**options)


def _flop(net: nn.Module, edge: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.rand(1, 3, edge, edge))
    return int(counter.get_total_flops())
