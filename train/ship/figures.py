"""From held-back answers to what a bundle's card says: calibration, one threshold for all sets, figures with intervals.

Every figure of a fold comes from a network that was not trained on the picture, and of the last weights, so that
nothing was chosen by it; calibration (at most six numbers) and the thresholds (one each) are fitted on all folds
together, and what ships, trained on nearly everything, takes them over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import Bool, Float64, UInt8
from agent.contract.strict import Strict
from agent.errors import ConfigError, InputError
from train.calibration import LOGIT_LEVELS, Calibration, Reliability, fit_calibration, logit_levels, reliability
from train.data.picture import PictureSource
from train.data.reading import read_mask
from train.data.truth import within
from train.evaluate import Patch, Sample, evaluate_gate, evaluate_segmentation
from train.metrics.alarms import count_cracks
from train.metrics.pixels import LEVELS, STRICT, Counts, precision_recall_f1, quantised, tolerance
from train.ship.held import UNCLEAR, Held

_NEAR_BEST: Final = 0.97  # of the mix of F1: as much is given away for fewer false cracks, and no more
_MATCHINGS: Final = (STRICT, tolerance(2))
_KEPT: Final = (
    "strict.ods",
    "strict.f1",
    "tolerance(2).ods",
    "tolerance(2).f1",
    "cldice",
    "false_cracks_per_clean_image",
)
_CLEAR_OF_PX: Final = 3  # what is called crack so near to a true crack is no false one on a distractor


class Estimated(Strict):
    """A figure with its 95 % interval over pictures; None where it is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class SetFigures(Strict):
    """What a segmenter reached on a set."""

    name: str
    pictures: int
    with_crack: int
    figures: dict[str, Estimated]


class GateFigures(Strict):
    """What a gate reached on a set, at the threshold that ships and at 0.5."""

    name: str
    crack: int
    clean: int
    tile_recall: Estimated
    tiles_saved: Estimated  # share of clean tiles stopped
    error: Estimated  # at 0.5


class Choice(Strict):
    """A threshold on the calibrated probability."""

    value: float
    chosen: str


class BundleFigures(Strict):
    """`figures.json`."""

    bundle: str
    folds: int
    calibration: Calibration
    reliability_before: Reliability
    reliability: Reliability
    threshold: Choice
    gate_threshold: Choice
    held_out: tuple[SetFigures, ...]  # segmenter alone
    after_gate: tuple[SetFigures, ...]
    left_out: tuple[SetFigures, ...]  # sets that a segmenter was never trained on
    gate: tuple[GateFigures, ...]
    distractors: dict[str, float]  # share of a distractor's pixels called crack
    compared: dict[
        str, dict[str, tuple[float, float, float]]
    ]  # variant -> set/figure -> mean, lowest, highest of seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """All that figures are computed from."""

    sources: Mapping[str, PictureSource]  # of photos
    main: Held
    left_out: Mapping[str, Held]  # by set
    variants: Mapping[str, Sequence[Held]]  # by name, one per seed
    reference: Held  # the network that ships, on the variants' folds


def bundle_figures(
    bundle: str,
    answers: Answers,
    *,
    folds: int,
    recall: float,
    false_cracks: float,
    distractors: Mapping[str, Path],
    resamples: int = 1000,
) -> BundleFigures:
    """Compute everything.

    Args:
        bundle: its name.
        answers: of all its runs.
        folds: how many there were.
        recall: of crack tiles that the gate must keep in each set.
        false_cracks: per clean picture after the gate, at most, if that costs little.
        distractors: set -> folder of masks of equal stems.
        resamples: of pictures.

    Raises:
        ConfigError: no held-back picture has a crack.
        InputError: a picture or mask cannot be read.
    """
    held, truth = answers.main, _Truth(answers.sources)
    histograms = {name: _histogram(maps, truth.of(name)) for name, maps in held.logits.items()}
    try:
        calibration = fit_calibration(histograms)
    except ValueError as exc:
        raise ConfigError(f"{bundle}: {exc}; name a set of pairs") from exc
    table = probability_table(calibration)
    gate = _gate_threshold(held, recall)
    stopped = {
        name: {i for i, (margin, _) in tiles.items() if _sigmoid(margin) < gate.value}
        for name, tiles in held.tiles.items()
    }
    threshold = _threshold(held, truth, table, stopped, false_cracks)

    def figures(which: Held, *, gated: bool = False) -> tuple[SetFigures, ...]:
        return tuple(
            _of_set(
                name,
                maps,
                truth.of(name),
                table,
                threshold.value,
                stopped.get(name, set()) if gated else set(),
                resamples,
            )
            for name, maps in which.logits.items()
        )

    return BundleFigures(
        bundle=bundle,
        folds=folds,
        calibration=calibration,
        reliability_before=reliability(histograms, None),
        reliability=reliability(histograms, calibration),
        threshold=threshold,
        gate_threshold=gate,
        held_out=figures(held),
        after_gate=figures(held, gated=True),
        left_out=tuple(one for which in answers.left_out.values() for one in figures(which)),
        gate=tuple(_gate_of_set(name, tiles, gate.value, resamples) for name, tiles in held.tiles.items()),
        distractors={
            name: _called_on(name, held, answers.sources[name], folder, table, threshold.value, truth.of(name))
            for name, folder in distractors.items()
            if name in held.logits
        },
        compared={
            "(what ships)": _compared([answers.reference], truth),
            **{name: _compared(seeds, truth) for name, seeds in answers.variants.items()},
        },
    )


def probability_table(calibration: Calibration) -> UInt8:
    """Return probability x 255 of each level of kept logits, (255,)."""
    logits = calibration.apply(logit_levels())
    return quantised(1 / (1 + np.exp(-logits)))


class _Truth:
    """Masks by set and number, read when they are asked for; kept packed, since they are asked for again and again."""

    def __init__(self, sources: Mapping[str, PictureSource]) -> None:
        self._sources = sources
        self._kept: dict[tuple[str, int], tuple[tuple[int, int], UInt8]] = {}

    def of(self, name: str) -> Callable[[int], Bool]:
        def mask(index: int) -> Bool:
            if (name, index) not in self._kept:
                found = self._sources[name].load(index).mask
                if found is None:
                    raise InputError(f"{self._sources[name].label(index)}: has no mask to judge by")
                self._kept[name, index] = (found.shape[0], found.shape[1]), np.packbits(found)
            (height, width), packed = self._kept[name, index]
            return np.unpackbits(packed, count=height * width).reshape(height, width).astype(np.bool_)

        return mask


def _histogram(maps: Mapping[int, NDArray[np.int8]], mask: Callable[[int], Bool]) -> Float64:
    counts = np.zeros((2 * LOGIT_LEVELS + 1, 2))
    for index, logits in maps.items():
        truth = mask(index)
        for column, where in enumerate((~truth, truth)):
            counts[:, column] += np.bincount(_place(logits)[where], minlength=len(counts))
    return counts


def _place(logits: NDArray[np.int8]) -> NDArray[np.int16]:
    return logits.astype(np.int16) + np.int16(LOGIT_LEVELS)


def _counts(maps: Mapping[int, NDArray[np.int8]], mask: Callable[[int], Bool], table: UInt8) -> list[Counts]:
    """Return the pooled counts of each matching."""
    pooled: list[Counts] = [np.zeros((4, LEVELS), np.int64) for _ in _MATCHINGS]
    for index, logits in maps.items():
        for at, matching in enumerate(_MATCHINGS):
            pooled[at] = pooled[at] + matching.count(table[_place(logits)], mask(index))
    return pooled


def _threshold(held: Held, truth: _Truth, table: UInt8, stopped: Mapping[str, set[int]], limit: float) -> Choice:
    """Choose one threshold for all sets."""
    curves, clean = [], []
    for name, maps in held.logits.items():
        pools = _counts(maps, truth.of(name), table)
        if pools[0][3, 0]:
            curves += [np.nan_to_num(precision_recall_f1(pool)[2]) for pool in pools]
        else:
            clean += [(logits, index in stopped.get(name, set())) for index, logits in maps.items()]
    mix = np.mean(curves, axis=0)
    mix[0] = 0
    best = int(mix.argmax())
    rule = "the best mean over the sets of strict F1 and F1 (2 px), held-back folds pooled"
    if not clean:
        return Choice(value=best / (LEVELS - 1), chosen=rule)
    near = [level for level in range(1, LEVELS) if mix[level] >= _NEAR_BEST * mix[best]]
    alarms = {
        level: float(np.mean([0 if gated else count_cracks(table[_place(m)] >= level) for m, gated in clean]))
        for level in near
        if level >= best
    }
    quiet = [level for level, rate in alarms.items() if rate <= limit]
    level = max(quiet, key=lambda at: mix[at]) if quiet else best
    told = f"{alarms[level]:.3f} false cracks per clean picture after the gate"
    aim = f"of those within {1 - _NEAR_BEST:.0%} of it the best with at most {limit:g} false cracks per clean picture"
    return Choice(value=level / (LEVELS - 1), chosen=f"{rule}; {aim}{'' if quiet else ': there was none'} ({told})")


def _gate_threshold(held: Held, recall: float) -> Choice:
    wanted = {}
    for name, tiles in held.tiles.items():
        crack = np.sort([_sigmoid(margin) for margin, label in tiles.values() if label == 1])
        if len(crack):
            wanted[name] = float(crack[int(np.floor(len(crack) * (1 - recall) + 1e-9))])
    lowest = min(wanted, key=lambda name: wanted[name]) if wanted else "none"
    return Choice(
        value=np.floor(min(wanted.values(), default=0.0) * 1e6) / 1e6,
        chosen=f"the highest with a tile recall of at least {recall} in each of {', '.join(wanted)}, held-back folds "
        f"pooled; {lowest} decides",
    )


def _of_set(
    name: str,
    maps: Mapping[int, NDArray[np.int8]],
    mask: Callable[[int], Bool],
    table: UInt8,
    threshold: float,
    stopped: Iterable[int],
    resamples: int,
) -> SetFigures:
    silent, current = set(stopped), -1

    def loader(index: int) -> Callable[[], tuple[UInt8, Bool | None]]:
        def load() -> tuple[UInt8, Bool | None]:
            nonlocal current
            current = index
            truth = mask(index)
            return np.zeros((*truth.shape, 3), np.uint8), truth

        return load

    def answer(image: UInt8) -> UInt8:
        found = table[_place(maps[current])]
        return np.zeros(image.shape[:2], np.uint8) if current in silent else found

    samples = [Sample(name=str(index), load=loader(index)) for index in maps]
    found = evaluate_segmentation(answer, samples, threshold=threshold, matchings=_MATCHINGS, resamples=resamples)
    return SetFigures(
        name=name,
        pictures=found.images,
        with_crack=found.images_with_crack,
        figures={key: Estimated(value=found[key].value, low=found[key].low, high=found[key].high) for key in _KEPT},
    )


def _gate_of_set(name: str, tiles: Mapping[int, tuple[float, float]], threshold: float, resamples: int) -> GateFigures:
    known = {index: (_sigmoid(margin), label == 1) for index, (margin, label) in tiles.items() if label != UNCLEAR}
    current = 0

    def loader(index: int) -> Callable[[], UInt8]:
        def load() -> UInt8:
            nonlocal current
            current = index
            return np.zeros((1, 1, 3), np.uint8)

        return load

    patches = [Patch(name=str(index), crack=crack, load=loader(index)) for index, (_, crack) in known.items()]

    def judged(at: float, key: str) -> Estimated:
        found = evaluate_gate(lambda _: known[current][0], patches, threshold=at, resamples=resamples)[key]
        return Estimated(value=found.value, low=found.low, high=found.high)

    passed = judged(threshold, "gate.false_alarms")
    inverse = [None if value is None else 1 - value for value in (passed.value, passed.high, passed.low)]
    return GateFigures(
        name=name,
        crack=sum(crack for _, crack in known.values()),
        clean=sum(not crack for _, crack in known.values()),
        tile_recall=judged(threshold, "gate.recall"),
        tiles_saved=Estimated(value=inverse[0], low=inverse[1], high=inverse[2]),
        error=judged(0.5, "gate.error_rate"),
    )


def _called_on(
    name: str,
    held: Held,
    source: PictureSource,
    folder: Path,
    table: UInt8,
    threshold: float,
    mask: Callable[[int], Bool],
) -> float:
    """Return the share of a distractor's pixels that are called crack, away from true cracks."""
    called = total = 0
    for index, logits in held.logits[name].items():
        truth = mask(index)
        distractor = read_mask(folder / f"{Path(source.label(index)).stem}.png", truth.shape) & ~within(
            truth, _CLEAR_OF_PX
        )
        called += int((distractor & (table[_place(logits)] >= threshold * (LEVELS - 1))).sum())
        total += int(distractor.sum())
    return called / max(total, 1)


def _compared(seeds: Sequence[Held], truth: _Truth) -> dict[str, tuple[float, float, float]]:
    """Return mean, lowest and highest over seeds of each set's ODS; calibration would not change it."""
    identity = probability_table(Calibration(scale=1, bias=0))
    found: dict[str, list[float]] = {}
    for held in seeds:
        for name, maps in held.logits.items():
            for matching, pool in zip(_MATCHINGS, _counts(maps, truth.of(name), identity), strict=True):
                if pool[3, 0]:
                    ods = float(np.nan_to_num(precision_recall_f1(pool)[2])[1:].max())
                    found.setdefault(f"{name}/{matching}.ods", []).append(ods)
        for name, tiles in held.tiles.items():
            known = [(margin >= 0) == (label == 1) for margin, label in tiles.values() if label != UNCLEAR]
            if known:
                found.setdefault(f"{name}/gate.error_rate", []).append(1 - float(np.mean(known)))
    return {key: (float(np.mean(values)), min(values), max(values)) for key, values in found.items()}


def _sigmoid(margin: float) -> float:
    return float(1 / (1 + np.exp(-margin)))
