"""A plan: which networks are trained for a bundle, on which folds, and by what they are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, PositiveInt

from agent import strict_yaml
from agent.contract.strict import Strict
from agent.errors import ConfigError
from train.fit import LAST
from train.settings import PairSource, PoolSource, Settings, Share, Source, load

Net = Literal["segmenter", "gate"]
FINAL: Final = "final"
BASE: Final = "base"
_BASE_RUN: Final = f"{BASE}/rendered"


class Variant(Strict):
    """A rival of the network that ships: another design, loss or seed, on the same folds."""

    net: Net = "segmenter"
    set: tuple[str, ...] = Field(default=(), description="section.key=value, on top of the network's file.")
    seeds: PositiveInt = 1
    folds: tuple[int, ...] = Field(default=(0,), description="Folds it is trained for.")
    left_out: tuple[str, ...] = Field(default=(), description="Sets that it is trained without, each in a run.")
    rendered_only: bool = Field(default=False, description="Also trained on rendered pictures alone.")
    final: bool = Field(default=False, description="Also trained on everything, and judged on the unseen sets.")


class BundlePlan(Strict):
    """What becomes one bundle."""

    segmenter: Path = Field(description="Settings of a run, relative to the plan.")
    gate: Path = Field(description="Settings of a run, relative to the plan.")
    segmenter_set: tuple[str, ...] = Field(default=(), description="section.key=value for every segmenter.")
    gate_set: tuple[str, ...] = Field(default=(), description="section.key=value for every gate.")
    teacher: tuple[str, ...] | None = Field(
        default=None, description="What a larger segmenter, trained first on the same folds, has otherwise; null: none."
    )
    teacher_weight: float = Field(default=1.0, gt=0)
    folds: int = Field(default=5, ge=2, le=50)
    left_out: tuple[str, ...] = Field(default=(), description="Sets that the segmenter is also trained without.")
    unseen: tuple[Source, ...] = Field(
        default=(), description="Sets that what ships is judged on, and never trained on."
    )
    final_validation: Share = Field(
        default=0.04, description="Of each set of photos, not learnt from even by what ships."
    )
    variants: dict[str, Variant] = Field(default_factory=dict)
    false_cracks: float = Field(
        default=0.05, ge=0, description="Per clean picture after the gate: the threshold's aim."
    )
    distractors: dict[str, str] = Field(
        default_factory=dict, description="Set -> folder in it with masks of what looks like a crack and is none."
    )
    export: Path | None = Field(default=None, description="Settings of `crack-export bundle`, relative to the plan.")


class Plan(Strict):
    """`crack-train ship PLAN`."""

    out: Path = Field(default=Path("runs/ship"), description="Relative to the folder the command runs in.")
    parallel: PositiveInt = Field(default=1, description="Runs side by side.")
    set: tuple[str, ...] = Field(default=(), description="section.key=value for every run.")
    resamples: int = Field(default=1000, ge=0, description="Of images, for the intervals.")
    base: Path | None = Field(
        default=None,
        description="Settings of a run on rendered pictures alone, whose weights every segmenter that ships, its "
        "folds' too, begins with; relative to the plan. Null: each begins by itself.",
    )
    bundles: dict[str, BundlePlan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run of a plan."""

    name: str  # of the job, and its folder below the plan's
    bundle: str
    net: Net
    role: str  # main, teacher, base, or the variant's name
    settings: Settings
    fold: int | None = None
    asked: tuple[Source, ...] = ()  # sets that it never saw and is asked about, in the place of its fold
    needs: tuple[str, ...] = ()


def read_plan(path: Path) -> Plan:
    """Read a plan's file.

    Raises:
        ConfigError: unreadable, or values that do not fit, all named.
    """
    return strict_yaml.load(path, Plan)


def runs_of(plan: Plan, path: Path, bundle: str, overrides: Sequence[str] = ()) -> list[Run]:
    """Return every training run of a bundle, in an order in which what others begin with or learn from comes first.

    The base is every bundle's.

    Args:
        plan: as read.
        path: of its file.
        bundle: one of its names.
        overrides: `section.key=value` for every run, on top of the plan's.

    Raises:
        ConfigError: a settings file does not fit, or a left-out set is none of its sources.
    """
    chosen = plan.bundles[bundle]
    common = (*plan.set, *overrides)
    base = [] if plan.base is None else [_base(plan, path.parent / plan.base, path.parent, common)]
    return [*base, *_runs(plan, chosen, path.parent, bundle, common)]


def _base(plan: Plan, file: Path, beside: Path, common: Sequence[str]) -> Run:
    """Return the run that others begin with; it is asked about every set with masks that the plan knows."""
    settings = load(file, common)
    photos = [source.name for source in settings.data.sources if not isinstance(source, PoolSource)]
    if photos:
        raise ConfigError(
            f"{file}: a base learns from rendered pictures alone, since folds begin with it; take out {photos[0]}"
        )
    sources = [_shared(source, plan) for source in settings.data.sources]
    update = {"name": BASE, "out": plan.out / _BASE_RUN, "data": {**settings.data.model_dump(), "sources": sources}}
    known: dict[str, Source] = {}
    for chosen in plan.bundles.values():
        for source in (*load(beside / chosen.segmenter, common).data.sources, *chosen.unseen):
            if isinstance(source, PairSource):
                known.setdefault(source.name, source)
    made = Settings.model_validate({**settings.model_dump(), **update})
    return Run(name=_BASE_RUN, bundle="", net="segmenter", role=BASE, settings=made, asked=tuple(known.values()))


def _shared(source: Source, plan: Plan) -> dict[str, Any]:
    """Return a source as the plan's runs share it: pools are drawn once for all."""
    raw = source.model_dump()
    if isinstance(source, PoolSource):
        raw |= {"cache": source.cache or plan.out / "rendered", "pool_seed": source.pool_seed or 0}
    return raw


def _runs(plan: Plan, chosen: BundlePlan, beside: Path, bundle: str, common: Sequence[str]) -> Iterator[Run]:
    files = {
        "segmenter": (beside / chosen.segmenter, chosen.segmenter_set),
        "gate": (beside / chosen.gate, chosen.gate_set),
    }
    sources = load(files["segmenter"][0], common).data.sources
    photos = {source.name: source for source in sources if not isinstance(source, PoolSource)}

    def run(net: Net, role: str, what: str, changes: Sequence[str], **more: Any) -> Run:  # noqa: ANN401
        name = f"{bundle}/{role if role != 'main' else net}/{what}"
        file, own = files[net]
        settings = load(file, [*own, *changes, *common])
        seed = more.pop("seed", 0)
        update: dict[str, Any] = {
            "name": name.replace("/", "-").lower(),
            "out": plan.out / name,
            "seed": settings.seed + seed,
            "data": _data(settings, plan, chosen, more.get("fold"), more.pop("without", ())),
        }
        if plan.base is not None and net == "segmenter" and role == "main":
            update["start"] = plan.out / _BASE_RUN / LAST
            more["needs"] = (_BASE_RUN,)
        teacher = more.pop("teacher", None)
        if teacher is not None:
            update["teacher"] = {"checkpoint": plan.out / teacher / LAST, "weight": chosen.teacher_weight}
            more["needs"] = (*more.get("needs", ()), teacher)
        made = Settings.model_validate({**settings.model_dump(), **update})
        return Run(name=name, bundle=bundle, net=net, role=role, settings=made, **more)

    places: list[tuple[str, dict[str, Any]]] = [(f"fold-{at}", {"fold": at}) for at in range(chosen.folds)]
    places += [(f"without-{name}", _without(name, photos)) for name in chosen.left_out]
    places.append((FINAL, {"asked": chosen.unseen}))
    for what, more in places if chosen.teacher is not None else []:
        yield run("segmenter", "teacher", what, chosen.teacher or (), **more)
    for what, more in places:
        teacher = None if chosen.teacher is None else f"{bundle}/teacher/{what}"
        yield run("segmenter", "main", what, (), teacher=teacher, **more)
    for what, more in places:
        if "without" not in more:
            yield run("gate", "main", what, (), **{**more, "asked": ()})
    for role, variant in chosen.variants.items():
        yield from _of_variant(role, variant, chosen, photos, run)


def _of_variant(
    role: str, variant: Variant, chosen: BundlePlan, photos: Mapping[str, Source], run: Callable[..., Run]
) -> Iterator[Run]:
    for seed in range(variant.seeds):
        for fold in variant.folds:
            yield run(variant.net, role, f"seed-{seed}-fold-{fold}", variant.set, fold=fold, seed=seed)
    for name in variant.left_out:
        yield run(variant.net, role, f"without-{name}", variant.set, **_without(name, photos))
    if variant.rendered_only:
        masked = tuple(source for source in photos.values() if isinstance(source, PairSource))
        yield run(variant.net, role, "rendered", variant.set, without=tuple(photos), asked=masked)
    if variant.final:
        yield run(variant.net, role, FINAL, variant.set, asked=chosen.unseen)


def _without(name: str, photos: Mapping[str, Source]) -> dict[str, Any]:
    if name not in photos:
        raise ConfigError(f"left_out: {name} is none of {', '.join(photos)}")
    return {"without": (name,), "asked": (photos[name],)}


def _data(
    settings: Settings, plan: Plan, chosen: BundlePlan, fold: int | None, without: Sequence[str]
) -> dict[str, Any]:
    """Return the run's data section: its fold, or without some sets; of what ships, nearly everything learnt from."""
    data = settings.data
    sources = []
    for source in data.sources:
        if source.name in without:
            continue
        raw = _shared(source, plan)
        if not isinstance(source, PoolSource) and fold is None and source.validation:
            raw["validation"] = chosen.final_validation
        sources.append(raw)
    folds = {"folds": None, "fold": None} if fold is None else {"folds": chosen.folds, "fold": fold}
    return {**data.model_dump(), "sources": sources, **folds}
