"""Gradient checkpointing changes what is kept, and nothing that comes out."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.support.networks import NARROW
from train import models
from train.models.gate import PatchNet
from train.models.recompute import recompute_blocks
from train.models.registry import DeeplySupervised, WithBoundaries

OTHERS: list[tuple[str, dict[str, Any], int]] = [
    ("half_res_unet", {}, 64),
    ("rep_unet", {}, 64),
    ("yardstick", {}, 64),
    ("patch_gate", {}, 64),
    ("deeplab_v3_plus", {"width": 16}, 64),
    *(("patch_classifier", {"backbone": name}, 64) for name in ("resnet50", "convnet", "crack_cnn")),
]
WIDE: list[tuple[str, dict[str, Any], int]] = [  # up to half a gigabyte of weights
    ("deeplab_v3", {}, 64),
    *(("patch_classifier", {"backbone": name}, 64) for name in ("sdnet", "alinet", "vgg16")),
]
EVERY = [*NARROW, *OTHERS, *(pytest.param(*case, marks=pytest.mark.slow) for case in WIDE)]


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are alive at once: those that are made within."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Callable[..., Any], _: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(given):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in self._known:
                self._known.add(storage._cdata)
                self.live += storage.nbytes()
                self.most = max(self.most, self.live)
                weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        return given

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step of learning leaves behind."""

    loss: Tensor
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]
    kept_bytes: int  # between forward and backward, without the weights themselves
    most_bytes: int


def logits_of(net: nn.Module, image: Tensor) -> list[Tensor]:
    if isinstance(net, PatchNet):
        found = net.answers(image)
        return [found.logits] if found.cells is None else [found.logits, found.cells]
    if isinstance(net, WithBoundaries):
        maps, edges = net.maps_and_boundaries(image)
        return [*maps, *edges]
    return net.outputs(image) if isinstance(net, DeeplySupervised) else [net(image)]


def step(name: str, options: dict[str, Any], edge: int, *, checkpointed: bool) -> Step:
    torch.manual_seed(0)
    net, kept = models.build(name, **options).train(), dict[int, int]()
    if checkpointed:
        assert recompute_blocks(net) > 1
    image = torch.rand(2, 3, edge, edge)

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)  # for dropout
    with Peak() as peak:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = torch.stack([logits.square().mean() for logits in logits_of(net, image)]).sum()
        torch.autograd.backward(loss)
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
    return Step(
        loss=loss.detach(),
        gradients={n: p.grad for n, p in net.named_parameters() if p.grad is not None},
        buffers=dict(net.named_buffers()),
        kept_bytes=sum(size for place, size in kept.items() if place not in weights),
        most_bytes=peak.most,
    )


@pytest.mark.parametrize(("name", "options", "edge"), EVERY)
def test_a_step_is_the_same_and_keeps_less(name: str, options: dict[str, Any], edge: int) -> None:
    """Loss, gradients and running statistics to 1e-6; a quarter less is kept from forward to backward, or more."""
    usual, frugal = (step(name, options, edge, checkpointed=checkpointed) for checkpointed in (False, True))
    torch.testing.assert_close(frugal.loss, usual.loss, rtol=1e-6, atol=0)
    assert frugal.gradients.keys() == usual.gradients.keys()
    for part, gradient in usual.gradients.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(frugal.gradients[part], gradient, rtol=1e-6, atol=1e-6 * scale, msg=part)
    for part, buffer in usual.buffers.items():
        torch.testing.assert_close(frugal.buffers[part], buffer, rtol=1e-6, atol=1e-6, msg=part)
    assert frugal.kept_bytes < 0.75 * usual.kept_bytes, f"{frugal.kept_bytes} of {usual.kept_bytes} bytes"


@pytest.mark.parametrize(
    ("name", "options", "edge", "share"),
    [
        ("crackformer", {"width": 1 / 8}, 64, 0.4),
        ("spiral_net", {"width": 1 / 8}, 256, 0.5),
        ("u_cliquenet", {"growth": 2}, 64, 0.6),
        ("half_res_unet", {}, 128, 0.8),
    ],
)
def test_the_most_that_is_held_at_once_falls(name: str, options: dict[str, Any], edge: int, share: float) -> None:
    """Recomputing has its own needs: the peak of the whole step, gradients included."""
    usual, frugal = (step(name, options, edge, checkpointed=checkpointed) for checkpointed in (False, True))
    assert frugal.most_bytes < share * usual.most_bytes, f"{frugal.most_bytes} of {usual.most_bytes} bytes"


def test_each_batch_counts_once_in_running_statistics() -> None:
    found = step("yardstick", {}, 64, checkpointed=True)
    assert {int(b) for n, b in found.buffers.items() if n.endswith("num_batches_tracked")} == {1}


def test_the_second_computation_leaves_running_statistics_alone() -> None:
    net = nn.Sequential(nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1)), nn.Sequential(nn.Conv2d(1, 1, 1)))
    recompute_blocks(net)
    out = net(torch.rand(2, 1, 4, 4))
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    torch.autograd.backward(out.sum())
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())


def test_without_gradients_nothing_is_computed_twice() -> None:
    net, calls = nn.Sequential(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()), nn.Conv2d(1, 1, 1)), list[int]()
    recompute_blocks(net)
    net[0][0].register_forward_hook(lambda *_: calls.append(1))  # type: ignore[index]
    with torch.no_grad():
        net(torch.rand(1, 1, 4, 4))
    assert len(calls) == 1
    torch.autograd.backward(net(torch.rand(1, 1, 4, 4)).sum())
    assert len(calls) == 3


def test_a_copy_computes_with_its_own_weights() -> None:
    """A run's average and CIRL's phase 1 are copies."""
    torch.manual_seed(0)
    net = models.build("revised_unet", channels=4, levels=3)
    recompute_blocks(net)
    copied, image = copy.deepcopy(net), torch.rand(1, 3, 32, 32)
    expected = net(image).detach()
    for parameter in net.parameters():
        parameter.data.zero_()
    assert torch.equal(copied(image).detach(), expected)
    assert not torch.equal(net(image).detach(), expected)
    assert list(copied.state_dict()) == list(models.build("revised_unet", channels=4, levels=3).state_dict())


def test_a_layer_that_overwrites_its_input_is_never_first_in_a_block() -> None:
    """Else the input that a block keeps would be gone: a long Sequential of the kind that torchvision has."""
    torch.manual_seed(0)
    layers = [layer for _ in range(12) for layer in (nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(inplace=True))]
    net, image = nn.Sequential(*layers), torch.rand(1, 2, 8, 8)
    expected = torch.autograd.grad(net(image).sum(), list(net.parameters()))
    assert recompute_blocks(net) > 2
    found = torch.autograd.grad(net(image).sum(), list(net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
