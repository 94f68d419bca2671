"""Every pixel loss again, as a plain loop over pixels: slow, obvious, and without a line of the code under test.

Each takes the valid pixels of a batch as images of (logit, truth) and returns the loss of the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, log1p, log10
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage, optimize, stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Maps = NDArray[np.float64]


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))


def nll(x: float, y: float) -> float:
    """Return -log of the probability that the logit gives to the truth."""
    against = -x if y == 1 else x
    return log1p(exp(-abs(against))) + max(against, 0)


@dataclass(frozen=True)
class Batch:
    """Logits, truth and validity, each (N, H, W); the loops below see valid pixels only."""

    x: Maps
    y: Maps
    valid: NDArray[np.bool_]

    def pixels(self) -> Iterator[tuple[float, float]]:
        for i in np.ndindex(self.x.shape):
            if self.valid[i]:
                yield float(self.x[i]), float(self.y[i])

    def cracks(self) -> list[float]:
        return [x for x, y in self.pixels() if y == 1]

    def background(self) -> list[float]:
        return [x for x, y in self.pixels() if y == 0]


def cross_entropy(batch: Batch, reduction: str = "mean") -> float:
    terms = [nll(x, y) for x, y in batch.pixels()]
    return sum(terms) / (len(terms) if reduction == "mean" else 1)


def crack_weight(
    n_background: float, n_crack: float, kind: str, beta: float, gamma: float, base: float, smoothing: float
) -> float:
    b, c = n_background + smoothing, n_crack + smoothing
    if kind == "ratio":
        return b / c
    if kind == "power":
        return float(beta * (b / c) ** gamma)
    if kind == "logarithm":
        return max(0.0, beta * log(b / c))
    alpha = b / (b + c)
    return beta * exp(log(10) * log10(base) * gamma * (2 * alpha - 1))


def adaptive_wce(
    batch: Batch,
    kind: str = "exponential",
    beta: float = 1,
    gamma: float = 1,
    base: float = 10,
    smoothing: float | None = None,
    form: str = "weighted",
    reduction: str = "mean",
) -> float:
    s = (0 if kind == "exponential" else 1) if smoothing is None else smoothing
    n1, n0 = len(batch.cracks()), len(batch.background())
    q = crack_weight(n0, n1, kind, beta, gamma, base, s)
    alpha = (n0 + s) / (n0 + n1 + 2 * s)
    total = 0.0
    for x, y in batch.pixels():
        total += (q if y == 1 else 1) * nll(x, y) * (1 - alpha if form == "xie" else 1)
    return total / (n0 + n1 if reduction == "mean" else 1)


def jaccard(batch: Batch, smoothing: float = 1) -> float:
    intersection = sum(y * sigmoid(x) for x, y in batch.pixels())
    union = sum(y + sigmoid(x) - y * sigmoid(x) for x, y in batch.pixels())
    return 1 - (intersection + smoothing) / (union + smoothing)


def holistic(batch: Batch, a: float = 1, b: float = 1, jaccard_smoothing: float = 1, **weight: Any) -> float:
    return a * adaptive_wce(batch, **weight) + b * jaccard(batch, jaccard_smoothing)


def f1(batch: Batch) -> float:
    n1, mass = len(batch.cracks()), sum(sigmoid(x) for x, _ in batch.pixels())
    return -log(2 * sum(sigmoid(x) for x in batch.cracks()) / (n1 + mass)) if n1 else log1p(mass)


def pseudo_f1_weights(batch: Batch, scale: str = "mean_one") -> tuple[float, float]:
    """Return what a crack and a background pixel's cross-entropy is multiplied with before the sum."""
    n, n1, tp = len(list(batch.pixels())), len(batch.cracks()), sum(sigmoid(x) for x in batch.cracks())
    if n1 == 0:
        return 0.0, 1 / n
    mass = sum(sigmoid(x) for x, _ in batch.pixels())
    crack, background = 1 / tp - 1 / (n1 + mass), 1 / (n1 + mass)
    if scale == "paper":
        return crack, background
    mean = (n1 * crack + (n - n1) * background) / n
    return crack / mean / n, background / mean / n


def pseudo_f1(batch: Batch, scale: str = "mean_one") -> float:
    crack, background = pseudo_f1_weights(batch, scale)
    return sum((crack if y == 1 else background) * nll(x, y) for x, y in batch.pixels())


def inverse_frequency(batch: Batch) -> float:
    total = 0.0
    for y, logits in ((1, batch.cracks()), (0, batch.background())):
        total += sum(nll(x, y) for x in logits) / len(logits) if logits else 0
    return total


def focal(batch: Batch, alpha: float = 0.25, gamma: float = 2, reduction: str = "mean") -> float:
    total, n = 0.0, 0
    for x, y in batch.pixels():
        p_t = sigmoid(x) if y == 1 else sigmoid(-x)
        total += (alpha if y == 1 else 1 - alpha) * (1 - p_t) ** gamma * nll(x, y)
        n += 1
    return total / (n if reduction == "mean" else 1)


def balanced_focal_weights(batch: Batch, gamma: float = 2) -> tuple[list[float], list[float]]:
    """Return (1 - p)^gamma of the crack pixels and p^gamma of the background pixels."""
    return [sigmoid(-x) ** gamma for x in batch.cracks()], [sigmoid(x) ** gamma for x in batch.background()]


def balanced_focal(batch: Batch, gamma: float = 2, alpha: float = 3, **_detach: str) -> float:
    crack, background = balanced_focal_weights(batch, gamma)
    total = 0.0
    if crack:
        total += sum(w * nll(x, 1) for w, x in zip(crack, batch.cracks(), strict=True)) / sum(crack)
    if background:
        pairs = zip(background, batch.background(), strict=True)
        total += alpha * sum(w * nll(x, 0) for w, x in pairs) / sum(background)
    return total


def dice(batch: Batch, smoothing: float = 1, squared: bool = True) -> float:  # noqa: FBT001, FBT002 - the loss's own
    power = 2 if squared else 1
    both = sum(sigmoid(x) * y for x, y in batch.pixels())
    each = sum(sigmoid(x) ** power + y**power for x, y in batch.pixels())
    return 1 - (2 * both + smoothing) / (each + smoothing)


def robust_dice(batch: Batch, gamma: float = 1.5, smoothing: float = 1) -> float:
    wrong = sum(float(abs(sigmoid(x) - y) ** gamma) for x, y in batch.pixels())
    return wrong / (sum(sigmoid(x) ** 2 + y**2 for x, y in batch.pixels()) + smoothing)


def _skeleton(image: Maps, iterations: int) -> Maps:
    def opened(image: Maps) -> Maps:
        return ndimage.maximum_filter(ndimage.minimum_filter(image, 3, mode="nearest"), 3, mode="nearest")  # type: ignore[no-any-return]

    skeleton = np.maximum(image - opened(image), 0)
    for _ in range(iterations):
        image = ndimage.minimum_filter(image, 3, mode="nearest")
        skeleton = skeleton + (1 - skeleton) * np.maximum(image - opened(image), 0)
    return skeleton


def cldice(batch: Batch, alpha: float = 0.5, iterations: int = 3, smoothing: float = 1) -> float:
    inside = length = found = true_length = 0.0
    for x, y, valid in zip(batch.x, batch.y, batch.valid, strict=True):
        p = np.vectorize(sigmoid)(np.where(valid, x, 0)) * valid
        truth = y * valid
        line, true_line = _skeleton(p, iterations), _skeleton(truth, iterations)
        inside, length = inside + (line * truth).sum(), length + line.sum()
        found, true_length = found + (true_line * p).sum(), true_length + true_line.sum()
    precision, sensitivity = (
        (inside + smoothing) / (length + smoothing),
        (found + smoothing) / (true_length + smoothing),
    )
    centre_line = 2 / (1 / precision + 1 / sensitivity)
    return (1 - alpha) * dice(batch, smoothing) + alpha * (1 - centre_line)


def poly(batch: Batch, epsilon: float = 2, reduction: str = "mean") -> float:
    terms = [nll(x, y) + epsilon * abs(y - sigmoid(x)) for x, y in batch.pixels()]
    return sum(terms) / (len(terms) if reduction == "mean" else 1)


def robust_t(batch: Batch, nu: float = 1, reduction: str = "mean") -> float:
    total = 0.0
    for x, y, valid in zip(batch.x, batch.y, batch.valid, strict=True):
        error = [sigmoid(a) - b for a, b in zip(x[valid], y[valid], strict=True)]
        total -= float(stats.multivariate_t(shape=np.eye(len(error)), df=nu + 1e-8).logpdf(error))
    return total / (int(batch.valid.sum()) if reduction == "mean" else len(batch.x))


def lifetimes(image: Maps, *, holes: bool) -> list[tuple[float, float]]:
    """Return (birth, death) of pieces or holes, by labelling the pixels above each threshold anew.

    Holes are followed from the lowest threshold up: as components of what lies below it, in a frame of outside.
    """
    if holes:
        image = np.pad(image, 1, constant_values=-1.0)
    neighbours = np.ones((3, 3)) if not holes else ndimage.generate_binary_structure(2, 1)
    field = -image if holes else image  # components of {field >= level}, as the level falls
    alive: dict[float, tuple[int, int]] = {}  # highest value of a component -> that pixel; values differ by pixel
    found: list[tuple[float, float]] = []
    for level in sorted(set(field.ravel()), reverse=True):
        if level == -np.inf:
            break
        labels, count = ndimage.label(field >= level, neighbours)
        for component in range(1, count + 1):
            here = [top for top, place in alive.items() if labels[place] == component]
            if not here:
                top = field[labels == component].max()
                alive[top] = tuple(np.argwhere((field == top) & (labels == component))[0])
            for top in here:
                if top < max(here):
                    found.append((top, float(level)))
                    del alive[top]
    found += [(top, 0.0) for top in alive if not holes]
    return [(-death, -birth) for birth, death in found] if holes else found


def topological(batch: Batch, weight: float = 0.01, patch_px: int = 65) -> float:
    """Of batches smaller than a patch; the matching by the Hungarian method over points and diagonals."""
    assert max(batch.x.shape[1:]) <= patch_px
    total = 0.0
    for x, y, valid in zip(batch.x, batch.y, batch.valid, strict=True):
        tiny = 1e-14 * (1 + np.arange(x.size)).reshape(x.shape)  # no crack, and yet no two values alike
        probability = np.where(valid, 1 / (1 + np.exp(-x)), tiny)
        inside = np.where(valid & (y == 1), 1, 0)
        counts = (
            ndimage.label(inside, np.ones((3, 3)))[1],
            ndimage.label(np.pad(1 - inside, 1, constant_values=1))[1] - 1,
        )
        for points, wanted in zip((lifetimes(probability, holes=h) for h in (False, True)), counts, strict=True):
            cost = np.zeros((len(points) + wanted, len(points) + wanted))
            for i, (birth, death) in enumerate(points):
                cost[i, :wanted] = (birth - 1) ** 2 + death**2
                cost[i, wanted:] = (birth - death) ** 2 / 2
            cost[len(points) :, :wanted] = 0.5
            rows, columns = optimize.linear_sum_assignment(cost)
            total += cost[rows, columns].sum()
    return cross_entropy(batch) + weight * total / len(batch.x)


ORACLES: dict[str, Callable[..., float]] = {
    "cross_entropy": cross_entropy,
    "adaptive_wce": adaptive_wce,
    "jaccard": jaccard,
    "holistic": holistic,
    "f1": f1,
    "pseudo_f1": pseudo_f1,
    "inverse_frequency": inverse_frequency,
    "focal": focal,
    "balanced_focal": balanced_focal,
    "dice": dice,
    "robust_dice": robust_dice,
    "cldice": cldice,
    "poly": poly,
    "robust_t": robust_t,
    "topological": topological,
}
