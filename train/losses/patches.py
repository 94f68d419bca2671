"""What the losses on patch features share: precision, the ignore mask, and the mean over the ranks' patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from train.losses.reduce import Reduction, over_ranks, require, scaled

if TYPE_CHECKING:
    from torch import Tensor


def over_patches(per_patch: Tensor, ignore: Tensor | None, reduction: Reduction) -> Tensor:
    """Return the mean (0 if no patch counts) or the sum over the patches of all ranks that count, scalar.

    Args:
        per_patch: (N,).
        ignore: (N,) bool, True where a patch counts for nothing, or None.
        reduction: "mean" or "sum".
    """
    if ignore is None:
        n = per_patch.new_tensor(len(per_patch))
    else:
        per_patch = per_patch.masked_fill(ignore.bool(), 0)
        n = (~ignore.bool()).sum().to(per_patch.dtype)
    total, n = over_ranks(per_patch.sum(), n)
    return scaled(total, n, reduction)


def without_ignored(features: Tensor, labels: Tensor, ignore: Tensor | None) -> Tensor:
    """Return the features in float32 (float64 stays), zero where ignored: those may even be NaN.

    Args:
        features: (N, D).
        labels: (N,).
        ignore: (N,) bool or None.

    Raises:
        ValueError: shapes differ.
    """
    require(
        features.ndim == 2 and features.shape[:1] == labels.shape,
        f"features are {tuple(features.shape)} and labels {tuple(labels.shape)}; need (N, D) and (N,)",
    )
    features = at_least_float32(features)
    if ignore is None:
        return features
    require(ignore.shape == labels.shape, f"ignore is {tuple(ignore.shape)}; need {tuple(labels.shape)}")
    return features.masked_fill(ignore.bool()[:, None], 0)


def at_least_float32(values: Tensor) -> Tensor:
    """Return float64 as it is and everything else as float32."""
    return values if values.dtype == torch.float64 else values.float()


def full_precision(values: Tensor) -> torch.autocast:
    """Return a context in which autocast does not lower the precision of matrix products."""
    return torch.autocast(device_type=values.device.type, enabled=False)
