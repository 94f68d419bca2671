"""Settings to sources, and sources to the two sides of the split."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agent.contract.strict import Strict
from agent.errors import ConfigError
from train.data.crops import Part
from train.data.folders import ClassFolder, PairFolder
from train.data.layouts import LAYOUTS
from train.data.picture import PictureSource
from train.data.rendered import RenderedPool
from train.data.splits import folded, split
from train.settings import PairSource, PoolSource, Settings, Source


class SourceFacts(Strict):
    """What run.json and the model card say of a source."""

    name: str
    kind: str
    licence: str
    training: int
    validation: int
    groups: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Sides:
    """What is learnt from and what is judged by."""

    training: tuple[Part, ...]
    validation: tuple[Part, ...]
    facts: tuple[SourceFacts, ...]


def open_sources(settings: Settings, on_rendered: Callable[[int], None] | None = None) -> Sides:
    """Open every source of a run and split it.

    Args:
        settings: of the run.
        on_rendered: called with the number of patches rendered so far.

    Raises:
        InputError: a folder is missing or incomplete.
        ConfigError: nothing is left to learn from, or to validate with.
    """
    training, validation, facts = [], [], []
    for wanted in settings.data.sources:
        source = open_source(wanted, settings, on_rendered)
        seed = settings.data.split_seed + zlib.crc32(wanted.name.encode())
        learnt, held = _sides(wanted, source, settings, seed)
        if settings.task == "segment":  # after the split, so that a gate and a segmenter share it
            learnt, held = ([i for i in side if source.has_mask(i)] for side in (learnt, held))
        if isinstance(wanted, PairSource) and wanted.subsets is not None and wanted.subset is not None:
            _, part = folded([source.groups[i] for i in learnt], wanted.subsets, wanted.subset, seed)
            learnt = [learnt[i] for i in part]
        limit = wanted.validation_limit
        if limit is not None and len(held) > limit:  # evenly over the groups' order, not the first ones
            held = [held[i] for i in np.linspace(0, len(held) - 1, limit).round().astype(int)]
        convention = (wanted.widen_px, wanted.margin_px) if isinstance(wanted, PairSource) else (0, 0)
        training.append(Part(source, learnt, wanted.weight, *convention))
        validation.append(Part(source, held, wanted.weight))
        facts.append(
            SourceFacts(
                name=wanted.name,
                kind=wanted.kind,
                licence=wanted.licence,
                training=len(learnt),
                validation=len(held),
                groups=len(set(source.groups)),
                sha256=source.sha256(),
            )
        )
    for side, parts in (("to learn from", training), ("to validate with", validation)):
        if not any(part.indices for part in parts):
            raise ConfigError(f"data.sources: no pictures {side}; change validation=, the share held back")
    return Sides(tuple(training), tuple(validation), tuple(facts))


def _sides(wanted: Source, source: PictureSource, settings: Settings, seed: int) -> tuple[list[int], list[int]]:
    data = settings.data
    if data.folds is None or data.fold is None or not source.real or not wanted.validation:
        return split(source.groups, wanted.validation, seed)
    return folded(source.groups, data.folds, data.fold, seed)


def open_source(
    wanted: Source,
    settings: Settings,
    on_rendered: Callable[[int], None] | None = None,
) -> PictureSource:
    """Open all of a source.

    Raises:
        InputError: a folder is missing or incomplete.
    """
    if isinstance(wanted, PoolSource):
        return RenderedPool(
            wanted.name,
            kind=wanted.kind,
            count=wanted.count,
            size_px=wanted.size_px,
            seed=settings.seed if wanted.pool_seed is None else wanted.pool_seed,
            cache=wanted.cache,
            on_progress=on_rendered,
        )
    folder = settings.data.root / wanted.folder
    if isinstance(wanted, PairSource):
        return PairFolder(wanted.name, folder, wanted.groups, LAYOUTS[wanted.layout])
    return ClassFolder(wanted.name, folder, wanted.groups, crack=wanted.crack, clean=wanted.clean)
