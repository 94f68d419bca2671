"""What a segmenter is trained for: its maps by a pixel loss, or CIRL's two phases."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agent.errors import ConfigError
from train import models
from train.data.crops import Batch, Part
from train.losses.cirl import CIRL, Phase, frozen_copy
from train.losses.f1_guided import cross_entropy
from train.losses.feature_rivals import NNCLR
from train.losses.patches import at_least_float32
from train.losses.reduce import over_ranks, scaled
from train.models.registry import DeeplySupervised, WithBoundaries
from train.models.variance import WithVarianceHead, at_size
from train.objectives.base import Moment, Objective, built
from train.settings import Named, Settings
from train.validation import Validation, validate_segmenter


class Segment(Objective):
    """A map against its mask, by any of the pixel losses."""

    def __init__(self, settings: Settings, net: nn.Module) -> None:
        super().__init__(settings, net)
        self.loss = self._built(settings)
        self._stride_px = int(cast("models.CrackNet", net).stride_px)

    def _built(self, settings: Settings) -> nn.Module:
        return built(settings.loss.name, settings.loss.options)

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
        return built("cirl", _with_phases(settings))

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
        return cast(
            "Tensor",
            self.loss(
                found.logits,
                batch.mask,
                phase=phase,
                features=at_size(found.features.detach(), found.logits),
                ambiguous=self.ambiguous(batch),
                generator=self._drawing(moment),
            ),
        )

    def _drawing(self, moment: Moment) -> torch.Generator:
        """Return what pixels are drawn by: a function of the moment, so that a resumed run draws the same."""
        seed = np.random.SeedSequence([self._settings.seed, moment.step, moment.rank]).generate_state(1)
        return torch.Generator().manual_seed(int(seed[0]))

    @torch.no_grad()
    def ambiguous(self, batch: Batch) -> Tensor:
        """Return A, (N, 1, H, W) bool, by the phase-1 network on the same crops."""
        teacher = cast("WithVarianceHead", self.phase_1.eval())  # a trainer sets everything to training mode
        return self.loss.ambiguous(teacher.answers(batch.image).raw_log_variance, batch.mask)


class Nnclr(Cirl):
    """CIRL with NNCLR in place of the clustering-inspired loss, the rival of CIRL's table 5; a reconstruction.

    The paper says no more of it. Here, in phase 2, ambiguous pixels of a batch are drawn; what the network's head is
    given of them in the crop and in its mirror image, of another brightness and contrast, are their two views, and
    the term of Dwibedi et al., "With a Little Help from My Friends", ICCV 2021, arXiv:2104.14548, equation (3), stands
    where CI stood, with its weight. There are no projection and prediction heads, as CI has none either.

    Options: those of `cirl`, and `pixels`, at most so many are drawn in a batch (256); `support_size`; `temperature`.
    """

    _own = ("pixels", "support_size", "temperature")

    def __init__(self, settings: Settings, net: nn.Module) -> None:
        super().__init__(settings, net)
        own = {"pixels": 256, **{k: v for k, v in settings.loss.options.items() if k in self._own}}
        self._pixels = own.pop("pixels")
        if not isinstance(self._pixels, int) or self._pixels < 2:
            raise ConfigError(f"loss.options.pixels={self._pixels}: give 2 or more; one pixel has no negatives")
        width = cast("WithVarianceHead", net).variance.in_channels
        self.views = cast("NNCLR", built("nnclr", {**own, "dimensions": width, "seed": settings.seed}))

    def _built(self, settings: Settings) -> nn.Module:
        options = {k: v for k, v in settings.loss.options.items() if k not in self._own}
        return super()._built(settings.model_copy(update={"loss": Named(name="cirl", options=options)}))

    def forward(self, net: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        """Return the loss of the epoch's phase."""
        if self.loss.schedule.phase(moment.epoch) is not Phase.CI:
            return super().forward(net, batch, moment)
        drawing, ambiguous = self._drawing(moment), self.ambiguous(batch)
        asked = cast("WithVarianceHead", net)
        found = asked.answers(batch.image)
        mirrored = asked.answers(_mirrored(batch.image, drawing)).features
        labelled = cross_entropy(found.logits, batch.mask, ambiguous, reduction=self.loss.reduction)
        at = ambiguous.flatten().nonzero().squeeze(1)
        at = at[torch.randperm(len(at), generator=drawing)[: self._pixels].to(at.device)]
        # as many rows on every rank: what is missing is the first pixel again, and ignored
        rows = F.pad(at, (0, self._pixels - len(at)))
        ignore = torch.arange(self._pixels, device=rows.device) >= len(at)
        one, other = (
            at_size(features, found.logits).movedim(1, -1).flatten(0, 2)[rows]
            for features in (found.features, mirrored.flip(-1))
        )
        return labelled + self.loss.weight * cast("Tensor", self.views(one, other, ignore))


def _mirrored(image: Tensor, drawing: torch.Generator) -> Tensor:
    """Return images (N, 3, H, W) in [0, 1], left for right, of contrast up to 20 % and brightness up to .1 apart."""
    contrast, brightness = torch.rand(2, len(image), 1, 1, 1, generator=drawing).to(image) * 2 - 1
    view: Tensor = (image.flip(-1) - 0.5) * (1 + 0.2 * contrast) + 0.5 + 0.1 * brightness
    return view.clamp(0, 1)


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
