"""The papers' networks have the papers' parameters, answer for each pixel or patch, and learn with every part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from agent.errors import ConfigError
from tests.support.networks import NARROW
from train import models
from train.models.registry import DeeplySupervised
from train.models.segnet import _pool, _unpool
from train.models.spiral_net import INCREASING, WIDE, SpiralNet, VanillaUNet

# full width -> parameters; where a paper prints them, to the last digit that it prints
PARAMETERS: list[tuple[str, dict[str, Any], int]] = [
    ("spiral_net", {}, 41_625_942),  # 39.70 x 2^20, as the paper prints
    ("vanilla_unet", {}, 23_531_074),  # 22.44 x 2^20
    ("revised_unet", {}, 31_031_745),  # 31.03M
    ("revised_unet", {"channels": 32}, 7_760_097),  # 7.76M
    ("hed", {}, 14_716_171),  # 14.72M
    ("rcf", {}, 14_803_781),  # 14.8M
    ("fcn8s", {}, 134_265_699),  # 134.27M
    ("segnet", {}, 29_443_585),  # 29.44M
    ("deepcrack", {}, 29_482_571),  # 29.48M
    ("deeplab_v3_plus", {}, 40_347_041),  # 40.35M
]
BACKBONES = ["resnet50", "vgg16", "convnet", "crack_cnn", "sdnet", "alinet", "silvanet"]

narrow = pytest.mark.parametrize(
    ("name", "options", "edge"), NARROW, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(NARROW)]
)


@pytest.mark.parametrize(("name", "options", "parameters"), PARAMETERS)
def test_a_network_has_its_papers_parameters(name: str, options: dict[str, Any], parameters: int) -> None:
    with torch.device("meta"):
        net = models.build(name, **options)
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_the_wide_unet_has_as_many_parameters_as_the_paper_prints() -> None:
    """Spiral-Net, table 5: 39.9 M, in units of 2^20."""
    with torch.device("meta"):
        net = VanillaUNet(WIDE)
    assert round(sum(p.numel() for p in net.parameters()) / 2**20, 1) == 39.9


@narrow
def test_a_network_answers_for_each_pixel_and_learns_with_every_part(
    name: str, options: dict[str, Any], edge: int
) -> None:
    torch.manual_seed(0)
    net = models.build(name, **options)
    image = torch.rand(2, 3, edge, edge + int(net.stride_px))  # type: ignore[arg-type]
    outputs = net.outputs(image) if isinstance(net, DeeplySupervised) else [net(image)]
    assert all(logits.shape == (2, 1, *image.shape[2:]) for logits in outputs)
    torch.autograd.backward(sum((logits.square().mean() for logits in outputs), torch.zeros(())))
    for part, parameter in net.named_parameters():
        assert parameter.grad is not None, part
        assert parameter.grad.abs().max() > 0, part


@narrow
def test_a_network_reaches_as_far_as_it_says(name: str, options: dict[str, Any], edge: int) -> None:
    """No farther, by the gradient with weights that cannot cancel, and for a part of the pixels just so far."""
    torch.manual_seed(0)
    net = models.build(name, **options).eval()
    declared, stride = net.receptive_field_px, int(net.stride_px)  # type: ignore[arg-type]
    assert isinstance(declared, int)
    for parameter in net.parameters():
        parameter.data.abs_().add_(1e-3)
    edge = max(edge, (declared // stride + 3) * stride)
    image = torch.rand(1, 3, max(64, 2 * stride), edge, requires_grad=True)
    logits, farthest = net(image), 0
    for offset in (0, 1, stride // 2, stride - 1):
        at = edge // 2 // stride * stride + offset
        (gradient,) = torch.autograd.grad(logits[0, 0, 0, at], image, retain_graph=True)
        reached = gradient.abs().sum((0, 1, 2)).nonzero().ravel()
        farthest = max(farthest, at - int(reached.min()), int(reached.max()) - at)
    assert 2 * farthest + 1 <= declared
    assert farthest > declared / 4


def test_unpooling_returns_each_value_to_where_the_largest_was() -> None:
    """SegNet, section 3, against torch's own max pooling with indices."""
    x = torch.rand(2, 3, 8, 12).round(decimals=1)  # with ties
    pooled, place = _pool(x)
    expected, indices = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(pooled, expected)
    assert torch.equal(_unpool(pooled + 1, place), F.max_unpool2d(expected + 1, indices, [2, 2]))


def test_spiral_nets_maps_are_as_many_as_its_modules_and_never_negative() -> None:
    """Spiral-Net, figure 3."""
    net = SpiralNet(width=1 / 8).eval()
    with torch.no_grad():
        maps = net.maps(torch.rand(1, 3, 256, 256))
    assert len(maps) == len(INCREASING)
    assert all(m.shape == (1, 1, 255, 255) and float(m.min()) >= 0 for m in maps)


def test_spiral_net_widens_a_picture_that_its_deepest_module_could_not_see() -> None:
    net, image = SpiralNet(width=1 / 8).eval(), torch.rand(1, 3, 128, 256)
    with torch.no_grad():
        assert torch.equal(net(image), net(F.pad(image, (0, 0, 0, 128), mode="replicate"))[..., :128, :])


def test_spiral_net_asks_for_an_extent_that_comes_back_whole() -> None:
    with pytest.raises(ValueError, match="200x256 px does not fit: both extents must be multiples of 128"):
        SpiralNet(width=1 / 8)(torch.rand(1, 3, 256, 200))


@pytest.mark.parametrize(
    ("name", "options", "fault"),
    [
        ("spiral_net", {"depths": []}, "depths"),
        ("spiral_net", {"depths": [8]}, "1 to 7"),
        ("spiral_net", {"connection": "product"}, "concatenate, sum, none"),
        ("hed", {"width": 0.001}, "no channel"),
        ("revised_unet", {"levels": 1}, "levels=1"),
        ("deeplab_v3_plus", {"width": 0}, "width=0"),
        ("deeplab_v3", {"weights": "/absent.pth"}, "absent.pth"),
        ("patch_classifier", {"backbone": "resnet"}, "resnet50"),
    ],
)
def test_options_that_make_no_network_are_refused(name: str, options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        models.build(name, **options)


def test_deeplab_starts_from_given_weights_but_not_from_others(tmp_path: Path) -> None:
    """The downstream models of the balanced focal paper, section 3.2: all but the classes."""
    donor = models.build("deeplab_v3").state_dict()
    donor["classifier.4.weight"], donor["classifier.4.bias"] = torch.rand(21, 256, 1, 1), torch.rand(21)
    torch.save({**donor, "aux_classifier.0.weight": torch.rand(3)}, tmp_path / "coco.pth")
    net = models.build("deeplab_v3", weights=str(tmp_path / "coco.pth"))
    assert torch.equal(net.state_dict()["backbone.conv1.weight"], donor["backbone.conv1.weight"])
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"other\.pth: not weights of deeplabv3_resnet101"):
        models.build("deeplab_v3", weights=str(tmp_path / "other.pth"))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_patch_classifier_answers_with_two_logits_and_the_feature_before_them(backbone: str) -> None:
    net = models.build("patch_classifier", backbone=backbone)
    image = torch.rand(2, 3, 64, 64)
    found = net.answers(image)  # type: ignore[operator]
    assert found.logits.shape == (2, 2)
    assert found.cells is None
    assert found.features.shape == (2, net.head.in_features)  # type: ignore[union-attr]
    torch.autograd.backward(found.logits.square().sum())
    assert all(p.grad is not None for p in net.parameters())
