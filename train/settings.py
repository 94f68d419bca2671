"""What a training run is made of: one YAML file, read into immutable models, all faults told at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

import yaml
from pydantic import BaseModel, Field, PositiveInt, ValidationError, field_validator, model_validator
from typing_extensions import Self

from agent import strict_yaml
from agent.contract.strict import Strict
from agent.errors import ConfigError
from train.data.layouts import LayoutName

Task = Literal["segment", "gate"]
Mix = Literal["pooled", "sets"]
Border = Literal["reflect", "nearest"]
Share = Annotated[float, Field(ge=0, le=1)]


class Grouping(Strict):
    """Which pictures may not be parted between training and validation, because they show the same place."""

    rule: Literal["file", "runs", "blocks", "photo"] = "file"
    gap: PositiveInt = Field(default=10, description="runs: a step above this in the file's number begins a new group.")
    size: PositiveInt = Field(default=50, description="blocks: this many consecutive numbers are one group.")
    pattern: str = Field(
        default=r"^(.+)-\d+$",
        description="photo: its bracket holds, in a patch's name, that of the photo it was cut from.",
    )

    @field_validator("pattern")
    @classmethod
    def _has_a_bracket(cls, pattern: str) -> str:
        try:
            brackets = re.compile(pattern).groups
        except re.error as exc:
            raise ValueError(f"is no regular expression: {exc}") from exc
        if brackets != 1:
            raise ValueError(f"has {brackets} brackets, needs 1 round the photo's name")
        return pattern


class _Source(Strict):
    weight: float = Field(gt=0, description="Share of the crops, relative to the other sources.")
    validation: Share = Field(default=0.2, description="Share of the pictures, whole groups of them.")
    validation_limit: PositiveInt | None = Field(default=None, description="At most so many, for speed; None for all.")


class PoolSource(_Source):
    """Pictures drawn once per run from the run's seed, held in memory."""

    count: PositiveInt = 1000
    size_px: int = Field(default=512, ge=64, le=2048)
    pool_seed: int | None = Field(default=None, ge=0, description="Of the pool; null: the run's, one pool per seed.")
    cache: Path | None = Field(default=None, description="Folder that keeps the pool between runs; null: none.")
    licence: str = "rendered by this software; no rights of others"


class RenderedSource(PoolSource):
    """Rendered surfaces and cracks, painted flat: what the bundles that ship have learnt from."""

    kind: Literal["rendered"]
    name: str = "rendered"


class CloseUpSource(PoolSource):
    """Rendered walls and pavements with relief, as the rendered inspections have them, seen close."""

    kind: Literal["close_ups"]
    name: str = "close_ups"


class ViewSource(PoolSource):
    """Frames of rendered flights: joints, bolts, cables, lamps and what age leaves, at any scale."""

    kind: Literal["views"]
    name: str = "views"


class PairSource(_Source):
    """Photos with masks, by default in `images/` and `masks/` of equal stems; above 127 is crack."""

    kind: Literal["pairs"]
    name: str
    folder: Path = Field(description="Relative to data.root.")
    layout: LayoutName = Field(default="plain", description="Of a published set: see train/data/layouts.py.")
    licence: str = Field(min_length=1, description="As stated at the source; the model card repeats it.")
    groups: Grouping = Grouping()
    widen_px: int = Field(
        default=0, ge=0, le=8, description="Truth that is a thin line grows so far at most, where the picture is dark."
    )
    margin_px: int = Field(
        default=0, ge=0, le=8, description="Background so near to a crack is not learnt from: who draws it, decides it."
    )
    subsets: int | None = Field(
        default=None, ge=2, le=50, description="Equal parts, whole groups, of what is not held back: see subset."
    )
    subset: int | None = Field(default=None, ge=0, description="The one of them, from 0, that is learnt from.")

    @model_validator(mode="after")
    def _subset_is_one_of_them(self) -> Self:
        if (self.subsets is None) != (self.subset is None) or (self.subset or 0) >= (self.subsets or 1):
            raise ValueError(
                f"subset={self.subset} must be 0 to subsets - 1, subsets={self.subsets}; give both or neither"
            )
        return self


class ClassSource(_Source):
    """Folders of photos with and without cracks. A segmenter learns from the latter alone: all background."""

    kind: Literal["classes"]
    name: str
    folder: Path = Field(description="Relative to data.root.")
    crack: tuple[str, ...] = Field(
        default=("crack",), description="Folders in it; METU's Positive, SDNET2018's D/CD, P/CP and W/CW; may be none."
    )
    clean: tuple[str, ...] = Field(default=("clean",), min_length=1, description="Negative; D/UD, P/UP and W/UW.")
    licence: str = Field(min_length=1, description="As stated at the source; the model card repeats it.")
    groups: Grouping = Grouping()


Source: TypeAlias = Annotated[
    RenderedSource | CloseUpSource | ViewSource | PairSource | ClassSource, Field(discriminator="kind")
]


class Augment(Strict):
    """Random changes of a crop; mask and image always move together."""

    scale: tuple[float, float] = Field(default=(0.5, 2.0), description="Size of the crop's content, log-uniform.")
    seek: Share = Field(default=0.5, description="Share of the crops that are laid over a crack, where there is one.")
    flip: bool = Field(default=True, description="Left for right, in half of the crops.")
    flip_vertical: bool = Field(default=False, description="Top for bottom, in half; quarter turns and flip have it.")
    rotate: bool = Field(default=True, description="By quarter turns.")
    turn_deg: float = Field(default=0.0, ge=0, le=180, description="Further turned by +- this.")
    shear_deg: float = Field(default=0.0, ge=0, le=45, description="What stands upright leans by +- this.")
    shift: Share = Field(
        default=0.0,
        description="Crops may leave the picture by so much of their side; of one labelled as a whole they do not.",
    )
    border: Border = Field(
        default="reflect",
        description="What fills a crop beyond its picture, in image and mask: the mirror image, or the nearest pixels.",
    )
    gamma: float = Field(default=0.3, ge=0, le=1, description="Exponent up to e to the power of +- this.")
    brightness: Share = 0.15
    contrast: Share = 0.3
    colour: Share = Field(default=0.06, description="Gain of each channel, +- this.")
    hue: float = Field(default=0.0, ge=0, le=0.5, description="Turned by +- this share of the circle of colours.")
    saturation: Share = Field(default=0.0, description="Of colours, multiplied by 1 +- this.")
    grey: Share = Field(default=0.1, description="Share of the crops that lose their colour.")
    blur_px: float = Field(default=1.2, ge=0, le=10, description="Largest standard deviation; on 30 % of the crops.")
    noise: Share = Field(default=0.04, description="Largest standard deviation, of full scale; on half of the crops.")
    jpeg: Share = Field(default=0.3, description="Share of the crops that go through JPEG, quality 40 to 95.")

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        if not 0.1 <= self.scale[0] <= self.scale[1] <= 10:
            raise ValueError(f"scale={list(self.scale)} must rise and lie in 0.1 to 10")
        return self


class Data(Strict):
    """What is learnt from."""

    root: Path = Field(default=Path("../shared/data"), description="Relative to the folder the command runs in.")
    sources: tuple[Source, ...] = Field(min_length=1)
    crop_px: int = Field(default=192, ge=32, multiple_of=32)
    split_seed: int = Field(default=0, description="Apart from the run's seed, so that two runs share a split.")
    workers: int = Field(
        default=0, ge=0, description="Processes that make crops; 0 makes them in the training process."
    )
    augment: Augment = Augment()
    unreadable: Literal["skip", "stop"] = Field(
        default="skip", description="What a picture that cannot be read does to a run: it is counted, or ends it."
    )
    near_duplicates: Literal["report", "ignore"] = Field(
        default="report",
        description="report: photos are looked through for ones that are all but equal on both sides of the split.",
    )
    folds: int | None = Field(default=None, ge=2, le=50, description="Parts of equal size, whole groups; see fold.")
    fold: int | None = Field(
        default=None, ge=0, description="The part held back of every source of photos whose validation is not 0."
    )
    resident: bool = Field(
        default=False, description="Keep all pictures in the memory of the device and make crops there, many at once."
    )

    @model_validator(mode="after")
    def _fold_is_one_of_them(self) -> Self:
        if (self.folds is None) != (self.fold is None) or (self.fold or 0) >= (self.folds or 1):
            raise ValueError(f"fold={self.fold} must be 0 to folds - 1, folds={self.folds}; give both or neither")
        return self

    @model_validator(mode="after")
    def _resident_where_needed(self) -> Self:
        pairs = [source for source in self.sources if isinstance(source, PairSource)]
        wanted = [f"{s.name}.{key}" for s in pairs for key in ("widen_px", "margin_px") if getattr(s, key)]
        if wanted and not self.resident:
            raise ValueError(f"{', '.join(wanted)}: crops made from files do not know it; set data.resident=true")
        if self.resident and self.workers:
            raise ValueError(f"workers={self.workers}: resident data needs none; set 0")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {', '.join(twice)}; give each a name of its own")
        return self


class Named(Strict):
    """A network or a loss: its name in the registry, and its own options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Optimiser(Strict):
    """How weights are changed; by default AdamW (arXiv:1711.05101) on one cycle of the rate (arXiv:1708.07120)."""

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    schedule: Literal["one_cycle", "constant", "steps", "plateau"] = Field(
        default="one_cycle",
        description="Of the learning rate. plateau: lowered when the validation score stands still.",
    )
    momentum: Share = Field(default=0.9, description="sgd.")
    milestones: tuple[PositiveInt, ...] = Field(
        default=(), description="steps: epochs before which the rate is lowered."
    )
    factor: float = Field(default=0.1, gt=0, lt=1, description="steps and plateau: what the rate is multiplied by.")
    patience: PositiveInt = Field(default=10, description="plateau: epochs without a better score.")
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    batch: PositiveInt = Field(default=8, description="Crops in a step, those of all processes together.")
    accumulate: PositiveInt = Field(
        default=1,
        description="Parts that a batch is computed in, to save memory; only where the loss adds up over them.",
    )
    epochs: PositiveInt = 10
    steps_per_epoch: PositiveInt = 500
    warmup: Share = Field(default=0.15, description="Share of the run in which the learning rate rises.")
    clip_norm: float | None = Field(default=5.0, gt=0, description="Of the gradient; null: not clipped.")
    ema: float = Field(default=0.995, ge=0, lt=1, description="Decay of the averaged weights, which are what counts.")

    @model_validator(mode="after")
    def _steps_have_milestones(self) -> Self:
        if (self.schedule == "steps") != bool(self.milestones):
            raise ValueError(f"schedule={self.schedule} and milestones={list(self.milestones)} do not go together")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones={list(self.milestones)} must rise")
        return self


class Compute(Strict):
    """Where it runs."""

    accelerator: Literal["cpu", "gpu", "auto"] = "auto"
    threads: PositiveInt | None = Field(default=None, description="CPU threads; None leaves it to torch.")
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    checkpoint_gradients: bool = Field(
        default=False,
        description="Compute what lies inside the network's blocks again for the gradient instead of keeping it: the "
        "same weights come out, with less memory and about a third more arithmetic.",
    )
    samples: int = Field(default=2, ge=0, description="Photos drawn into samples/ after each epoch of a segmenter.")
    tensorboard: bool = Field(default=False, description="Write what log.csv holds for TensorBoard too.")


class GateLabel(Strict):
    """What a gate is shown and what counts as a crack in it."""

    tile_px: int = Field(default=512, ge=64, description="The segmenter's tile, which the gate answers for.")
    downscale: PositiveInt = 2
    min_crack_px: PositiveInt = Field(
        default=24, description="Crack pixels of the reduced view from which it is a crack; 1 to this - 1 is left out."
    )
    recall: float = Field(default=0.995, gt=0.5, le=1, description="Of validation tiles; the threshold follows.")


class Teacher(Strict):
    """A trained network whose answers are learnt from beside the truth (Hinton et al., arXiv:1503.02531)."""

    checkpoint: Path = Field(description="Of a segmenter of `crack-train fit`.")
    weight: float = Field(default=1.0, gt=0, description="Of the cross-entropy against its probabilities.")


class Judging(Strict):
    """How a run is judged while it goes on."""

    mix: Mix = Field(
        default="pooled",
        description="Score of a segmenter. pooled: best F1 (2 px) of all photos as one pool. sets: mean over the sets "
        "of photos of the mean of best strict F1 and best F1 (2 px), so that no set outweighs another.",
    )
    every: PositiveInt = Field(default=1, description="Epochs between two judgements; the last epoch is always judged.")
    stop_after: PositiveInt | None = Field(
        default=None, description="Judgements without a better score after which the run ends; null: never."
    )


class Settings(Strict):
    """A whole run."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")
    task: Task
    seed: int = Field(default=0, ge=0)
    out: Path | None = Field(default=None, description="The run's folder; None is runs/<name>.")
    data: Data
    model: Named
    loss: Named
    optimiser: Optimiser = Optimiser()
    compute: Compute = Compute()
    gate: GateLabel = GateLabel()
    start: Path | None = Field(
        default=None, description="Checkpoint of the same network whose averaged weights a run begins with; null: none."
    )
    teacher: Teacher | None = Field(default=None, description="For a segmenter.")
    judging: Judging = Judging()

    @model_validator(mode="after")
    def _extras_fit_the_task(self) -> Self:
        margins = [s.name for s in self.data.sources if isinstance(s, PairSource) and s.margin_px]
        if self.teacher is not None and (self.task != "segment" or self.loss.name in {"cirl", "nnclr"}):
            raise ValueError(f"teacher: not for task={self.task}, loss={self.loss.name}; take it out")
        if margins and (self.task != "segment" or self.loss.name in {"cirl", "nnclr"}):
            raise ValueError(
                f"margin_px of {', '.join(margins)}: not for task={self.task}, loss={self.loss.name}; set 0"
            )
        return self

    def crops_at_once(self, processes: int) -> int:
        """Return how many crops a process takes at once.

        Raises:
            ConfigError: the batch cannot be shared evenly.
        """
        chosen = self.optimiser
        crops, left = divmod(chosen.batch, processes * chosen.accumulate)
        if left:
            raise ConfigError(
                f"optimiser.batch={chosen.batch} cannot be shared evenly by {processes} processes in "
                f"{chosen.accumulate} parts each; make it a multiple of {processes * chosen.accumulate}"
            )
        return crops

    @property
    def folder(self) -> Path:
        """Where the run is written."""
        return self.out or Path("runs") / self.name


def load(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a settings file; `section.key=value` overrides, where the value is YAML and a list item is its number.

    Raises:
        ConfigError: unreadable, not YAML, or values that do not fit, all named in one message.
    """
    file = strict_yaml.read(path)
    for override in overrides:
        _apply(file.values, override)
    faults = [f"line {place.line}: {fault}" for place, fault in file.faults]
    try:
        settings = Settings.model_validate(file.values)
    except ValidationError as exc:
        faults += _faults(exc)
        raise ConfigError(f"{path}: {len(faults)} to fix: {'; '.join(faults)}") from exc
    if faults:
        raise ConfigError(f"{path}: {len(faults)} to fix: {'; '.join(faults)}")
    return settings


def dump(settings: Settings) -> str:
    """Return the settings as a YAML file that `load` reads, each below its meaning."""
    return strict_yaml.explained(settings, settings.model_dump(mode="json"))


def _apply(raw: dict[str, Any], override: str) -> None:
    """Set one value in place."""
    key, equals, text = override.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not last:
        raise ConfigError(f"{override!r} is no setting; write section.key=value, for example optimiser.batch=4")
    node: Any = raw
    for depth, part in enumerate([*parents, last], start=1):
        here = ".".join([*parents, last][:depth])
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(f"{override!r}: {here} does not exist; the list has items 0 to {len(node) - 1}")
        elif not isinstance(node, dict):
            raise ConfigError(f"{override!r}: {here} lies inside a value that has no parts")
        place = int(part) if isinstance(node, list) else part
        if depth <= len(parents):
            if isinstance(node, dict):
                node.setdefault(place, {})
            node = node[place]
            continue
        try:
            node[place] = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            raise ConfigError(f"{override!r}: {text!r} is not a YAML value") from exc


_KINDS: Final = {
    "rendered",
    "close_ups",
    "views",
    "pairs",
    "classes",
}  # pydantic names the member of a union in a fault's place


def _faults(exc: ValidationError) -> Iterator[str]:
    faults = exc.errors()
    for fault in faults:
        if fault["type"] == "too_short" and any(
            fault["loc"] == other["loc"][: len(fault["loc"])] for other in faults if other is not fault
        ):
            continue  # a list whose items are at fault is not too short as well
        place = tuple(part for part in fault["loc"] if part not in _KINDS)
        where = ".".join(map(str, place))
        if fault["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(place[-1]), _known(Settings, fault["loc"][:-1]), n=1)
            yield f"{where}: not a setting" + (f", did you mean {near[0]}?" if near else "")
        elif fault["type"] == "missing":
            yield f"{where}: missing"
        else:
            message = fault["msg"].removeprefix("Value error, ")
            yield f"{where}: {message}" if "value_error" in fault["type"] else f"{where}={fault['input']!r}: {message}"


def _known(annotation: Any, place: Sequence[int | str]) -> list[str]:  # noqa: ANN401 - a type, of any form
    """Return the settings of the model that lies at `place` below a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        if not place:
            return list(fields)
        if place[0] in fields:
            return _known(fields[str(place[0])].annotation, place[1:])
        if place[0] in _KINDS and str(place[0]) in get_args(fields["kind"].annotation):
            return _known(annotation, place[1:])
        return []
    rest = place[1:] if place and isinstance(place[0], int) else place
    return [name for inner in get_args(annotation) for name in _known(inner, rest)]
