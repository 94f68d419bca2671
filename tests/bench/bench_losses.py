"""Forward and backward pass of each loss, as a ratio to binary cross-entropy with logits.

A batch of two 512 x 512 maps with a crack pixel in 450, process CPU time, one thread. The losses take turns, so that a
busy machine slows all of them alike, and the medians are compared. Those that are not pointwise take turns of their
own: after seconds of work on other memory the next loss would pay for getting its own again.

Run: python -m tests.bench.bench_losses
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from train.losses import PIXEL_LOSSES, build_loss
from train.losses.cirl import aseg_loss, ci_loss, marginal_region
from train.losses.gagl import GAGL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    Loss = Callable[[Tensor, Tensor], Tensor]

ROUNDS = 15
TARGET = 4.0
# stated without a target: balanced_focal looks for each class's largest weight first, cldice pools over neighbours 16
# times, topological follows every piece and hole in Python, CI compares up to 4096 ambiguous pixels an image with each
# other, GAGL attacks features in 10 steps
NOT_POINTWISE = {"balanced_focal", "cldice", "topological", "cirl phase 2: ci", "gagl on 64 features of 512"}
NOT_POINTWISE_ROUNDS = 3


def main() -> None:
    """Print the ratios; with --json as one object."""
    ratios = measured()
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(ratios) + "\n")
        return
    table = Table("loss", "times BCE", "target", title="Forward + backward on (2, 1, 512, 512)")
    for name, ratio in ratios.items():
        met = "-" if name in NOT_POINTWISE else f"<= {TARGET:g} {'met' if ratio <= TARGET else 'MISSED'}"
        table.add_row(name, f"{ratio:.2f}", met)
    Console().print(table)


def measured() -> dict[str, float]:
    """Return each loss's median CPU time over that of BCE with logits."""
    torch.set_num_threads(1)
    large = torch.empty(6 * 2**20)  # as any network's feature maps: glibc keeps memory once so much of it was freed
    del large
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 512, 512, generator=generator, requires_grad=True)
    target = (torch.rand(2, 1, 512, 512, generator=generator) < 1 / 450).float()
    losses = {name: build_loss(name) for name in PIXEL_LOSSES} | cirl_and_gagl(target, generator)
    pointwise = {name: loss for name, loss in losses.items() if name not in NOT_POINTWISE}
    others = {name: loss for name, loss in losses.items() if name in NOT_POINTWISE}
    return _ratios(pointwise, logits, target, ROUNDS) | _ratios(others, logits, target, NOT_POINTWISE_ROUNDS)


def _ratios(losses: Mapping[str, Loss], logits: Tensor, target: Tensor, rounds: int) -> dict[str, float]:
    against: dict[str, Loss] = {"bce": F.binary_cross_entropy_with_logits, **losses}
    seconds: dict[str, list[float]] = {name: [] for name in against}
    for _ in range(rounds + 1):
        for name, loss in against.items():
            logits.grad = None
            start = time.process_time()
            torch.autograd.backward(loss(logits, target))
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first warms up
    return {name: round(medians[name] / medians["bce"], 2) for name in losses}


def cirl_and_gagl(target: Tensor, generator: torch.Generator) -> dict[str, Loss]:
    """Return the losses that take more than logits, with what they take: features of 32 channels, a log-variance."""
    log_variance = torch.randn(target.shape, generator=generator, requires_grad=True)
    features = torch.randn(2, 32, 512, 512, generator=generator, requires_grad=True)
    ambiguous = marginal_region(target)
    gagl = GAGL(classes=2, dimensions=512, burn_in_epochs=0)
    patches = torch.randn(64, 512, generator=generator, requires_grad=True)
    labels = torch.randint(2, (64,), generator=generator)
    classifier = nn.Linear(512, 2)

    def ci(logits: Tensor, _: Tensor) -> Tensor:
        return ci_loss(features, logits, ambiguous, generator=generator)

    return {
        "cirl phase 1: aseg": lambda logits, truth: aseg_loss(logits, log_variance, truth),
        "cirl phase 2: ci": ci,
        "gagl on 64 features of 512": lambda _, __: gagl(patches, classifier(patches), labels, classifier, epoch=1),
    }


if __name__ == "__main__":
    main()
