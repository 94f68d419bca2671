"""The crops of an epoch, and the pictures of a validation.

Crop i of epoch e is a pure function of the run's seed, e and i: whatever the number of worker processes, and whether
the run was stopped and resumed in between, an epoch shows the same crops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from agent.contract.arrays import Bool, UInt8
from agent.errors import InputError
from train.data.augment import pad, photometric, random_crop
from train.data.picture import Picture, PictureSource
from train.settings import Augment, GateLabel, Task

_TRIES = 50  # pictures drawn before a crop is given up: more than that many bad ones in a row is no accident


@dataclass(frozen=True, slots=True)
class Part:
    """The pictures of a source that one side of the split may use."""

    source: PictureSource
    indices: Sequence[int]
    weight: float
    widen_px: int = 0  # see PairSource
    margin_px: int = 0


@dataclass
class Batch:
    """Crops on their way to the network."""

    image: Tensor  # (N, 3, H, W) float32 in [0, 1]
    mask: Tensor  # (N, 1, H, W) float32, 1 is crack; 0 where it is not known
    masked: Tensor  # (N,) bool, whether the mask is known
    label: Tensor  # (N,) int64, 1 is crack
    skipped: list[str] = field(default_factory=list)  # what could not be read on the way, one message each
    ignore: Tensor | None = None  # (N, 1, H, W) bool, not to be learnt from; None: nothing
    teacher: Tensor | None = None  # (N, 1, H, W) logits of a teacher; None without one

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        image, mask, masked, label = (
            tensor.to(device, non_blocking=True) for tensor in (self.image, self.mask, self.masked, self.label)
        )
        ignore, teacher = (
            None if tensor is None else tensor.to(device, non_blocking=True) for tensor in (self.ignore, self.teacher)
        )
        return Batch(image, mask, masked, label, self.skipped, ignore, teacher)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crop:
    """One training example."""

    image_rgb: UInt8  # (size, size, 3)
    mask: Bool | None  # (size, size), None where only the label is known
    cracked: bool
    skipped: tuple[str, ...] = ()


class CropDataset(Dataset[Crop]):
    """Random crops of one epoch.

    Args:
        parts: where pictures come from; a crop's source is drawn by weight, then one of its pictures evenly.
        task: what they are to teach.
        crop_px: edge of a crop, px.
        augment: how crops are varied.
        gate: how many crack pixels make a gate's crop a crack.
        seed: of the run.
        epoch: from 0.
        length: crops in the epoch.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        task: Task,
        crop_px: int,
        augment: Augment,
        gate: GateLabel,
        seed: int,
        epoch: int,
        length: int,
    ) -> None:
        self._parts = [part for part in parts if part.indices]
        weights = np.array([part.weight for part in self._parts])
        self._shares = weights / weights.sum()
        self._task, self._crop_px, self._augment, self._gate = task, crop_px, augment, gate
        self._seed, self._epoch, self._length = seed, epoch, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Crop:
        """Return crop `index` of the epoch.

        Raises:
            InputError: one picture after the other cannot be read.
        """
        rng = np.random.default_rng([self._seed, self._epoch, index])
        skipped: list[str] = []
        for _ in range(_TRIES):
            part = self._parts[int(rng.choice(len(self._parts), p=self._shares))]
            chosen = part.indices[int(rng.integers(len(part.indices)))]
            try:
                picture = part.source.load(chosen)
            except InputError as exc:
                skipped.append(str(exc))
                continue
            crop = self._crop(rng, picture)
            if crop is not None:
                image = photometric(rng, crop.image_rgb, self._augment)
                return replace(crop, image_rgb=image, skipped=tuple(skipped))
        raise InputError(f"{_TRIES} pictures in a row gave no crop; the last fault: {(skipped or ['ambiguous'])[-1]}")

    def _crop(self, rng: np.random.Generator, picture: Picture) -> Crop | None:
        """Return a crop, or None where it teaches nothing: no mask to segment by, too little crack to call it one."""
        image, mask = random_crop(
            rng, picture.image_rgb, picture.mask, self._crop_px, self._augment, whole=picture.mask is None
        )
        if self._task == "segment":
            return None if mask is None else Crop(image_rgb=image, mask=mask, cracked=bool(mask.any()))
        label = gate_label(picture.cracked if mask is None else int(mask.sum()), self._gate)
        return None if label is None else Crop(image_rgb=image, mask=mask, cracked=bool(label))


def gate_label(crack: int, gate: GateLabel) -> int | None:
    """Return 1 for crack, 0 for clean, None for so few crack pixels that nobody could tell.

    Args:
        crack: crack pixels in the reduced view; a bool, where the label is known for the picture as a whole.
        gate: its limit.
    """
    if isinstance(crack, bool):
        return int(crack)
    if 0 < crack < gate.min_crack_px:
        return None
    return int(crack > 0)


def collate(crops: Sequence[Crop]) -> Batch:
    """Return crops as a batch."""
    unknown = np.zeros(crops[0].image_rgb.shape[:2], np.bool_)
    masks = np.stack([unknown if crop.mask is None else crop.mask for crop in crops])
    return Batch(
        image=to_tensor(np.stack([crop.image_rgb for crop in crops])),
        mask=torch.from_numpy(masks)[:, None].float(),
        masked=torch.tensor([crop.mask is not None for crop in crops]),
        label=torch.tensor([int(crop.cracked) for crop in crops]),
        skipped=[message for crop in crops for message in crop.skipped],
    )


def to_tensor(images_rgb: UInt8) -> Tensor:
    """Return (N, H, W, 3) uint8 as (N, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(images_rgb).permute(0, 3, 1, 2).float() / 255


def gate_view(image_rgb: UInt8, gate: GateLabel) -> UInt8:
    """Return what the gate sees of a picture no larger than a tile: continued by reflection, then reduced by area."""
    image, _ = pad(image_rgb, None, gate.tile_px, gate.tile_px)
    edge = gate.tile_px // gate.downscale
    view = cv2.resize(image[: gate.tile_px, : gate.tile_px], (edge, edge), interpolation=cv2.INTER_AREA)
    return np.asarray(view, np.uint8)


def readable(part: Part, skipped: list[str]) -> Iterator[Picture]:
    """Yield a part's pictures in order, and put what cannot be read in `skipped`."""
    for index in part.indices:
        try:
            yield part.source.load(index)
        except InputError as exc:  # noqa: PERF203 - one bad picture must not end the loop
            skipped.append(str(exc))
