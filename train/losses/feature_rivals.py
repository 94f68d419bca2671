"""The losses on patch features that GAGL and CIRL compare with.

- Centre loss: Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016,
  equations (2), (4) and (5).
- CosFace: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018, equation (4).
- ArcFace: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, equation (3).
- Circle loss: Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020,
  equations (5) and (6) with the margins of section 3.3, learnt from class labels.
- NNCLR: Dwibedi et al., "With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of Visual
  Representations", ICCV 2021, equations (3) and (4).

Departure common to all: the mean over the patches of all ranks; centre loss is printed as a sum (`reduction="sum"`).
Features are taken in float32, or float64 if they are, also under autocast.
"""

from __future__ import annotations

from math import cos, pi, sin

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from train.losses.patches import at_least_float32, full_precision, over_patches, without_ignored
from train.losses.reduce import Reduction, over_ranks, require

_NEAREST_TO_ONE = 1e-7  # of 1 - cos^2, where the sine's slope is cut off


def centre_loss(
    features: Tensor, labels: Tensor, centres: Tensor, ignore: Tensor | None = None, *, reduction: Reduction = "mean"
) -> Tensor:
    """Return half the squared distance of features to their class's centre, equation (2), scalar, >= 0.

    Args:
        features: (N, D), any range.
        labels: (N,) int64 in [0, C).
        centres: (C, D), held constant.
        ignore: (N,) bool, True where a patch counts for nothing, or None.
        reduction: over patches, "mean" or the paper's "sum".
    """
    features = without_ignored(features, labels, ignore)
    squared = (features - centres.detach().to(features.dtype)[labels]).square().sum(1)
    return over_patches(0.5 * squared, ignore, reduction)


def moved_centres(
    centres: Tensor, features: Tensor, labels: Tensor, ignore: Tensor | None = None, *, rate: float = 0.5
) -> Tensor:
    """Return new centres (C, D), equation (4), from the features of all ranks.

    Args:
        centres: (C, D).
        features: (N, D).
        labels: (N,) int64 in [0, C).
        ignore: (N,) bool or None.
        rate: alpha, [0, 1].
    """
    with torch.no_grad(), full_precision(features):
        features = without_ignored(features, labels, ignore).to(centres.dtype)
        member = F.one_hot(labels, len(centres)).to(centres.dtype)
        if ignore is not None:
            member = member.masked_fill(ignore.bool()[:, None], 0)
        (sums,) = over_ranks(torch.cat([member.T @ features, member.sum(0)[:, None]], dim=1))
        total, n = sums[:, :-1], sums[:, -1:]
        return centres - rate * (n * centres - total) / (1 + n)


def cosines(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return (N, C), the cosine of each feature (N, D) to each class's prototype (C, D).

    A feature that is zero, as after a ReLU, has no direction: its cosines are 0, and so is their gradient, which would
    be about 1e12 else.
    """
    with full_precision(features):
        features = at_least_float32(features)
        return _directions(features) @ _directions(prototypes.to(features.dtype)).T


def cosface_loss(
    features: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    ignore: Tensor | None = None,
    *,
    scale: float = 64.0,
    margin: float = 0.35,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return cross-entropy of s (cos theta - m [true class]), CosFace's equation (4), scalar, nats.

    Args:
        features: (N, D), any range; only their direction counts.
        labels: (N,) int64 in [0, C).
        prototypes: (C, D), learnt.
        ignore: (N,) bool, True where a patch counts for nothing, or None.
        scale: s, > 0.
        margin: m, >= 0.
        reduction: over patches, "mean" or "sum".
    """
    similarity = cosines(without_ignored(features, labels, ignore), prototypes)
    true_class = F.one_hot(labels, len(prototypes)).to(similarity.dtype)
    per_patch = F.cross_entropy(scale * (similarity - margin * true_class), labels, reduction="none")
    return over_patches(per_patch, ignore, reduction)


def arcface_loss(
    features: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    ignore: Tensor | None = None,
    *,
    scale: float = 64.0,
    margin: float = 0.5,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return cross-entropy of s cos(theta + m [true class]), ArcFace's equation (3), scalar, nats.

    As printed: beyond theta = pi - m the true class's logit rises again with theta.

    Args:
        features: (N, D), any range; only their direction counts.
        labels: (N,) int64 in [0, C).
        prototypes: (C, D), learnt.
        ignore: (N,) bool, True where a patch counts for nothing, or None.
        scale: s, > 0.
        margin: m, rad, >= 0.
        reduction: over patches, "mean" or "sum".
    """
    similarity = cosines(without_ignored(features, labels, ignore), prototypes)
    sine = (1 - similarity.square()).clamp(min=_NEAREST_TO_ONE).sqrt()  # its slope at cos = 1 is infinite
    true_class = F.one_hot(labels, len(prototypes)).bool()
    turned = torch.where(true_class, similarity * cos(margin) - sine * sin(margin), similarity)
    per_patch = F.cross_entropy(scale * turned, labels, reduction="none")
    return over_patches(per_patch, ignore, reduction)


def circle_loss(
    features: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    ignore: Tensor | None = None,
    *,
    scale: float = 256.0,
    margin: float = 0.25,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return log(1 + sum_n exp(gamma a_n (s_n - m)) exp(-gamma a_p (s_p - 1 + m))), circle's equation (6), scalar.

    With a_p = [1 + m - s_p]+ and a_n = [s_n + m]+, equation (5), held constant, as in the paper's gradient. s_p is the
    cosine to the true class's prototype, the s_n those to the others.

    Args:
        features: (N, D), any range; only their direction counts.
        labels: (N,) int64 in [0, C), C >= 2.
        prototypes: (C, D), learnt.
        ignore: (N,) bool, True where a patch counts for nothing, or None.
        scale: gamma, > 0.
        margin: m, [0, 1].
        reduction: over patches, "mean" or "sum".
    """
    similarity = cosines(without_ignored(features, labels, ignore), prototypes)
    true_class = F.one_hot(labels, len(prototypes)).bool()
    constant = similarity.detach()
    attract = (1 + margin - constant).clamp(min=0) * (similarity - (1 - margin))
    repel = (constant + margin).clamp(min=0) * (similarity - margin)
    rivals = (scale * repel).masked_fill(true_class, -torch.inf).logsumexp(1)
    exponent = rivals - scale * attract[true_class]
    per_patch = torch.logaddexp(exponent, torch.zeros_like(exponent))
    return over_patches(per_patch, ignore, reduction)


def nnclr_loss(
    views: Tensor,
    others: Tensor,
    support: Tensor,
    ignore: Tensor | None = None,
    *,
    temperature: float = 0.1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the NNCLR term, equation (3), scalar, nats: a view's nearest support feature should find its other view.

    The gradient reaches `others` only: the nearest neighbour, equation (4), is a constant. Negatives are the other
    patches of the same rank.

    Args:
        views: (N, D), features of one augmentation of each patch.
        others: (N, D), features of another augmentation.
        support: (Q, D), features seen before, taken as constants.
        ignore: (N,) bool, True where a patch counts for nothing, or None.
        temperature: tau, > 0.
        reduction: over patches, "mean" or "sum".

    Raises:
        ValueError: shapes differ, or the temperature is not above 0.
    """
    require(views.shape == others.shape, f"views are {tuple(views.shape)}, others {tuple(others.shape)}")
    require(temperature > 0, f"temperature={temperature} must be above 0")
    rows = torch.arange(len(views), device=views.device)
    others = without_ignored(others, rows, ignore)
    with torch.no_grad():
        support = support.to(others.dtype)
        nearest = support[cosines(without_ignored(views, rows, ignore).to(others.dtype), support).argmax(1)]
    logits = cosines(nearest, others) / temperature
    if ignore is not None:  # an ignored patch is no negative, nor does it lack its own positive
        hidden = ignore.bool()[None, :] & (rows[:, None] != rows[None, :])
        logits = logits.masked_fill(hidden, -torch.inf)
    return over_patches(F.cross_entropy(logits, rows, reduction="none"), ignore, reduction)


class CentreLoss(nn.Module):
    """Cross-entropy + lambda centre loss, equation (5), with its centres, a buffer that starts at zero."""

    centres: Tensor

    def __init__(
        self,
        *,
        classes: int,
        dimensions: int,
        weight: float = 0.003,
        rate: float = 0.5,
        reduction: Reduction = "mean",
    ) -> None:
        """Make the centres.

        Args:
            classes: C.
            dimensions: D, of the features.
            weight: lambda, >= 0.
            rate: alpha, [0, 1].
            reduction: of both terms.
        """
        super().__init__()
        require(weight >= 0, f"weight={weight} must not be negative")
        require(0 <= rate <= 1, f"rate={rate} must lie in [0, 1]")
        self.weight, self.rate = weight, rate
        self.reduction: Reduction = reduction
        self.register_buffer("centres", torch.zeros(classes, dimensions))

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor, ignore: Tensor | None = None) -> Tensor:
        """Return the loss of (N, D) features and (N, C) logits, scalar; in training mode, then move the centres."""
        logits = without_ignored(logits, labels, ignore)
        joint = over_patches(F.cross_entropy(logits, labels, reduction="none"), ignore, self.reduction)
        joint = joint + self.weight * centre_loss(features, labels, self.centres, ignore, reduction=self.reduction)
        if self.training:
            moved = moved_centres(self.centres, features.detach(), labels, ignore, rate=self.rate)
            self.centres.copy_(moved)
        return joint


class _PrototypeLoss(nn.Module):
    """A loss that brings its own linear layer: learnt class prototypes (C, D), compared by cosine."""

    default_scale: float
    default_margin: float

    def __init__(
        self,
        *,
        classes: int,
        dimensions: int,
        scale: float | None = None,
        margin: float | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        """Draw the prototypes from torch's global generator.

        Args:
            classes: C, >= 2.
            dimensions: D, of the features.
            scale: see the loss function; None: its default.
            margin: see the loss function; None: its default.
            reduction: see the loss function.
        """
        super().__init__()
        self.scale = self.default_scale if scale is None else scale
        self.margin = self.default_margin if margin is None else margin
        self.reduction: Reduction = reduction
        require(classes >= 2 and dimensions >= 1, f"classes={classes}, dimensions={dimensions}: need 2 and 1 or more")
        require(self.scale > 0, f"scale={scale} must be above 0")
        require(0 <= self.margin <= pi, f"margin={margin} must lie in [0, pi]")
        self.prototypes = nn.Parameter(torch.randn(classes, dimensions))

    def logits(self, features: Tensor) -> Tensor:
        """Return (N, C), s cos theta without margins, to predict with."""
        return self.scale * cosines(features, self.prototypes)


class CosFace(_PrototypeLoss):
    """`cosface_loss` with its prototypes."""

    default_scale, default_margin = 64.0, 0.35

    def forward(self, features: Tensor, labels: Tensor, ignore: Tensor | None = None) -> Tensor:
        """Return the loss of (N, D) features, scalar."""
        return cosface_loss(
            features, labels, self.prototypes, ignore, scale=self.scale, margin=self.margin, reduction=self.reduction
        )


class ArcFace(_PrototypeLoss):
    """`arcface_loss` with its prototypes."""

    default_scale, default_margin = 64.0, 0.5

    def forward(self, features: Tensor, labels: Tensor, ignore: Tensor | None = None) -> Tensor:
        """Return the loss of (N, D) features, scalar."""
        return arcface_loss(
            features, labels, self.prototypes, ignore, scale=self.scale, margin=self.margin, reduction=self.reduction
        )


class CircleLoss(_PrototypeLoss):
    """`circle_loss` with its prototypes."""

    default_scale, default_margin = 256.0, 0.25

    def forward(self, features: Tensor, labels: Tensor, ignore: Tensor | None = None) -> Tensor:
        """Return the loss of (N, D) features, scalar."""
        return circle_loss(
            features, labels, self.prototypes, ignore, scale=self.scale, margin=self.margin, reduction=self.reduction
        )


class NNCLR(nn.Module):
    """`nnclr_loss` with its support set, a first-in-first-out queue of directions seen before, from all ranks.

    Buffers: `support` (Q, D), random directions at first; `oldest`, the row to be replaced next.
    """

    support: Tensor
    oldest: Tensor

    def __init__(
        self,
        *,
        dimensions: int,
        support_size: int = 98304,
        temperature: float = 0.1,
        reduction: Reduction = "mean",
        seed: int = 0,
    ) -> None:
        """Draw the support set.

        Args:
            dimensions: D, of the features.
            support_size: Q, >= 1; the paper's default.
            temperature: see `nnclr_loss`.
            reduction: see `nnclr_loss`.
            seed: of the support set, the same on every rank.
        """
        super().__init__()
        require(support_size >= 1, f"support_size={support_size} must be 1 or more")
        require(temperature > 0, f"temperature={temperature} must be above 0")
        self.temperature = temperature
        self.reduction: Reduction = reduction
        drawn = torch.randn(support_size, dimensions, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("support", F.normalize(drawn, dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.int64))

    def forward(self, views: Tensor, others: Tensor, ignore: Tensor | None = None) -> Tensor:
        """Return the term for two (N, D) views, scalar; in training mode, then put the first views into the queue.

        Under data parallelism every rank must bring equally many patches.
        """
        loss = nnclr_loss(views, others, self.support, ignore, temperature=self.temperature, reduction=self.reduction)
        if self.training:
            self._remember(views.detach(), ignore)
        return loss

    def _remember(self, views: Tensor, ignore: Tensor | None) -> None:
        counted = (
            torch.ones(len(views), 1, device=views.device) if ignore is None else (~ignore.bool())[:, None].float()
        )
        rows = torch.cat([counted, views.float()], dim=1)
        if dist.is_available() and dist.is_initialized():
            gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
            dist.all_gather(gathered, rows)
            rows = torch.cat(gathered)
        newest = F.normalize(rows[rows[:, 0] > 0, 1:], dim=1)[-len(self.support) :]
        at = (self.oldest + torch.arange(len(newest), device=rows.device)) % len(self.support)
        self.support[at] = newest.to(self.support.dtype)
        self.oldest.copy_((self.oldest + len(newest)) % len(self.support))


def _directions(vectors: Tensor) -> Tensor:
    is_zero = (vectors.detach() == 0).all(1, keepdim=True)
    return F.normalize(torch.where(is_zero, vectors.detach(), vectors), dim=1)
