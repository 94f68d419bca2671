"""Geometry-aware guided loss (GAGL), for telling crack patches from clean ones.

Paper: Chen et al., "Geometry-Aware Guided Loss for Deep Crack Recognition", CVPR 2022, equations (1) to (10) and
algorithms 1 and 2. How far a feature lies from the class boundary is counted in steps of an attack on that feature
(kappa). Features that outlast their class's anchor are safe and pull the anchor towards them; the others swing and are
pulled towards the anchor.

Departures, each with the literal reading as an option where there is one:

- The paper gives neither the attack's step gamma nor its radius epsilon. Here 0.1 and 1.0 times the running root mean
  square of the features (`scale="absolute"`: as given); the running value is a buffer and so part of a checkpoint.
- Equation (3) projects the step onto a ball around the iterate, which binds only if gamma > epsilon
  (`projection="step"`); default is PGD's usual ball around the original feature ("origin").
- Equation (8) sums over the batch and diverges once alpha times the sum of omega passes 2. Here the gradient is divided
  by 1 + sum of omega, as in centre loss (`anchor_rule="paper"` is equation (8) and refuses to run past the bound).
- Equation (10) prints softmax(M^e(x)); it is softmax(M^c(M^e(x))).
- Equation (9) with the constant omega = 1 would vanish; as section 4.2 says in words, features then weigh 1 there too.
- Both terms are divided by the batch size, so that lambda keeps its meaning (`reduction="sum"` is the paper's).
- The random anchors are scaled to the features' running root mean square (`anchor_start="standard"`: not scaled).

Memory: the largest tensors are (N + C, D), the features and anchors under attack, whatever the number of steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.losses.patches import at_least_float32, full_precision, over_patches, without_ignored
from train.losses.reduce import Reduction, over_ranks, require

if TYPE_CHECKING:
    from collections.abc import Callable

Projection = Literal["origin", "step"]
Reweighting = Literal["tanh", "constant", "linear", "sigmoid"]
AnchorRule = Literal["normalised", "paper"]

_PROJECTIONS = ("origin", "step")
_REWEIGHTINGS = ("tanh", "constant", "linear", "sigmoid")
_ANCHOR_RULES = ("normalised", "paper")
_SLOPE = 5.0  # of equation (5)


class Attack(NamedTuple):
    """What FGA-PGD finds."""

    kappa: Tensor  # (N,) int64, steps until the classifier was first fooled, 0 if it was at the start, at most `steps`
    features: Tensor  # (N, D), the features after all steps


class Weights(NamedTuple):
    """What a feature weighs, both (N,) in [0, 1]."""

    safe: Tensor  # omega, in the anchors' update
    swing: Tensor  # 1 - omega, in the loss


def fga_pgd(
    features: Tensor,
    labels: Tensor,
    classifier: Callable[[Tensor], Tensor],
    *,
    step_size: float | Tensor,
    radius: float | Tensor,
    steps: int = 10,
    projection: Projection = "origin",
) -> Attack:
    """Attack all features at once and count the steps each withstands: algorithm 1 and equation (3).

    The sign of the cross-entropy's gradient is taken from logsumexp of the other classes' logits minus the true
    class's, of which cross-entropy is an increasing function (softplus). The sign is the same, but does not drown in
    rounding where the classifier is sure: in float32 the true class's part of cross-entropy's own gradient is 0 from a
    margin of about 17 on, and all of it from about 104 on.

    Args:
        features: (N, D), penultimate activations; attacked as constants, in float32, or float64 if they are.
        labels: (N,) int64 in [0, C).
        classifier: maps (N, D) to logits (N, C), C >= 2, row by row and without state, as a linear head does. No
            gradient reaches its parameters.
        step_size: gamma, in units of the features, >= 0.
        radius: epsilon, in units of the features, >= 0, of a maximum-norm ball.
        steps: K, the largest number of steps, >= 1.
        projection: "origin": stay within the ball around the original feature; "step": clip each step to the ball.

    Raises:
        ValueError: shapes do not fit, or a parameter is out of its range.
    """
    require(features.ndim == 2, f"features are {tuple(features.shape)}; need (N, D)")
    require(labels.shape == features.shape[:1], f"labels are {tuple(labels.shape)}, features {tuple(features.shape)}")
    require(projection in _PROJECTIONS, f"projection={projection!r} is not one of {', '.join(_PROJECTIONS)}")
    require(steps >= 1, f"steps={steps} must be 1 or more")
    # inference_mode(False): validation may run in inference mode, where nothing could be differentiated
    with torch.inference_mode(mode=False), torch.enable_grad(), full_precision(features):
        origin = at_least_float32(features.detach()).clone()
        step = torch.as_tensor(step_size, dtype=origin.dtype, device=origin.device).detach().clone()
        bound = torch.as_tensor(radius, dtype=origin.dtype, device=origin.device).detach().clone()
        if projection == "step":
            step = torch.minimum(step, bound)
        labels = labels.clone()
        kappa = torch.full_like(labels, steps)
        current = origin
        for taken in range(steps):
            current = current.detach().requires_grad_()
            logits = classifier(current)
            require(logits.ndim == 2 and logits.shape[1] >= 2, f"logits are {tuple(logits.shape)}; need (N, C >= 2)")
            true_class = F.one_hot(labels, logits.shape[1]).bool()
            rival = logits.masked_fill(true_class, -torch.inf).logsumexp(1)
            (gradient,) = torch.autograd.grad((rival - logits[true_class]).sum(), current)
            fooled_now = (logits.argmax(1) != labels) & (kappa == steps)
            kappa = torch.where(fooled_now, taken, kappa)
            current = current.detach() + step * gradient.sign()
            if projection == "origin":
                current = torch.minimum(torch.maximum(current, origin - bound), origin + bound)
    return Attack(kappa, current.detach())


def is_safe(kappa: Tensor, anchor_kappa: Tensor, labels: Tensor) -> Tensor:
    """Return (N,) bool, equation (4): True (S, safe) where a feature outlasts its class's anchor, else False (W).

    Args:
        kappa: (N,) of the features.
        anchor_kappa: (C,) of the anchors.
        labels: (N,) int64 in [0, C).
    """
    return kappa > anchor_kappa[labels]


def reweighting(
    kappa: Tensor,
    *,
    steps: int = 10,
    kind: Reweighting = "tanh",
    beta: float = 4.0,
    dtype: torch.dtype = torch.float32,
) -> Weights:
    """Return omega and 1 - omega, equation (5) and the three alternatives of section 4.2.

    tanh (1 + tanh x) / 2, sigmoid 1 / (1 + exp(-x)) with x = beta + 5 (2 kappa / K - 1); linear kappa / K; constant 1,
    for swinging features too, since the loss would be 0 else. At beta = +inf the other two do make the loss vanish.

    Args:
        kappa: (N,) int, in [0, K].
        steps: K, >= 1.
        kind: the function.
        beta: shifts tanh and sigmoid: omega = 1/2 at kappa = K (5 - beta) / 10.
        dtype: of the result.

    Raises:
        ValueError: the kind is unknown.
    """
    require(kind in _REWEIGHTINGS, f"reweighting={kind!r} is not one of {', '.join(_REWEIGHTINGS)}")
    share = kappa.to(dtype) / steps
    if kind == "constant":
        return Weights(torch.ones_like(share), torch.ones_like(share))
    if kind == "linear":
        return Weights(share, 1 - share)
    x = beta + _SLOPE * (2 * share - 1)
    if kind == "tanh":
        x = 2 * x  # (1 + tanh x) / 2 = sigmoid(2 x), whose complement sigmoid(-2 x) keeps its digits
    return Weights(x.sigmoid(), (-x).sigmoid())


def anchor_gradient(anchors: Tensor, features: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient (C, D) of the anchor loss, equation (7), and the sum of weights (C,), both over all ranks.

    The anchor loss, equation (6), is half the weighted sum of squared distances of features to their class's anchor.

    Args:
        anchors: (C, D).
        features: (N, D), taken as constants.
        labels: (N,) int64 in [0, C).
        weights: (N,), omega of safe features, 0 for the others.
    """
    with torch.no_grad(), full_precision(features):
        share = F.one_hot(labels, len(anchors)).to(anchors.dtype) * weights.to(anchors.dtype)[:, None]
        pull = share.T @ features.to(anchors.dtype)
        (sums,) = over_ranks(torch.cat([pull, share.sum(0)[:, None]], dim=1))
        pull, mass = sums[:, :-1], sums[:, -1]
        return mass[:, None] * anchors - pull, mass


def moved_anchors(
    anchors: Tensor, gradient: Tensor, mass: Tensor, *, rate: float = 0.1, rule: AnchorRule = "normalised"
) -> Tensor:
    """Return new anchors (C, D), equation (8).

    An anchor's distance to the weighted mean of its safe features shrinks by 1 - rate mass under "paper" and by
    1 - rate mass / (1 + mass) under "normalised", which lies in (1 - rate, 1].

    Args:
        anchors: (C, D).
        gradient: (C, D), equation (7).
        mass: (C,), the sum of omega over each class's safe features.
        rate: alpha, (0, 1] where normalised.
        rule: "normalised" divides the gradient by 1 + mass; "paper" does not.

    Raises:
        ValueError: the rule is unknown, or "paper" would push an anchor away from its features.
    """
    require(rule in _ANCHOR_RULES, f"anchor_rule={rule!r} is not one of {', '.join(_ANCHOR_RULES)}")
    if rule == "normalised":
        return anchors - rate * gradient / (1 + mass)[:, None]
    heaviest = int(mass.argmax())
    require(
        rate * float(mass[heaviest]) <= 2,
        f"GAGL's equation (8) diverges: class {heaviest} has a sum of omega of {float(mass[heaviest]):.3g}, above the "
        f"bound 2 / alpha = {2 / rate:.3g}; use anchor_rule='normalised', a smaller alpha or a smaller batch",
    )
    return anchors - rate * gradient


def gagl_loss(
    features: Tensor,
    labels: Tensor,
    anchors: Tensor,
    weights: Tensor,
    ignore: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return half the weighted squared distance of features to their class's anchor, equation (9), scalar, >= 0.

    Args:
        features: (N, D), any range.
        labels: (N,) int64 in [0, C).
        anchors: (C, D), held constant.
        weights: (N,), 1 - omega of swinging features, 0 for safe ones; held constant.
        ignore: (N,) bool, True where a patch counts for nothing, or None.
        reduction: "mean": divided by the number of patches of all ranks, safe ones included; "sum": the paper's.
    """
    features = without_ignored(features, labels, ignore)
    anchors = anchors.detach().to(features.dtype)
    squared = (features - anchors[labels]).square().sum(1)
    return over_patches(0.5 * weights.detach().to(features.dtype) * squared, ignore, reduction)


class GAGL(nn.Module):
    """The joint loss, cross-entropy + lambda GAGL, equation (10), with the anchors it learns: algorithm 2.

    In training mode a call updates the running feature scale and, after burn-in, the anchors, before the loss is taken.
    In evaluation mode, and under `torch.inference_mode`, nothing is updated.

    Buffers, all part of a checkpoint: `anchors` (C, D), standard normal until burn-in ends; `mean_square`, the running
    mean square of the features, 0 before the first batch; `anchors_placed`, whether anchors have been scaled.
    """

    anchors: Tensor
    mean_square: Tensor
    anchors_placed: Tensor

    def __init__(
        self,
        *,
        classes: int,
        dimensions: int,
        weight: float = 0.01,
        rate: float = 0.1,
        beta: float = 4.0,
        steps: int = 10,
        step_size: float = 0.1,
        radius: float = 1.0,
        scale: Literal["rms", "absolute"] = "rms",
        projection: Projection = "origin",
        kind: Reweighting = "tanh",
        anchor_rule: AnchorRule = "normalised",
        anchor_start: Literal["rms", "standard"] = "rms",
        burn_in_epochs: int = 30,
        rms_momentum: float = 0.1,
        reduction: Reduction = "mean",
        seed: int = 0,
    ) -> None:
        """Draw the anchors.

        Args:
            classes: C, >= 2.
            dimensions: D, of the features.
            weight: lambda, of GAGL beside cross-entropy, >= 0.
            rate: alpha, of the anchors' update, (0, 1].
            beta: see `reweighting`.
            steps: K, see `fga_pgd`.
            step_size: gamma, in units of the features' root mean square, or absolute, see `scale`.
            radius: epsilon, likewise.
            scale: "rms" or "absolute".
            projection: see `fga_pgd`.
            kind: see `reweighting`.
            anchor_rule: see `moved_anchors`.
            anchor_start: "rms" scales the drawn anchors by the features' root mean square when burn-in ends; "standard"
                leaves them.
            burn_in_epochs: number of first epochs with cross-entropy alone and the anchors left alone, >= 0.
            rms_momentum: share of the newest batch in the running mean square, (0, 1].
            reduction: see `gagl_loss`; of both terms.
            seed: of the anchors, the same on every rank.

        Raises:
            ValueError: a parameter is out of its range.
        """
        super().__init__()
        require(classes >= 2 and dimensions >= 1, f"classes={classes}, dimensions={dimensions}: need 2 and 1 or more")
        require(weight >= 0, f"weight={weight} must not be negative")
        require(0 < rate <= 1, f"rate={rate} must lie in (0, 1]")
        require(steps >= 1, f"steps={steps} must be 1 or more")
        require(step_size > 0 and radius > 0, f"step_size={step_size}, radius={radius}: both must be above 0")
        require(scale in ("rms", "absolute"), f"scale={scale!r} is not one of rms, absolute")
        require(projection in _PROJECTIONS, f"projection={projection!r} is not one of {', '.join(_PROJECTIONS)}")
        require(kind in _REWEIGHTINGS, f"kind={kind!r} is not one of {', '.join(_REWEIGHTINGS)}")
        require(anchor_rule in _ANCHOR_RULES, f"anchor_rule={anchor_rule!r} is not one of {', '.join(_ANCHOR_RULES)}")
        require(anchor_start in ("rms", "standard"), f"anchor_start={anchor_start!r} is not one of rms, standard")
        require(burn_in_epochs >= 0, f"burn_in_epochs={burn_in_epochs} must not be negative")
        require(0 < rms_momentum <= 1, f"rms_momentum={rms_momentum} must lie in (0, 1]")
        require(reduction in ("mean", "sum"), f"reduction={reduction!r} is not one of mean, sum")
        self.weight, self.rate, self.beta = weight, rate, beta
        self.steps, self.step_size, self.radius = steps, step_size, radius
        self.scale: Literal["rms", "absolute"] = scale
        self.projection: Projection = projection
        self.kind: Reweighting = kind
        self.anchor_rule: AnchorRule = anchor_rule
        self.burn_in_epochs, self.rms_momentum = burn_in_epochs, rms_momentum
        self.reduction: Reduction = reduction
        drawn = torch.randn(classes, dimensions, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("anchors", drawn)
        self.register_buffer("mean_square", torch.zeros(()))
        self.register_buffer("anchors_placed", torch.tensor(anchor_start == "standard"))

    def forward(
        self,
        features: Tensor,
        logits: Tensor,
        labels: Tensor,
        classifier: Callable[[Tensor], Tensor],
        *,
        epoch: int,
        ignore: Tensor | None = None,
    ) -> Tensor:
        """Return the joint loss, scalar.

        Args:
            features: (N, D), what `classifier` was given.
            logits: (N, C), what it returned for them.
            labels: (N,) int64 in [0, C).
            classifier: see `fga_pgd`.
            epoch: from 0; below `burn_in_epochs` only cross-entropy counts.
            ignore: (N,) bool, True where a patch counts for nothing, or None.

        Raises:
            ValueError: shapes do not fit, or `anchor_rule="paper"` would diverge.
        """
        classes, dimensions = self.anchors.shape
        features = without_ignored(features, labels, ignore)
        logits = without_ignored(logits, labels, ignore)
        require(features.shape[1] == dimensions, f"features have {features.shape[1]} dimensions, not {dimensions}")
        require(logits.shape[1] == classes, f"logits are of {logits.shape[1]} classes, not {classes}")
        updating = self.training and not torch.is_inference_mode_enabled()
        cross_entropy = F.cross_entropy(logits, labels, reduction="none")
        joint = over_patches(cross_entropy, ignore, self.reduction)
        if updating:
            self._follow_scale(features.detach(), ignore)
        if epoch < self.burn_in_epochs:
            return joint
        kappa, safe, anchors = self._states(features, labels, classifier)
        counted = torch.ones_like(safe) if ignore is None else ~ignore.bool()
        omega = reweighting(kappa, steps=self.steps, kind=self.kind, beta=self.beta, dtype=anchors.dtype)
        if updating:
            gradient, mass = anchor_gradient(anchors, features.detach(), labels, omega.safe * (safe & counted))
            anchors = moved_anchors(anchors, gradient, mass, rate=self.rate, rule=self.anchor_rule)
            self.anchors.copy_(anchors)
            self.anchors_placed.fill_(True)
        swing = omega.swing * (~safe & counted)
        return joint + self.weight * gagl_loss(features, labels, anchors, swing, ignore, reduction=self.reduction)

    def attack(self, features: Tensor, labels: Tensor, classifier: Callable[[Tensor], Tensor]) -> Attack:
        """Run `fga_pgd` with this loss's steps, step size, radius and projection, at the present feature scale."""
        unit = self.mean_square.sqrt() if self.scale == "rms" else torch.ones_like(self.mean_square)
        return fga_pgd(
            features,
            labels,
            classifier,
            steps=self.steps,
            step_size=self.step_size * unit,
            radius=self.radius * unit,
            projection=self.projection,
        )

    def _states(
        self, features: Tensor, labels: Tensor, classifier: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return kappa (N,), whether safe (N,), and the anchors (C, D) at the features' scale."""
        rms = self.mean_square.sqrt()
        anchors = self.anchors * torch.where(self.anchors_placed, torch.ones_like(rms), rms)
        dtype = torch.promote_types(features.dtype, anchors.dtype)
        together = torch.cat([features.detach().to(dtype), anchors.to(dtype)])
        of_classes = torch.arange(len(anchors), device=labels.device)
        kappa = self.attack(together, torch.cat([labels, of_classes]), classifier).kappa
        kappa, anchor_kappa = kappa[: len(labels)], kappa[len(labels) :]
        return kappa, is_safe(kappa, anchor_kappa, labels), anchors

    def _follow_scale(self, features: Tensor, ignore: Tensor | None) -> None:
        """Move the running mean square towards that of the batch of all ranks; the first batch sets it."""
        squares = features.to(self.mean_square.dtype).square().sum(1)
        n = squares.new_tensor(len(squares)) if ignore is None else (~ignore.bool()).sum().to(squares)
        total, n = over_ranks(squares.sum(), n)
        newest = total / (n * features.shape[1]).clamp(min=1)
        first = self.mean_square == 0
        moved = torch.lerp(self.mean_square, newest, self.rms_momentum)
        self.mean_square.copy_(torch.where(first, newest, torch.where(n == 0, self.mean_square, moved)))
