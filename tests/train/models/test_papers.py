"""The papers' networks have the papers' parameters, answer for each pixel or patch, and learn with every part."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import vgg

from agent.errors import ConfigError
from tests.support.networks import NARROW, PARAMETERS
from train import models
from train.models.clique import CliqueBlock
from train.models.crackformer import HEADS, KEY, REACH, Lambda
from train.models.registry import DeeplySupervised, WithBoundaries
from train.models.segnet import pooled_with_place, unpooled
from train.models.spiral_net import INCREASING, WIDE, SpiralNet, VanillaUNet
from train.objectives import boundary

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
    if isinstance(net, WithBoundaries):
        maps, edges = net.maps_and_boundaries(image)
        outputs = [*maps, *edges]
    else:
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
    declared, stride = cast("int | None", net.receptive_field_px), int(cast("int", net.stride_px))
    if declared is None:  # it says that it sees all of any image
        image = torch.rand(1, 3, 64, 16 * stride, requires_grad=True)
        (gradient,) = torch.autograd.grad(net(image)[0, 0, 0, 0], image)
        assert gradient[..., -stride:].abs().max() > 0
        return
    for parameter in net.parameters():
        parameter.data.abs_().add_(1e-3)
    if name == "dru":  # averages, so that no gate is shut, in double precision, which their products need
        for parameter in net.double().parameters():
            parameter.data.div_(parameter.data.flatten(1).sum(1).amax() if parameter.ndim == 4 else 1)
    edge = max(edge, (declared // stride + 3) * stride)
    image = torch.rand(1, 3, max(64, 2 * stride), edge, dtype=next(net.parameters()).dtype, requires_grad=True)
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
    pooled, place = pooled_with_place(x)
    expected, indices = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(pooled, expected)
    assert torch.equal(unpooled(pooled + 1, place), F.max_unpool2d(expected + 1, indices, [2, 2]))


def test_a_clique_block_is_yangs_alternation() -> None:
    """CliqueNet, equations (1) and (2), layer by layer with the block's own weights, without normalisation."""
    torch.manual_seed(0)
    block, x = CliqueBlock(5, 2).eval(), torch.rand(1, 5, 6, 7)

    def weight(taker: int, giver: int) -> torch.Tensor:
        others = cast("nn.ModuleList", block.between[taker])
        return cast("torch.Tensor", others[giver if giver < taker else giver - 1].weight)

    def conv(value: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return F.conv2d(value, kernel, padding=1)

    with torch.no_grad():
        unit = 1 / (1 + 1e-5) ** 0.5  # fresh batch normalisation
        state: dict[int, torch.Tensor] = {}
        for i in range(4):
            total = conv(x, block.entering[i].weight)  # type: ignore[arg-type]
            for j in range(i):
                total = total + conv(state[j], weight(i, j))
            state[i] = F.relu(unit * total)
        for i in range(4):
            state[i] = F.relu(unit * sum((conv(state[j], weight(i, j)) for j in range(4) if j != i), torch.zeros(())))
        torch.testing.assert_close(block(x), torch.cat([state[i] for i in range(4)], dim=1), atol=1e-5, rtol=1e-4)


def test_a_lambda_layer_is_its_sums_over_pixels() -> None:
    """LambdaNetworks, section 2: content over all pixels, position over the neighbourhood, by a loop."""
    torch.manual_seed(0)
    attention, x = Lambda(8).eval(), torch.rand(1, 8, 9, 10)
    with torch.no_grad():
        queries = attention.queries(x)[0].reshape(HEADS, KEY, 9, 10)
        keys = attention.keys(x)[0].reshape(KEY, -1).softmax(1).reshape(KEY, 9, 10)
        values, found = attention.values(x)[0], attention(x)[0].reshape(HEADS, 2, 9, 10)
        for row, column in ((0, 0), (4, 5), (8, 9)):
            context = torch.einsum("krc,vrc->kv", keys, values)
            position = attention.position.bias[:, None].repeat(1, 2)  # type: ignore[index]
            for i in range(9):
                for j in range(10):
                    a, b = i - row + REACH // 2, j - column + REACH // 2
                    if 0 <= a < REACH and 0 <= b < REACH:
                        position += attention.position.weight[:, 0, 0, a, b, None] * values[None, :, i, j]
            expected = queries[:, :, row, column] @ (context + position)
            torch.testing.assert_close(found[:, :, row, column], expected, atol=1e-4, rtol=1e-4)


def test_feedback_changes_the_map_and_its_boundary_is_learnt_from_the_masks_edge() -> None:
    torch.manual_seed(0)
    net = models.build("jtfn", width=1 / 8).eval()
    with torch.no_grad():
        maps, edges = net.maps_and_boundaries(torch.rand(1, 3, 64, 64))  # type: ignore[operator]
    assert len(maps) == len(edges) == 2
    assert not torch.allclose(maps[0], maps[1])
    mask = torch.zeros(1, 1, 7, 9)
    mask[..., 2:5, 3:6] = 1
    grown, shrunk = (op(mask[0, 0].numpy(), np.ones((3, 3), np.uint8)) for op in (cv2.dilate, cv2.erode))
    assert np.array_equal(boundary(mask)[0, 0].numpy(), grown - shrunk)


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
        ("hed", {"weights": "/absent.pth"}, "absent.pth"),
        ("patch_classifier", {"backbone": "resnet"}, "resnet50"),
        ("u_cliquenet", {"growth": 0}, "growth=0"),
        ("crackseg", {"width": 0}, "width=0"),
        ("modified_unet", {"dropout": 1}, "dropout=1"),
        ("dru", {"rounds": 1}, "rounds=1"),
        ("crackformer", {"width": 1 / 32}, "4 heads"),
        ("jtfn", {"rounds": 1}, "rounds=1"),
        ("vgg_unet", {"width": 0.001}, "no channel"),
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


def test_hed_starts_from_given_weights_of_vgg16_but_not_from_others(tmp_path: Path) -> None:
    """Fine-tuned as in its own paper: torchvision's layers of those weights give what the stages give."""
    torch.manual_seed(0)
    features = vgg.make_layers(vgg.cfgs["D"])
    donor = {f"features.{name}": value for name, value in features.state_dict().items()}
    torch.save({**donor, "classifier.0.weight": torch.rand(3)}, tmp_path / "vgg16.pth")
    net = models.build("hed", weights=str(tmp_path / "vgg16.pth")).eval()
    x = standard = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for number, stage in enumerate(cast("nn.ModuleList", net.stages)):
            x = stage(F.max_pool2d(x, 2) if number else x)
        torch.testing.assert_close(F.max_pool2d(x, 2), features(standard))
    torch.save(vgg.make_layers(vgg.cfgs["A"]).state_dict(prefix="features."), tmp_path / "vgg11.pth")
    with pytest.raises(ConfigError, match=r"vgg11\.pth: not weights of vgg16 \(8 convolutions\)"):
        models.build("hed", weights=str(tmp_path / "vgg11.pth"))
    with pytest.raises(ConfigError, match=r"vgg16\.pth: not weights of vgg16"):
        models.build("hed", width=0.125, weights=str(tmp_path / "vgg16.pth"))
