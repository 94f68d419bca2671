"""What a network is trained for: one class per kind, each with its loss, its state and its way to be judged.

An objective's parameters are learnt and its buffers are kept in checkpoints, so that a run can be taken up again. Every
loss here is that of the whole batch, however many processes share it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agent.errors import ConfigError
from train import models
from train.data.crops import Batch, Part
from train.losses import FEATURE_LOSSES, PIXEL_LOSSES, build_loss
from train.losses.cirl import CIRL, Phase, frozen_copy
from train.losses.patches import at_least_float32
from train.losses.reduce import over_ranks, scaled
from train.models.gate import CosineHead, PatchAnswers, PatchNet
from train.models.registry import DeeplySupervised, WithBoundaries
from train.models.variance import WithVarianceHead, at_size
from train.settings import Settings
from train.validation import Validation, validate_gate, validate_segmenter

# means over pixels, patches or images: the mean over equal parts of a batch is the loss of the batch
_ADDITIVE: Final = frozenset(
    {"cross_entropy", "focal", "poly", "robust_t", "cosface", "arcface", "circle"} | {"topological"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When and where in a run a step is taken."""

    epoch: int  # from 0
    step: int  # of the optimiser, from 0
    rank: int = 0


class Objective(nn.Module, ABC):
    """What becomes small, called with the network and a batch.

    Args:
        settings: of the run.
        net: as `build_network` gives it.

    Raises:
        ConfigError: options that the loss does not have, or a network that does not fit.
    """

    idle_parameters = False  # whether some parameters take no part in some steps

    def __init__(self, settings: Settings, net: nn.Module) -> None:
        super().__init__()
        del net
        self._settings = settings

    @staticmethod
    def wrapped(net: nn.Module) -> nn.Module:
        """Return a network with what this objective needs beside it."""
        return net

    @abstractmethod
    def forward(self, net: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        """Return the loss of a batch, scalar."""

    @abstractmethod
    def validate(self, net: nn.Module, parts: tuple[Part, ...], device: torch.device) -> Validation:
        """Judge a network."""

    @property
    def additive(self) -> bool:
        """Whether gradients may be gathered over parts of a batch without changing the method."""
        chosen = self._settings.loss
        return chosen.name in _ADDITIVE and chosen.options.get("reduction", "mean") == "mean"

    def begin_epoch(self, net: nn.Module, epoch: int) -> None:
        """Do what falls due between two epochs."""


class Segment(Objective):
    """A map against its mask, by any of the pixel losses."""

    def __init__(self, settings: Settings, net: nn.Module) -> None:
        super().__init__(settings, net)
        self.loss = self._built(settings)
        self._stride_px = int(cast("models.CrackNet", net).stride_px)

    def _built(self, settings: Settings) -> nn.Module:
        return _built(settings.loss.name, settings.loss.options)

    def forward(self, net: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        """Return the loss of the maps; the sum over its outputs, and its boundaries, where a network has several."""
        del moment
        if isinstance(net, WithBoundaries):
            maps, edges = net.maps_and_boundaries(batch.image)
            border = boundary(batch.mask)
            losses = [self.loss(m, batch.mask) for m in maps] + [self.loss(edge, border) for edge in edges]
            return torch.stack(losses).sum()
        outputs = net.outputs(batch.image) if isinstance(net, DeeplySupervised) else [net(batch.image)]
        loss = torch.stack([self.loss(logits, batch.mask, batch.ignore) for logits in outputs]).sum()
        return loss if batch.teacher is None else loss + self._by_teacher(outputs[0], batch.teacher)

    def _by_teacher(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """Return the weighted cross-entropy against a teacher's probabilities, ignored margins included."""
        chosen = self._settings.teacher
        weight = 1.0 if chosen is None else chosen.weight
        soft = at_least_float32(teacher).sigmoid()
        per_pixel = F.binary_cross_entropy_with_logits(at_least_float32(logits), soft, reduction="none")
        total, count = over_ranks(per_pixel.sum(), per_pixel.new_tensor(per_pixel.numel()))
        return weight * scaled(total, count, "mean")

    def validate(self, net: nn.Module, parts: tuple[Part, ...], device: torch.device) -> Validation:
        """Judge on whole pictures."""
        mix = self._settings.judging.mix
        return validate_segmenter(net, parts, stride_px=self._stride_px, device=device, mix=mix)


def boundary(mask: Tensor) -> Tensor:
    """Return 1 where crack and no crack touch, on either side, 3 x 3 neighbours; (N, 1, H, W) like the mask."""
    return F.max_pool2d(mask, 3, stride=1, padding=1) + F.max_pool2d(-mask, 3, stride=1, padding=1)


class Cirl(Segment):
    """Both phases of CIRL (Chen et al., CVPR 2024, section 3): `train.losses.cirl`.

    When phase 2 begins, the network as it stands (its weights, not their average) is copied and kept in every
    checkpoint from then on. The copy says, crop by crop, which pixels are ambiguous.

    The options `first` and `second`, epochs, default to the halves of the run, as in the paper.
    """

    idle_parameters = True  # nothing teaches the variance in the warm-up and in phase 2
    loss: CIRL

    def __init__(self, settings: Settings, net: nn.Module) -> None:
        super().__init__(settings, net)
        self.phase_1 = frozen_copy(net)  # of no use before phase 2, but with a place in every checkpoint

    def _built(self, settings: Settings) -> nn.Module:
        return _built("cirl", _with_phases(settings))

    @staticmethod
    def wrapped(net: nn.Module) -> nn.Module:
        """Return the network with a variance head."""
        try:
            return WithVarianceHead(net)
        except ValueError as exc:
            raise ConfigError(f"model.name: cirl cannot train this network: {exc}") from exc

    @property
    def additive(self) -> bool:
        """Not so: phase 2 divides by the pixels that are not ambiguous, and by the images that have ambiguous ones."""
        return False

    def begin_epoch(self, net: nn.Module, epoch: int) -> None:
        """Keep the phase-1 network where phase 2 begins."""
        if self.loss.schedule.freezes_at(epoch):
            self.phase_1.load_state_dict(net.state_dict())

    def forward(self, net: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        """Return the loss of the epoch's phase."""
        phase = self.loss.schedule.phase(moment.epoch)
        found = cast("WithVarianceHead", net).answers(batch.image)
        if phase is not Phase.CI:
            return cast(
                "Tensor",
                self.loss(found.logits, batch.mask, phase=phase, raw_log_variance=found.raw_log_variance),
            )
        # the sampling of pixels is a function of the moment, so that a resumed run draws the same
        seed = np.random.SeedSequence([self._settings.seed, moment.step, moment.rank]).generate_state(1)
        return cast(
            "Tensor",
            self.loss(
                found.logits,
                batch.mask,
                phase=phase,
                features=at_size(found.features.detach(), found.logits),
                ambiguous=self.ambiguous(batch),
                generator=torch.Generator().manual_seed(int(seed[0])),
            ),
        )

    @torch.no_grad()
    def ambiguous(self, batch: Batch) -> Tensor:
        """Return A, (N, 1, H, W) bool, by the phase-1 network on the same crops."""
        teacher = cast("WithVarianceHead", self.phase_1.eval())  # a trainer sets everything to training mode
        return self.loss.ambiguous(teacher.answers(batch.image).raw_log_variance, batch.mask)


class Gate(Objective):
    """Patches by cross-entropy, and cells where the mask is known.

    Options: `crack_weight`, how much more a missed crack costs; `cell_weight`, how much the cells count.
    """

    cell_weight = 1.0  # unless set

    def __init__(self, settings: Settings, net: nn.Module) -> None:
        super().__init__(settings, net)
        if not isinstance(net, PatchNet):
            raise ConfigError(
                f"model.name: {settings.model.name!r} is no gate; task: gate takes patch_gate or patch_classifier"
            )
        options = dict(settings.loss.options)
        self.cell_weight = float(options.pop("cell_weight", self.cell_weight if net.has_cells else 0))
        if self.cell_weight and not net.has_cells:
            raise ConfigError(
                f"loss.options.cell_weight={self.cell_weight:g}: {settings.model.name} has no cells; set 0"
            )
        self._prepare(options, net)

    def _prepare(self, options: dict[str, Any], net: PatchNet) -> None:
        del net
        self.crack_weight = float(options.pop("crack_weight", 1))
        if options:
            raise ConfigError(
                f"loss.options: a gate's cross_entropy has no {', '.join(options)}; it has crack_weight and cell_weight"
            )

    @property
    def additive(self) -> bool:
        """Whether neither classes nor cells are weighed by how many a batch has of them."""
        return super().additive and not self.cell_weight and getattr(self, "crack_weight", 1) == 1

    def forward(self, net: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        """Return the loss of the patches plus that of the cells; a cell is crack if any of its pixels is."""
        gate = cast("PatchNet", net)
        found = gate.answers(batch.image)
        loss = self._of_patches(gate, found, batch.label, moment)
        if not self.cell_weight or found.cells is None:
            return loss
        cells, truth = at_least_float32(found.cells), F.adaptive_max_pool2d(batch.mask, found.cells.shape[-2:])
        per_cell = F.binary_cross_entropy_with_logits(cells, truth.to(cells.dtype), reduction="none")
        known = batch.masked[:, None, None, None].to(per_cell.dtype).expand_as(per_cell)
        total, count = over_ranks((per_cell * known).sum(), known.sum())
        return loss + self.cell_weight * scaled(total, count, "mean")

    def _of_patches(self, gate: PatchNet, found: PatchAnswers, label: Tensor, moment: Moment) -> Tensor:
        del gate, moment
        per_patch = F.cross_entropy(at_least_float32(found.logits), label, reduction="none")
        weight = 1 + (self.crack_weight - 1) * label.to(per_patch.dtype)
        total, mass = over_ranks((weight * per_patch).sum(), weight.sum())
        return total / mass

    def validate(self, net: nn.Module, parts: tuple[Part, ...], device: torch.device) -> Validation:
        """Judge on whole pictures."""
        return validate_gate(net, parts, gate=self._settings.gate, device=device)


class FeatureGate(Gate):
    """A gate by one of the losses on its features, the penultimate activations; cells count only if asked for."""

    cell_weight = 0.0

    def _prepare(self, options: dict[str, Any], net: PatchNet) -> None:
        sizes = {"classes": net.head.out_features, "dimensions": net.head.in_features}
        self.loss = _built(self._settings.loss.name, {**self._defaults(), **options, **sizes})

    def _defaults(self) -> dict[str, Any]:
        return {}


class Centre(FeatureGate):
    """Cross-entropy and the centre loss."""

    def _of_patches(self, gate: PatchNet, found: PatchAnswers, label: Tensor, moment: Moment) -> Tensor:
        del gate, moment
        return cast("Tensor", self.loss(found.features, found.logits, label))


class Gagl(FeatureGate):
    """Cross-entropy and GAGL (Chen et al., CVPR 2022, algorithm 2), whose anchors and feature scale are buffers."""

    def _defaults(self) -> dict[str, Any]:
        return {"seed": self._settings.seed}

    def _prepare(self, options: dict[str, Any], net: PatchNet) -> None:
        super()._prepare(options, net)
        burn_in, epochs = int(cast("Any", self.loss).burn_in_epochs), self._settings.optimiser.epochs
        if burn_in >= epochs:
            raise ConfigError(
                f"loss.options.burn_in_epochs={burn_in} leaves GAGL none of the {epochs} epochs; lower it, or raise "
                "optimiser.epochs"
            )

    def _of_patches(self, gate: PatchNet, found: PatchAnswers, label: Tensor, moment: Moment) -> Tensor:
        return cast("Tensor", self.loss(found.features, found.logits, label, gate.head, epoch=moment.epoch))


class Cosine(FeatureGate):
    """CosFace, ArcFace or circle: their prototypes are the gate's cosine head, so that it predicts by them."""

    def _prepare(self, options: dict[str, Any], net: PatchNet) -> None:
        if not isinstance(net.head, CosineHead):
            raise ConfigError(f"model.options.head: {self._settings.loss.name} compares directions; set it to cosine")
        super()._prepare(options, net)
        self.loss.prototypes = net.head.prototypes
        net.head.scale.fill_(cast("float", self.loss.scale))

    def _of_patches(self, gate: PatchNet, found: PatchAnswers, label: Tensor, moment: Moment) -> Tensor:
        del gate, moment
        return cast("Tensor", self.loss(found.features, label))


_KINDS: Final[Mapping[str, Mapping[str, type[Objective]]]] = {
    "segment": {**dict.fromkeys(PIXEL_LOSSES, Segment), "cirl": Cirl},
    "gate": {
        "cross_entropy": Gate,
        "gagl": Gagl,
        "centre": Centre,
        "cosface": Cosine,
        "arcface": Cosine,
        "circle": Cosine,
    },
}


def build_network(settings: Settings) -> nn.Module:
    """Return the network as it is trained, with what its objective needs beside it, weights from torch's global seed.

    Raises:
        ConfigError: no such network or loss, or an option that the network does not have.
    """
    return _kind(settings).wrapped(models.build(settings.model.name, **settings.model.options))


def build_objective(settings: Settings, net: nn.Module) -> Objective:
    """Return what the network is trained for.

    Raises:
        ConfigError: no such loss for this task, options that it does not have, or a network that does not fit.
    """
    objective = _kind(settings)(settings, net)
    parts = settings.optimiser.accumulate
    if parts > 1 and not objective.additive:
        raise ConfigError(
            f"optimiser.accumulate={parts}: {settings.loss.name} of a batch, with these options, is not the mean over "
            "its parts, so gathering gradients part by part would train with another loss; set it to 1 and lower "
            "optimiser.batch, or share the batch among processes with torchrun"
        )
    return objective


def _kind(settings: Settings) -> type[Objective]:
    kinds, name = _KINDS[settings.task], settings.loss.name
    if name in kinds:
        return kinds[name]
    if name == "nnclr":
        raise ConfigError("loss: nnclr needs two views of each patch, and a crop is one; choose another loss")
    if name in FEATURE_LOSSES or name in PIXEL_LOSSES:
        raise ConfigError(f"loss: {name!r} is not for task: {settings.task}, which learns by {', '.join(kinds)}")
    _built(name, {})  # says which names come near
    raise AssertionError(name)


def _built(name: str, options: Mapping[str, Any]) -> nn.Module:
    try:
        return build_loss(name, **options)
    except ValueError as exc:
        raise ConfigError(f"loss: {exc}") from exc


def _with_phases(settings: Settings) -> dict[str, Any]:
    """Return CIRL's options, the lengths of its phases among them."""
    options, epochs = dict(settings.loss.options), settings.optimiser.epochs
    if "first" not in options:
        options["first"] = epochs - options["second"] if "second" in options else (epochs + 1) // 2
    options.setdefault("second", epochs - options["first"])
    if options["first"] + options["second"] != epochs:
        raise ConfigError(
            f"loss.options: first={options['first']} and second={options['second']} epochs are not the "
            f"optimiser.epochs={epochs}; leave one of them out"
        )
    return options
