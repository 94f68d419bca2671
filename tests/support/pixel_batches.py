"""Small random batches for pixel losses, and their gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def batch(
    n: int = 2, h: int = 4, w: int = 4, *, seed: int = 0, cracks: float = 0.2, spread: float = 2.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return float64 logits, target and ignore mask, (n, 1, h, w), with both classes valid in every image."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(n, 1, h, w, generator=generator, dtype=torch.float64)
    target = (torch.rand(n, 1, h, w, generator=generator) < cracks).double()
    ignore = torch.rand(n, 1, h, w, generator=generator) < 0.2
    target[..., 0, :2], ignore[..., 0, :2] = torch.tensor([1.0, 0.0], dtype=torch.float64), False
    return logits, target, ignore


def gradient(
    loss: Callable[..., Tensor], logits: Tensor, target: Tensor, ignore: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the loss and its gradient with respect to the logits."""
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, target, ignore)
    (grad,) = torch.autograd.grad(value, logits)
    return value.detach(), grad
