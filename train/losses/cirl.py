"""Clustering-inspired representation learning (CIRL), for labels that are unsure beside a crack.

Paper: Chen et al., "Mind Marginal Non-crack Regions: Clustering-Inspired Representation Learning for Crack
Segmentation", CVPR 2024, equations (1) to (16). Phase 1 learns a variance beside the crack probability with the
ambiguity-aware segmentation (Aseg) loss. Clean pixels around cracks where the variance is high are ambiguous. Phase 2
ignores the labels there and lets neighbours in feature space agree instead: the clustering-inspired (CI) loss.

Departures, each with the literal reading as an option where there is one:

- Aseg's optimal variance is 0 or infinite, so the log-variance is squashed smoothly into (-7, 2), unless
  `bounded=False`, and for the first tenth of phase 1 cross-entropy alone teaches the mean. For the same reason the
  variance is no measure of uncertainty until it is recalibrated: `VarianceCalibration`.
- The mean over valid pixels and over images replaces the sum (`reduction="sum"`).
- Equation (9) needs vectors: p is taken as [p, 1 - p].
- The constant of equation (13) has no gradient and is left out (`constant=True` adds it).
- The ambiguous region comes from a frozen copy of the phase-1 network on the same crop; which network gives it is the
  caller's choice: see `frozen_copy`, `ambiguous_region`.
- At most 4096 ambiguous pixels per image, sampled (`max_pixels=None`: all). An image in which no pixel has farther ones
  beyond its K neighbours is skipped.
- Neighbours are found anew at each step on detached features, of which the loss is therefore no function.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from agent.contract.strict import Strict
from train.losses.patches import at_least_float32, full_precision
from train.losses.reduce import Reduction, over_ranks, pixels, reduced, require, scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CENTRE, _HALF_RANGE = -2.5, 4.5  # of the squashed log-variance: variances in (0.0009, 7.4)

Network = TypeVar("Network", bound=nn.Module)


class Phase(Enum):
    """What a step trains with."""

    WARM_UP = "warm_up"  # cross-entropy teaches the mean, nothing the variance
    ASEG = "aseg"
    CI = "ci"


@dataclass(frozen=True, kw_only=True)
class TwoPhaseSchedule:
    """Which phase an epoch, or a step, belongs to, section 4.1; counts are in either."""

    first: int = 1000  # length of phase 1, >= 1
    second: int = 1000  # length of phase 2, >= 0
    warm_up_share: float = 0.1  # of phase 1, [0, 1]

    def __post_init__(self) -> None:
        require(self.first >= 1 and self.second >= 0, f"first={self.first}, second={self.second}: need >= 1 and >= 0")
        require(0 <= self.warm_up_share <= 1, f"warm_up_share={self.warm_up_share} must lie in [0, 1]")

    @property
    def total(self) -> int:
        """The length of both phases."""
        return self.first + self.second

    def phase(self, at: int) -> Phase:
        """Return the phase of an epoch or step, counted from 0; beyond the end phase 2 goes on.

        Raises:
            ValueError: it is negative.
        """
        require(at >= 0, f"at={at} must not be negative")
        if at >= self.first:
            return Phase.CI
        return Phase.WARM_UP if at < self.warm_up_share * self.first else Phase.ASEG

    def freezes_at(self, at: int) -> bool:
        """Return whether the network as it is before this epoch or step is to be frozen, once per run."""
        return at == self.first


def frozen_copy(network: Network) -> Network:
    """Return a copy in evaluation mode that no longer learns: the phase-1 network that locates ambiguity in phase 2."""
    return copy.deepcopy(network).requires_grad_(requires_grad=False).eval()


def marginal_region(target: Tensor, ignore: Tensor | None = None, *, size: int = 5) -> Tensor:
    """Return M, equation (1): clean pixels that a dilation of the crack reaches, (N, 1, H, W) bool.

    Args:
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool; ignored pixels are not dilated and never marginal.
        size: edge of the square, odd, px.

    Raises:
        ValueError: shapes differ, or the size is even.
    """
    require(size >= 1 and size % 2 == 1, f"size={size} must be odd")
    require(ignore is None or ignore.shape == target.shape, "ignore and target differ in shape")
    crack = target.bool() if ignore is None else target.bool() & ~ignore.bool()
    dilated = F.max_pool2d(crack.float(), size, stride=1, padding=size // 2) > 0
    clean = ~crack if ignore is None else ~(crack | ignore.bool())
    return dilated & clean


def squash_log_variance(raw: Tensor) -> Tensor:
    """Return s = -2.5 + 4.5 tanh(raw / 4.5), of raw's shape, in [-7, 2]; a hard clamp has no gradient outside."""
    return _CENTRE + _HALF_RANGE * (at_least_float32(raw) / _HALF_RANGE).tanh()


def aseg_loss(
    logits: Tensor,
    log_variance: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    lam: float = 0.3,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return (e^2 + v) / (lambda + v) with e = p - y and v = exp(s), equations (3) and (7), scalar, >= 0.

    Computed as e^2 / lambda sigmoid(log lambda - s) + sigmoid(s - log lambda), which no s overflows.

    Args:
        logits: (N, 1, H, W), any range; their sigmoid is the mean.
        log_variance: (N, 1, H, W), s; see `squash_log_variance`.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        lam: lambda, > 0: v grows where e^2 exceeds it and shrinks elsewhere.
        reduction: over valid pixels, "mean" or the paper's "sum".

    Raises:
        ValueError: shapes differ, or lambda is not above 0.
    """
    require(lam > 0, f"lam={lam} must be above 0")
    batch = pixels(logits, target, ignore)
    s = pixels(log_variance, target, ignore).logits.to(batch.logits.dtype)
    error = batch.against().sigmoid()
    offset = s - float(np.log(lam))
    # in place where autograd does not need the value: fresh memory costs more than the arithmetic
    per_pixel = (error.square().div_(lam) * (-offset).sigmoid_()).add_(offset.sigmoid())
    return reduced(per_pixel, batch, reduction)


def ambiguous_region(
    log_variance: Tensor, target: Tensor, ignore: Tensor | None = None, *, threshold: float = 0.4, size: int = 5
) -> Tensor:
    """Return A, equation (8): marginal pixels whose variance exceeds gamma, (N, 1, H, W) bool.

    Args:
        log_variance: (N, 1, H, W), s of the phase-1 network.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool; ignored pixels are never ambiguous.
        threshold: gamma, variance, > 0.
        size: see `marginal_region`.

    Raises:
        ValueError: shapes differ, or the threshold is not above 0.
    """
    require(threshold > 0, f"threshold={threshold} must be above 0")
    require(log_variance.shape == target.shape, f"log_variance is {tuple(log_variance.shape)}, not as target")
    return (at_least_float32(log_variance.detach()).exp() > threshold) & marginal_region(target, ignore, size=size)


def nearest_neighbours(features: Tensor, k: int, *, chunk: int = 1024) -> Tensor:
    """Return (n, k) int64, the k other rows of highest cosine similarity to each row: C_m of equation (10).

    Args:
        features: (n, D), taken as constants.
        k: 1 <= k < n.
        chunk: rows compared at a time; the largest intermediate is (chunk, n).

    Raises:
        ValueError: k or chunk is out of its range.
    """
    n = len(features)
    require(1 <= k < n, f"k={k} must lie in [1, {n})")
    require(chunk >= 1, f"chunk={chunk} must be 1 or more")
    with torch.no_grad(), full_precision(features):
        directions = F.normalize(at_least_float32(features), dim=1)
        found = []
        for start in range(0, n, chunk):
            similarity = directions[start : start + chunk] @ directions.T
            similarity.diagonal(start).fill_(-torch.inf)  # a pixel is not its own neighbour
            found.append(similarity.topk(k, dim=1, sorted=False).indices)
        return torch.cat(found)


def ci_term(probability: Tensor, neighbours: Tensor, *, constant: bool = False) -> Tensor:
    """Return the CI loss of one image, equations (13) and (15), scalar, in [-K, K] without the constant.

    The sum over O_m is that over all pixels less m's own and its neighbours', so nothing of size n x n is needed.

    Args:
        probability: (n,), p of the ambiguous pixels.
        neighbours: (n, K) int64, K <= n - 2.
        constant: add (|C| - |O|) log |S|.

    Raises:
        ValueError: no pixel is left for O_m.
    """
    n, k = neighbours.shape
    farther = n - 1 - k
    require(farther >= 1, f"{k} neighbours of {n} pixels leave none farther away")
    p = torch.stack([probability, 1 - probability], dim=1)
    near = p[neighbours].sum(1)
    far = p.sum(0) - p - near
    psi = (p * (far * (k / farther) - near)).sum(1)
    loss = psi.mean()
    return loss + (k - farther) * float(np.log(n)) if constant else loss


def ci_loss(
    features: Tensor,
    logits: Tensor,
    ambiguous: Tensor,
    *,
    neighbours: int = 20,
    max_pixels: int | None = 4096,
    constant: bool = False,
    generator: torch.Generator | None = None,
    chunk: int = 1024,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the CI loss, equation (15), scalar: the mean over the images that have one, 0 if none has.

    Memory: with n ambiguous pixels in an image, n <= max_pixels, the largest tensor made is
    max(chunk n, n D, 2 n K, N H W) elements: 16 MiB in float32 for the defaults while D <= 1024 and N H W <= 2048^2.
    Without a limit on n it still grows with n, not with its square.

    Args:
        features: (N, D, H, W), of the layer below the head, at the logits' size; taken as constants.
        logits: (N, 1, H, W), any range.
        ambiguous: (N, 1, H, W) bool, A; nothing else is looked at.
        neighbours: K, >= 1.
        max_pixels: more ambiguous pixels than this in an image are sampled; None: all are used.
        constant: see `ci_term`.
        generator: for the sampling; None: torch's global one.
        chunk: see `nearest_neighbours`.
        reduction: over images, "mean" or "sum".

    Raises:
        ValueError: shapes do not fit, or a parameter is out of its range.
    """
    require(neighbours >= 1, f"neighbours={neighbours} must be 1 or more")
    require(max_pixels is None or max_pixels >= neighbours + 2, f"max_pixels={max_pixels} must exceed neighbours + 1")
    batch = pixels(logits, ambiguous)
    n, _, height, width = logits.shape
    require(
        features.ndim == 4 and (features.shape[0], *features.shape[2:]) == (n, height, width),
        f"features are {tuple(features.shape)}; need (N, D, H, W) with logits of {tuple(logits.shape)}",
    )
    total, images = batch.logits.new_zeros(()), batch.logits.new_zeros(())
    for image, image_logits, mask in zip(features.detach(), batch.logits, ambiguous.bool(), strict=True):
        at = mask.flatten().nonzero().squeeze(1)
        if len(at) < neighbours + 2:
            continue
        if max_pixels is not None and len(at) > max_pixels:
            device = at.device if generator is None else generator.device
            chosen = torch.randperm(len(at), generator=generator, device=device)[:max_pixels]
            at = at[chosen.to(at.device)]
        of_ambiguous = image[:, at // width, at % width].T  # no copy of the map, in whatever memory format it comes
        found = nearest_neighbours(of_ambiguous, neighbours, chunk=chunk)
        total = total + ci_term(image_logits.flatten()[at].sigmoid(), found, constant=constant)
        images = images + 1
    if images == 0:
        total = (batch.logits * 0).sum()  # no loss, but a gradient of zeros
    total, images = over_ranks(total, images)
    return scaled(total, images, reduction)


class CIRL(nn.Module):
    """Both phases' losses with their parameters: equation (7), then equation (16)."""

    def __init__(
        self,
        *,
        lam: float = 0.3,
        threshold: float = 0.4,
        neighbours: int = 20,
        weight: float = 0.2,
        bounded: bool = True,
        size: int = 5,
        max_pixels: int | None = 4096,
        first: int = 1000,
        second: int = 1000,
        warm_up_share: float = 0.1,
        reduction: Reduction = "mean",
    ) -> None:
        """Check the parameters.

        Args:
            lam: lambda, see `aseg_loss`.
            threshold: gamma, see `ambiguous_region`.
            neighbours: K, see `ci_loss`.
            weight: beta, of CI beside cross-entropy, >= 0.
            bounded: squash the log-variance; False is the paper's.
            size: see `marginal_region`.
            max_pixels: see `ci_loss`.
            first: see `TwoPhaseSchedule`.
            second: see `TwoPhaseSchedule`.
            warm_up_share: see `TwoPhaseSchedule`.
            reduction: see `aseg_loss`; of all terms.

        Raises:
            ValueError: a parameter is out of its range.
        """
        super().__init__()
        require(lam > 0 and threshold > 0, f"lam={lam}, threshold={threshold}: both must be above 0")
        require(neighbours >= 1, f"neighbours={neighbours} must be 1 or more")
        require(weight >= 0, f"weight={weight} must not be negative")
        require(size >= 1 and size % 2 == 1, f"size={size} must be odd")
        require(
            max_pixels is None or max_pixels >= neighbours + 2, f"max_pixels={max_pixels} must exceed neighbours + 1"
        )
        require(reduction in ("mean", "sum"), f"reduction={reduction!r} is not one of mean, sum")
        self.lam, self.threshold, self.neighbours, self.weight = lam, threshold, neighbours, weight
        self.bounded, self.size, self.max_pixels = bounded, size, max_pixels
        self.reduction: Reduction = reduction
        self.schedule = TwoPhaseSchedule(first=first, second=second, warm_up_share=warm_up_share)

    def log_variance(self, raw: Tensor) -> Tensor:
        """Return s from the variance head's raw output, (N, 1, H, W)."""
        return squash_log_variance(raw) if self.bounded else raw

    def ambiguous(self, raw: Tensor, target: Tensor, ignore: Tensor | None = None) -> Tensor:
        """Return A, (N, 1, H, W) bool, from the frozen phase-1 network's raw variance output for the same crop."""
        return ambiguous_region(self.log_variance(raw), target, ignore, threshold=self.threshold, size=self.size)

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        ignore: Tensor | None = None,
        *,
        phase: Phase,
        raw_log_variance: Tensor | None = None,
        features: Tensor | None = None,
        ambiguous: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of one phase, scalar.

        Args:
            logits: (N, 1, H, W), any range.
            target: (N, 1, H, W), 0 background, 1 crack.
            ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
            phase: see `TwoPhaseSchedule.phase`.
            raw_log_variance: (N, 1, H, W), the variance head's output; for ASEG.
            features: (N, D, H, W), see `ci_loss`; for CI.
            ambiguous: (N, 1, H, W) bool, see `ambiguous`; for CI.
            generator: see `ci_loss`.

        Raises:
            ValueError: shapes differ, or what the phase needs is missing.
        """
        if phase is Phase.ASEG:
            if raw_log_variance is None:
                raise ValueError("phase 1 of CIRL needs raw_log_variance, the output of the variance head")
            s = self.log_variance(raw_log_variance)
            return aseg_loss(logits, s, target, ignore, lam=self.lam, reduction=self.reduction)
        if phase is Phase.WARM_UP:
            return _cross_entropy(logits, target, ignore, self.reduction)
        if features is None or ambiguous is None:
            raise ValueError("phase 2 of CIRL needs features and ambiguous, from the frozen phase-1 network")
        ambiguous = ambiguous.bool() if ignore is None else ambiguous.bool() & ~ignore.bool()
        labelled = _cross_entropy(
            logits, target, ambiguous if ignore is None else ambiguous | ignore.bool(), self.reduction
        )
        clustered = ci_loss(
            features,
            logits,
            ambiguous,
            neighbours=self.neighbours,
            max_pixels=self.max_pixels,
            generator=generator,
            reduction=self.reduction,
        )
        return labelled + self.weight * clustered


class VarianceCalibration(Strict):
    """A rising, piecewise linear map from the learnt variance to the mean squared error it stands for.

    The breakpoints are all there is to store. Fitted by isotonic regression; for probabilities: Zadrozny and Elkan,
    "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", KDD 2002.
    """

    variance: tuple[float, ...]  # rising, as learnt
    calibrated: tuple[float, ...]  # never falling, E[(p - y)^2], [0, 1]

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.variance) != len(self.calibrated) or not self.variance:
            raise ValueError(f"{len(self.variance)} variances and {len(self.calibrated)} calibrated ones; need as many")
        if np.any(np.diff(self.variance) <= 0) or np.any(np.diff(self.calibrated) < 0):
            raise ValueError("breakpoints must rise")
        return self

    @classmethod
    def fit(cls, variance: NDArray[np.floating], squared_error: NDArray[np.floating]) -> VarianceCalibration:
        """Fit on validation pixels.

        Args:
            variance: (n,), as learnt.
            squared_error: (n,), (p - y)^2.

        Raises:
            ValueError: shapes differ, or there is no pixel.
        """
        require(variance.ndim == 1 and variance.shape == squared_error.shape, "need two vectors of one length")
        require(variance.size > 0, "need at least one pixel")
        from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - slow to import, and only fitting needs it

        isotonic = IsotonicRegression(out_of_bounds="clip").fit(variance.astype(float), squared_error.astype(float))
        return cls(variance=tuple(isotonic.X_thresholds_.tolist()), calibrated=tuple(isotonic.y_thresholds_.tolist()))

    def __call__(self, variance: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the calibrated variance, of any shape; constant beyond the breakpoints."""
        calibrated: NDArray[np.float64] = np.interp(variance, self.variance, self.calibrated)
        return calibrated


def _cross_entropy(logits: Tensor, target: Tensor, ignore: Tensor | None, reduction: Reduction) -> Tensor:
    batch = pixels(logits, target, ignore)
    return reduced(batch.cross_entropy(), batch, reduction)
