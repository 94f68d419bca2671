"""The half-resolution U-Net keeps what it says about itself."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from train import models
from train.models.unet import HalfResUNet


def test_it_answers_each_pixel() -> None:
    net = HalfResUNet((4, 4, 6)).eval()
    with torch.no_grad():
        assert net(torch.rand(2, 3, 64, 96)).shape == (2, 1, 64, 96)


@pytest.mark.parametrize("widths", [(4, 6), (4, 4, 6)], ids=["two levels", "three levels"])
def test_its_receptive_field_is_the_reach_of_the_gradient(widths: tuple[int, ...]) -> None:
    declared = HalfResUNet(widths)
    stride = declared.stride_px
    assert declared.receptive_field_px is not None
    edge = (declared.receptive_field_px // stride + 3) * stride
    farthest = 0
    for seed in range(6):  # a pool passes its gradient to one pixel of four: several draws reach all
        torch.manual_seed(seed)
        net = HalfResUNet(widths).eval()
        for parameter in net.parameters():
            parameter.data.abs_().add_(0.01)  # nothing cancels out or dies in a ReLU
        image = torch.rand(1, 3, edge, edge, requires_grad=True)
        logits = net(image)
        for offset in range(stride):
            centre = edge // 2 // stride * stride + offset
            (gradient,) = torch.autograd.grad(logits[0, 0, centre, centre], image, retain_graph=True)
            reached = gradient.abs().sum((0, 1, 2)).nonzero().ravel()
            farthest = max(farthest, centre - int(reached.min()), int(reached.max()) - centre)
    assert 2 * farthest + 1 == declared.receptive_field_px


def test_moving_the_picture_by_the_stride_moves_the_answer_with_it() -> None:
    torch.manual_seed(0)
    net = HalfResUNet((4, 6)).eval()
    picture = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        answer, moved = net(picture), net(picture.roll(net.stride_px, dims=3))
    inner = slice(48, 80)
    torch.testing.assert_close(
        moved[..., inner, 48 + net.stride_px : 80 + net.stride_px], answer[..., inner, inner], atol=1e-5, rtol=0
    )


def test_the_shipped_network_is_small_and_cheaper_than_the_yardstick() -> None:
    net = models.build("half_res_unet").eval()
    assert sum(p.numel() for p in net.parameters()) <= 600_000
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.rand(1, 3, 512, 512))
    assert counter.get_total_flops() < 6.7e9, "the half-resolution U-Net with two convolutions per level"


@pytest.mark.parametrize("options", [{"widths": [8]}, {"widths": [8, 0]}, {"stem_kernel": 4}])
def test_options_that_make_no_network_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"two levels|odd"):
        HalfResUNet(**options)  # type: ignore[arg-type]
