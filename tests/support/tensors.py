"""Tensors that are the same in every run."""

from __future__ import annotations

import torch
from torch import Tensor


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return standard normal values."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def labels_of(n: int = 12, classes: int = 3, seed: int = 0) -> Tensor:
    """Return (n,) class numbers."""
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))
