"""What every pixel loss shares: shapes, precision, the ignore mask, and sums over the ranks of a data-parallel run.

Counts and soft counts are summed over all ranks *before* a loss is formed from them, because a ratio of sums is not the
mean of the ratios. Every rank therefore returns the same number: the loss of the whole batch.

Gradient scale: DistributedDataParallel averages gradients over the W ranks. Here the backward pass of a sum over ranks
multiplies by W, so that the average (1/W) sum_r (W dL/dS) dS_r/dtheta is the gradient of the whole batch's loss. The
backward pass needs no communication since dL/dS is the same on every rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True, slots=True)
class Pixels:
    """A checked batch in the precision the loss is computed in; ignored pixels hold logit 0 and target 0."""

    logits: Tensor  # (N, 1, H, W), float32, or float64 if it came as float64
    target: Tensor  # (N, 1, H, W), same dtype, 0 background, 1 crack
    valid: Tensor | None  # (N, 1, H, W), same dtype, 0 ignored, 1 counted; None: all count

    def keep(self, per_pixel: Tensor) -> Tensor:
        """Return the values with those of ignored pixels set to zero."""
        return per_pixel if self.valid is None else per_pixel * self.valid

    def count(self) -> Tensor:
        """Return the number of valid pixels on this rank, scalar."""
        return self.logits.new_tensor(self.logits.numel()) if self.valid is None else self.valid.sum()

    def against(self) -> Tensor:
        """Return the logit of the wrong class: its sigmoid is |y - p|, its softplus the cross-entropy."""
        return self.logits * torch.rsub(self.target, 1, alpha=2)  # 1 - 2 y

    def cross_entropy(self) -> Tensor:
        """Return -(y log p + (1 - y) log(1 - p)) of each pixel, nats."""
        return cross_entropy_against(self.against())

    def crack_logits(self) -> Tensor:
        """Return the logits of the valid crack pixels, (P,); they are few, so what is costly is best done on them."""
        return self.logits.flatten() if self.logits.is_meta else self.logits[self.target > 0]

    def by_class(self, per_pixel: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums over this rank's valid crack pixels and over its valid background pixels."""
        kept = self.keep(per_pixel)
        on_crack = kept * self.target
        return on_crack.sum(), (kept - on_crack).sum()


def pixels(logits: Tensor, target: Tensor, ignore: Tensor | None = None) -> Pixels:
    """Check a batch and bring it to float32 (float64 stays), also under autocast.

    Args:
        logits: (N, 1, H, W), floating, any range, before the sigmoid.
        target: (N, 1, H, W), any dtype, 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing; its logit may even be NaN.

    Raises:
        ValueError: shapes differ (broadcasting would hide it), or there is more than one channel.
    """
    if logits.ndim != 4 or logits.shape[1] != 1:
        raise ValueError(
            f"logits are {tuple(logits.shape)} and target {tuple(target.shape)}; need (N, 1, H, W) for both"
        )
    for name, other in (("target", target), ("ignore", ignore)):
        if other is not None and other.shape != logits.shape:
            raise ValueError(f"{name} is {tuple(other.shape)} but logits are {tuple(logits.shape)}; they must be equal")
    logits = logits if logits.dtype == torch.float64 else logits.float()
    target = target.to(logits.dtype)
    if ignore is None:
        return Pixels(logits, target, None)
    ignore = ignore.bool()
    return Pixels(logits.masked_fill(ignore, 0), target.masked_fill(ignore, 0), (~ignore).to(logits.dtype))


def cross_entropy_against(against: Tensor) -> Tensor:
    """Return the cross-entropy of each pixel, nats, from `Pixels.against`, for losses that need both."""
    # not binary_cross_entropy_with_logits: it forms x - logsigmoid(x), which is noise for background already learnt
    return F.softplus(against, threshold=40)


def over_ranks(*sums: Tensor) -> tuple[Tensor, ...]:
    """Sum scalars over all ranks, differentiably, in one communication; return them as they are in a single process.

    All ranks must call this equally often, and go on to form the same loss from the result.
    """
    if _alone() or sums[0].is_meta:
        return sums
    summed: Tensor = _SumOverRanks.apply(torch.stack(sums))  # type: ignore[no-untyped-call]
    return tuple(summed.unbind())


def max_over_ranks(values: Tensor) -> Tensor:
    """Return the elementwise maximum over all ranks, without a gradient."""
    values = values.detach()
    if _alone() or values.is_meta:
        return values
    values = values.clone()
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def reduced(per_pixel: Tensor, batch: Pixels, reduction: Reduction = "mean") -> Tensor:
    """Return the mean (0 if no pixel is valid) or the sum over the valid pixels of all ranks, scalar."""
    total, count = over_ranks(batch.keep(per_pixel).sum(), batch.count())
    return scaled(total, count, reduction)


def scaled(total: Tensor, count: Tensor, reduction: Reduction) -> Tensor:
    """Return total / count for "mean" (0 if count is 0), total for "sum"."""
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction={reduction!r} is not one of 'mean', 'sum'")
    return total / count.clamp(min=1) if reduction == "mean" else total


def require(condition: bool, message: str) -> None:  # noqa: FBT001 - the condition is the argument
    """Raise ValueError(message) unless the condition holds."""
    if not condition:
        raise ValueError(message)


class PixelLoss(nn.Module):
    """A loss function with its keyword parameters; wrong parameters fail here and not at the first step."""

    function: Callable[..., Tensor]

    def __init__(self, **parameters: Any) -> None:  # noqa: ANN401 - each function names and types its own
        super().__init__()
        self.keywords = parameters
        one = torch.zeros(1, 1, 1, 1, device="meta")  # has a shape but no data, so this runs the checks alone
        self.function(one, one, **parameters)

    def forward(self, logits: Tensor, target: Tensor, ignore: Tensor | None = None) -> Tensor:
        """Return the loss of (N, 1, H, W) logits against a (N, 1, H, W) target in {0, 1}, scalar."""
        return self.function(logits, target, ignore, **self.keywords)

    def extra_repr(self) -> str:
        """Return the parameters as they were given."""
        return ", ".join(f"{name}={value!r}" for name, value in self.keywords.items())


def _alone() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        total = values.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        return grads[0] * dist.get_world_size()
