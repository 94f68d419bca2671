"""A trained network on the pictures that its run held back, by every metric of the papers' tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from agent.contract.arrays import Bool, UInt8
from agent.errors import ConfigError, InputError
from train.data.crops import Part, gate_view, to_tensor
from train.data.sources import open_sources
from train.evaluate import Patch, Sample, evaluate_gate, evaluate_segmentation
from train.losses.gagl import fga_pgd
from train.metrics.classification import pgd_error_rate
from train.metrics.pixels import STRICT, flex, min_max_stretched, tolerance
from train.models.gate import PatchNet
from train.settings import Settings
from train.validation import segment

TIMED: Final = 5  # pictures for the frames per second


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A network on the pictures that its run held back."""

    figures: dict[str, float | None]
    extent_hw: tuple[int, int]  # of the first picture, as the network is given it
    frames_per_second: float


def judge_held_back(net: nn.Module, settings: Settings, *, stretched: bool = False) -> Judged:
    """Judge a network in eval mode, on the CPU, on its run's real validation pictures, at threshold 0.5.

    Args:
        net: as `load_checkpoint` gives it.
        settings: of its run.
        stretched: bring each map of a segmenter to [0, 1] first, as the DeepLab paper does: see `min_max_stretched`.

    Raises:
        ConfigError: the run held no photos back.
    """
    parts = photos_held_back(settings)
    first = parts[0].source.load(parts[0].indices[0]).image_rgb
    if settings.task == "gate":
        return _judged_gate(net, settings, parts, first)
    stride = int(net.stride_px)  # type: ignore[arg-type]

    def predict(image: UInt8) -> UInt8:
        found = segment(net, image, stride_px=stride, device=torch.device("cpu"))
        return min_max_stretched(found) if stretched else found

    matchings = (STRICT, flex(2), tolerance(2), tolerance(5))
    found = evaluate_segmentation(predict, _samples(parts), threshold=0.5, matchings=matchings, resamples=0)
    figures = {metric.name: metric.value for metric in found.metrics}
    return Judged(figures=figures, extent_hw=first.shape[:2], frames_per_second=_rate(lambda: predict(first)))


def photos_held_back(settings: Settings) -> list[Part]:
    """Return what the run was judged by, without rendered pictures.

    Raises:
        ConfigError: the run held no photos back.
        InputError: a folder is missing or incomplete.
    """
    parts = [part for part in open_sources(settings).validation if part.indices and part.source.real]
    if not parts:
        raise ConfigError("data.sources: no photos were held back to judge by; set validation above 0")
    return parts


def _judged_gate(net: nn.Module, settings: Settings, parts: Sequence[Part], first: UInt8) -> Judged:
    patches, kept = patches_of(parts), []
    gate = cast("PatchNet", net)

    def ask(image: UInt8) -> float:
        with torch.no_grad():
            found = gate.answers(to_tensor(gate_view(image, settings.gate)[None]))
        kept.append(found.features[0])
        return float((found.logits[0, 1] - found.logits[0, 0]).double().sigmoid())

    rate = _rate(lambda: ask(first))
    kept.clear()
    found = evaluate_gate(ask, patches, threshold=0.5, resamples=0)
    figures = {metric.name: metric.value for metric in found.metrics}
    if not found.failures:
        labels = torch.tensor([int(patch.crack) for patch in patches])
        figures["gate.pgd_error_rate"] = _pgd_error_rate(torch.stack(kept), labels, gate)
    view = gate_view(first, settings.gate)
    return Judged(figures=figures, extent_hw=view.shape[:2], frames_per_second=rate)


def _pgd_error_rate(features: Tensor, labels: Tensor, gate: PatchNet) -> float | None:
    """Return the error after PGD-20 on features; gamma and epsilon in units of their root mean square."""
    scale = float(features.square().mean().sqrt())

    def attack(of: Tensor, true: Tensor) -> Tensor:
        return fga_pgd(of, true, gate.head, step_size=0.1 * scale, radius=2.1 * scale, steps=20).features

    def classify(attacked: Tensor) -> NDArray[np.int64]:
        with torch.no_grad():
            return np.asarray(gate.head(attacked).argmax(1))

    return pgd_error_rate(features, labels, attack=attack, classify=classify)


def _samples(parts: Sequence[Part]) -> list[Sample]:
    def loader(part: Part, index: int) -> Callable[[], tuple[UInt8, Bool | None]]:
        def load_pair() -> tuple[UInt8, Bool | None]:
            picture = part.source.load(index)
            return picture.image_rgb, picture.mask

        return load_pair

    return [Sample(name=part.source.label(i), load=loader(part, i)) for part in parts for i in part.indices]


def patches_of(parts: Sequence[Part]) -> list[Patch]:
    """Return the pictures of parts as patches to be loaded one by one; one that cannot be read counts as clean."""

    def loader(part: Part, index: int) -> Callable[[], UInt8]:
        return lambda: part.source.load(index).image_rgb

    found = []
    for part in parts:
        for i in part.indices:
            try:
                cracked = part.source.load(i).cracked
            except InputError:
                cracked = False  # met again, and counted, when it is judged
            found.append(Patch(name=part.source.label(i), crack=cracked, load=loader(part, i)))
    return found


def _rate(once: Callable[[], object]) -> float:
    once()
    start = time.perf_counter()
    for _ in range(TIMED):
        once()
    return TIMED / (time.perf_counter() - start)


def multiply_adds(net: nn.Module, extent: tuple[int, int], stride: int) -> int:
    """Return the multiply-adds of a picture of this extent, rounded up to the stride."""
    height, width = (-(-edge // stride) * stride for edge in extent)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, height, width))
    return int(counter.get_total_flops()) // 2
