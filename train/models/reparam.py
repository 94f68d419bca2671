"""Convolutions of several branches in training that are one convolution when they ship.

After Ding et al., "RepVGG", CVPR 2021, arXiv:2101.03697 (3 x 3, 1 x 1 and identity, each with its own batch
normalisation), and Ding et al., "ACNet", ICCV 2019, arXiv:1908.03930 (1 x 3 and 3 x 1 beside it: strips, for thin
curves). Sum and normalisation are linear, so that the branches add up to one kernel and one bias: `fused`. What ships
is a plain convolution, which is also what INT8 serves best.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RepConv(nn.Module):
    """A convolution with normalisation and ReLU, of parallel branches.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: edge, px, odd.
        stride: px.
        dilation: px between the kernel's taps.
        strips: whether there are branches of 1 x 3 and 3 x 1 as well.
        plain: one branch only, to see what the others are worth.

    Raises:
        ValueError: an even kernel.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        strips: bool = False,
        plain: bool = False,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} must be odd")
        self.inputs, self.outputs, self.kernel, self.stride, self.dilation = inputs, outputs, kernel, stride, dilation
        sizes = [(kernel, kernel)]
        if not plain:
            sizes += [(1, 1), *([(3, 3)] if kernel > 3 else []), *([(1, 3), (3, 1)] if strips else [])]
        self.branches = nn.ModuleList(self._branch(size) for size in sizes)
        self.identity = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 and not plain else None

    def _branch(self, size: tuple[int, int]) -> nn.Sequential:
        padding = (self.dilation * (size[0] // 2), self.dilation * (size[1] // 2))
        return nn.Sequential(
            nn.Conv2d(
                self.inputs,
                self.outputs,
                size,
                stride=self.stride,
                padding=padding,
                dilation=self.dilation,
                bias=False,
            ),
            nn.BatchNorm2d(self.outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, H / stride, W / stride) of (N, inputs, H, W)."""
        total = self.branches[0](x)
        for branch in list(self.branches)[1:]:
            total = total + branch(x)
        if self.identity is not None:
            total = total + self.identity(x)
        return F.relu(total)

    @torch.no_grad()
    def fused(self) -> nn.Sequential:
        """Return the one convolution with bias, and ReLU, that this is in eval mode."""
        weight = torch.zeros_like(cast("nn.Conv2d", cast("nn.Sequential", self.branches[0])[0]).weight)
        bias = torch.zeros(self.outputs, dtype=weight.dtype, device=weight.device)
        for kernel, norm in self._linear_parts(weight):
            scale = cast("Tensor", norm.weight) / (cast("Tensor", norm.running_var) + norm.eps).sqrt()
            weight += kernel * scale[:, None, None, None]
            bias += cast("Tensor", norm.bias) - cast("Tensor", norm.running_mean) * scale
        conv = nn.Conv2d(
            self.inputs,
            self.outputs,
            self.kernel,
            stride=self.stride,
            padding=self.dilation * (self.kernel // 2),
            dilation=self.dilation,
        )
        conv.weight.copy_(weight)
        cast("Tensor", conv.bias).copy_(bias)
        return nn.Sequential(conv, nn.ReLU())

    def _linear_parts(self, like: Tensor) -> Iterator[tuple[Tensor, nn.BatchNorm2d]]:
        """Yield each branch as a kernel of full size and its normalisation."""
        for branch in self.branches:
            conv, norm = cast("nn.Sequential", branch)
            weight = cast("nn.Conv2d", conv).weight
            rows, columns = ((self.kernel - edge) // 2 for edge in weight.shape[-2:])
            yield F.pad(weight, (columns, columns, rows, rows)), cast("nn.BatchNorm2d", norm)
        if self.identity is not None:
            weight = torch.zeros_like(like)
            channels = torch.arange(self.inputs)
            weight[channels, channels, self.kernel // 2, self.kernel // 2] = 1
            yield weight, self.identity


def fused(net: nn.Module) -> nn.Module:
    """Return a network, in eval mode, with one convolution in the place of each `RepConv`.

    One without any is returned as it is; one with some is copied, and what was given stays as it was.
    """
    if not any(isinstance(module, RepConv) for module in net.modules()):
        return net
    copied = copy.deepcopy(net).eval()
    for name, module in list(copied.named_modules()):
        if isinstance(module, RepConv):
            parent, _, child = name.rpartition(".")
            setattr(copied.get_submodule(parent), child, module.fused())
    return copied
