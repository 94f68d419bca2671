"""What a gate is trained for: its patches by cross-entropy or focal loss, or by a loss on its features."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agent.errors import ConfigError
from train.data.crops import Batch, Part
from train.losses.patches import at_least_float32
from train.losses.reduce import over_ranks, scaled
from train.models.gate import CosineHead, PatchAnswers, PatchNet
from train.objectives.base import Moment, Objective, built
from train.settings import Settings
from train.validation import Validation, validate_gate


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
        self.loss = built(self._settings.loss.name, {**self._defaults(), **options, **sizes})

    def _defaults(self) -> dict[str, Any]:
        return {}


class FocalGate(Gate):
    """A gate by the focal loss of `train.losses.f1_guided`, on the difference of its two logits; cells count not.

    The sigmoid of the difference is the softmax of two classes.
    """

    cell_weight = 0.0

    def _prepare(self, options: dict[str, Any], net: PatchNet) -> None:
        del net
        self.loss = built("focal", options)

    def _of_patches(self, gate: PatchNet, found: PatchAnswers, label: Tensor, moment: Moment) -> Tensor:
        del gate, moment
        crack = (found.logits[:, 1] - found.logits[:, 0])[:, None, None, None]
        return cast("Tensor", self.loss(crack, label[:, None, None, None].to(crack.dtype)))


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
