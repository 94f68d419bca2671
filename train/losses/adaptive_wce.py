"""Adaptive weighted cross-entropy and Jaccard distance, for images where crack pixels are rare.

Paper: Li et al., "Fast and Accurate Road Crack Detection Based on Adaptive Cost-Sensitive Loss Function",
IEEE Transactions on Cybernetics 53(2), 2023, equations (1) to (10).
The weight q of crack pixels follows from alpha, the share of background pixels in the batch, but grows slower than the
class ratio alpha / (1 - alpha), which makes cracks come out too thick.

Departures, each with the literal reading as an option: the mean over valid pixels instead of the sum (`reduction`), so
that a and b of the holistic loss mean the same at every image size; counts over all ranks of a data-parallel run
(`alpha_over`); q is never negative, as the logarithm's is once crack pixels are the majority (`floor`). The Jaccard
distance's smoothing is not given in the paper; 1 pixel here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

from train.losses.reduce import PixelLoss, Reduction, over_ranks, pixels, require, scaled

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Unpack

Kind = Literal["ratio", "power", "logarithm", "exponential"]


class Weight(TypedDict, total=False):
    """The keyword parameters of `class_weight`, described there."""

    kind: Kind
    beta: float
    gamma: float
    base: float
    smoothing: float | None
    floor: float


_KINDS = ("ratio", "power", "logarithm", "exponential")


def class_weight(
    n_background: Tensor,
    n_crack: Tensor,
    *,
    kind: Kind = "exponential",
    beta: float = 1.0,
    gamma: float = 1.0,
    base: float = 10.0,
    smoothing: float | None = None,
    floor: float = 0.0,
) -> Tensor:
    """Return q(alpha), the weight of crack pixels where background pixels weigh 1, scalar.

    With r = alpha / (1 - alpha): ratio r, equation (3), Xie and Tu's; power beta r^gamma (4); logarithm beta ln r (5);
    exponential beta base^(gamma (2 alpha - 1)) (6), which lies in [beta/base, beta base].

    Args:
        n_background: number of background pixels in the batch, scalar.
        n_crack: number of crack pixels in the batch, scalar.
        kind: the family.
        beta: scale of every family but the ratio, (0, 1].
        gamma: power or exponent's factor, (0, 1] for power, [0, 1] for exponential; unused elsewhere.
        base: base of the exponential, > 1.
        smoothing: Laplace smoothing in pixels, >= 0, added to both counts; None: 1, but 0 for the exponential, which
            needs none. With 0, a batch without crack pixels counts as one with a single crack pixel.
        floor: q is not let below this; -inf is equation (5) as printed.

    Raises:
        ValueError: a parameter is out of its range.
    """
    require(kind in _KINDS, f"kind={kind!r} is not one of {', '.join(_KINDS)}")
    require(0 < beta <= 1, f"beta={beta} must lie in (0, 1]")
    require(0 <= gamma <= 1, f"gamma={gamma} must lie in [0, 1]")
    require(kind != "power" or gamma > 0, f"gamma={gamma} must be above 0 for the power family")
    require(base > 1, f"base={base} must be above 1")
    require(smoothing is None or smoothing >= 0, f"smoothing={smoothing} must be 0 or more pixels")
    if kind == "exponential":
        alpha = _background_share(n_background, n_crack, _laplace(kind, smoothing))
        q = beta * base ** (gamma * (2 * alpha - 1))
    else:
        laplace = _laplace(kind, smoothing)
        ratio = (n_background + laplace) / (n_crack + laplace if laplace > 0 else n_crack.clamp(min=1))
        q = ratio if kind == "ratio" else beta * (ratio**gamma if kind == "power" else ratio.log())
    return q.clamp(min=floor)


def adaptive_wce(
    logits: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    form: Literal["weighted", "xie"] = "weighted",
    alpha_over: Literal["ranks", "rank"] = "ranks",
    reduction: Reduction = "mean",
    **weight: Unpack[Weight],
) -> Tensor:
    """Return the weighted cross-entropy of equation (2), -(q y log p + (1 - y) log(1 - p)), scalar, nats.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        form: "weighted" is equation (2); "xie" multiplies it by 1 - alpha, which with kind "ratio" is equation (1).
        alpha_over: count classes in the whole batch ("ranks") or in each data-parallel rank's part ("rank").
        reduction: over valid pixels, "mean" or the paper's "sum".
        **weight: kind, beta, gamma, base, smoothing and floor of `class_weight`.

    Raises:
        ValueError: shapes differ, or a parameter is out of its range.
    """
    require(form in ("weighted", "xie"), f"form={form!r} is not one of weighted, xie")
    require(alpha_over in ("ranks", "rank"), f"alpha_over={alpha_over!r} is not one of ranks, rank")
    batch = pixels(logits, target, ignore)
    on_crack, on_background = batch.by_class(batch.cross_entropy())
    n_crack, count = batch.target.sum(), batch.count()

    def weighted(on_crack: Tensor, on_background: Tensor, n_crack: Tensor, count: Tensor) -> Tensor:
        n_background = count - n_crack
        total = class_weight(n_background, n_crack, **weight) * on_crack + on_background
        if form == "weighted":
            return total
        laplace = _laplace(weight.get("kind", "exponential"), weight.get("smoothing"))
        return total * (1 - _background_share(n_background, n_crack, laplace))

    if alpha_over == "rank":
        total, count = over_ranks(weighted(on_crack, on_background, n_crack, count), count)
    else:
        on_crack, on_background, n_crack, count = over_ranks(on_crack, on_background, n_crack, count)
        total = weighted(on_crack, on_background, n_crack, count)
    return scaled(total, count, reduction)


def jaccard_distance(logits: Tensor, target: Tensor, ignore: Tensor | None = None, *, smoothing: float = 1.0) -> Tensor:
    """Return 1 - (sum y p + smoothing) / (sum y + sum p - sum y p + smoothing), equations (9) and (10), in [0, 1].

    The sums run over the batch. Computed as (union - intersection) / (union + smoothing), which is exactly 0 at p = y.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        smoothing: the paper's lambda, pixels, > 0: an empty prediction of an empty truth is then at distance 0.

    Raises:
        ValueError: shapes differ, or smoothing is not above 0.
    """
    require(smoothing > 0, f"smoothing={smoothing} must be above 0 pixels")
    batch = pixels(logits, target, ignore)
    wrong = batch.against().sigmoid()  # |y - p|, without the digits that 1 - p would lose
    missed, false_alarm, n_crack = over_ranks(*batch.by_class(wrong), batch.target.sum())
    return (missed + false_alarm) / (n_crack + false_alarm + smoothing)


def holistic(
    logits: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    a: float = 1.0,
    b: float = 1.0,
    jaccard_smoothing: float = 1.0,
    reduction: Reduction = "mean",
    **weight: Unpack[Weight],
) -> Tensor:
    """Return a * adaptive_wce + b * jaccard_distance, equation (8), scalar.

    The paper sets (a, b) to (0.5, 1), (20, 1) or (50, 1) on CrackForest, (10, 1) on AigleRN and Crack360, and (2, 1)
    with the power family on BJN260.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        a: weight of the cross-entropy (mean over valid pixels), >= 0.
        b: weight of the Jaccard distance, >= 0.
        jaccard_smoothing: smoothing of `jaccard_distance`, pixels.
        reduction: of the cross-entropy over valid pixels, "mean" or the paper's "sum".
        **weight: kind, beta, gamma, base, smoothing and floor of `class_weight`.

    Raises:
        ValueError: shapes differ, or a parameter is out of its range.
    """
    require(a >= 0 and b >= 0 and a + b > 0, f"a={a}, b={b}: neither may be negative, nor both 0")
    cross_entropy = adaptive_wce(logits, target, ignore, reduction=reduction, **weight)
    return a * cross_entropy + b * jaccard_distance(logits, target, ignore, smoothing=jaccard_smoothing)


def _background_share(n_background: Tensor, n_crack: Tensor, laplace: float) -> Tensor:
    return (n_background + laplace) / (n_background + n_crack + 2 * laplace).clamp(min=1)


def _laplace(kind: Kind, smoothing: float | None) -> float:
    return smoothing if smoothing is not None else 0.0 if kind == "exponential" else 1.0


class AdaptiveWCE(PixelLoss):
    """`adaptive_wce` with its parameters."""

    function = staticmethod(adaptive_wce)


class JaccardDistance(PixelLoss):
    """`jaccard_distance` with its parameters."""

    function = staticmethod(jaccard_distance)


class Holistic(PixelLoss):
    """`holistic` with its parameters."""

    function = staticmethod(holistic)
