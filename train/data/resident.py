"""All pictures in a device's memory, and crops of them made there, a batch at a time.

The sets are small: a few thousand pictures are a few gigabytes with their smaller copies. A GPU that waited for
processes to decode and to warp pictures one by one would mostly wait. Here a batch is a gather with four neighbours,
and what a camera does to a picture is a few products over the batch.

Batch i of epoch e is a pure function of the run's seed, e and i, on one kind of device (a CPU takes OpenCV's warp,
which rounds places to 1/32 px): numpy draws where crops lie and how they look, torch the noise alone. A difference to
`train.data.augment`: a picture that is smaller than the crop is continued on all sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from agent.contract.arrays import UInt8
from agent.errors import InputError
from train.data.augment import BORDERS, sampling_matrix
from train.data.camera import photographed
from train.data.crops import Batch, Part
from train.data.truth import margin, widened
from train.settings import Augment, Border, GateLabel, Task

_LEVELS = 3  # whole, half, quarter: a crop that shrinks its content takes the level that is nearest in size
_CHANNELS = 5  # red, green, blue, crack, not to be learnt from
_THIN = 0.4  # a reduced pixel is crack from this share on, as in train.data.augment; a turned one too
_BETWEEN = 0.33  # the same where samples lie up to 1.4 px apart: a line of 1 px is never missed, and not made wider
_SPARE = 1.5  # crops drawn for a gate per crop wanted: some show too little crack to call


@dataclass(frozen=True, slots=True)
class Draws:
    """What is drawn for the crops of a batch, each (N,)."""

    picture: NDArray[np.int64]
    scale: NDArray[np.float64]  # px of the crop per px of the picture
    centre_yx: NDArray[np.float64]  # (N, 2), px of the picture
    angle: NDArray[np.float64]  # rad
    mirrored: NDArray[np.bool_]
    shear: NDArray[np.float64]  # rad


class ResidentPictures:
    """The pictures of a side of the split, in one tensor per size.

    Args:
        parts: of the side; a crop's source is drawn by weight, then one of its pictures evenly.
        device: where they are kept and crops are made.

    Raises:
        InputError: no picture can be read.
    """

    def __init__(self, parts: Sequence[Part], device: torch.device) -> None:
        self.device = device
        self.skipped: list[str] = []
        pixels: list[list[UInt8]] = [[] for _ in range(_LEVELS)]
        sizes: list[tuple[int, int]] = []
        cracks: list[NDArray[np.int32]] = []
        masked, cracked, shares = [], [], []
        for part in parts:
            before = len(sizes)
            for index in part.indices:
                try:
                    rows, crack, known, label = _read(part, index)
                except InputError as exc:
                    self.skipped.append(str(exc))
                    continue
                for level, content in enumerate(_pyramid(rows)):
                    pixels[level].append(content.reshape(-1, _CHANNELS))
                sizes.append((rows.shape[0], rows.shape[1]))
                cracks.append(crack)
                masked.append(known)
                cracked.append(label)
            read = len(sizes) - before
            shares += [part.weight / read] * read
        if not sizes:
            raise InputError(
                f"no picture to learn from could be read; the last fault: {(self.skipped or ['none'])[-1]}"
            )
        self._pixels = [torch.from_numpy(np.concatenate(pixels.pop(0))).to(device) for _ in range(_LEVELS)]
        self._sizes = np.array(sizes)
        self._cracks, self._masked, self._cracked = cracks, np.array(masked), np.array(cracked)
        self._shares = np.array(shares) / np.sum(shares)
        level_sizes = [np.maximum(self._sizes >> level, 1) for level in range(_LEVELS)]
        self._level_sizes = np.stack(level_sizes)
        areas = self._level_sizes.prod(axis=2)
        self._offsets = np.concatenate([np.zeros((_LEVELS, 1), np.int64), areas.cumsum(axis=1)[:, :-1]], axis=1)

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def bytes(self) -> int:
        """How much of the device's memory they take."""
        return sum(level.numel() for level in self._pixels)

    def draw(self, rng: np.random.Generator, count: int, size_px: int, augment: Augment) -> Draws:
        """Return where the crops of a batch lie."""
        picture = rng.choice(len(self), size=count, p=self._shares)
        scale = np.exp(rng.uniform(math.log(augment.scale[0]), math.log(augment.scale[1]), size=count))
        angle = rng.uniform(-1, 1, count) * math.radians(augment.turn_deg)
        if augment.rotate:
            angle += rng.integers(4, size=count) * (math.pi / 2)
        mirrored = (rng.random(count) < 0.5) & augment.flip
        sought, where, inside = rng.random(count) < augment.seek, rng.random(count), rng.uniform(-0.5, 0.5, (count, 2))
        anywhere = rng.random((count, 2))
        height_width = self._sizes[picture]
        whole = ~self._masked[picture]  # labelled as a whole: all of it stays in sight
        scale = np.where(whole, np.minimum(scale, size_px / height_width.max(axis=1)), scale)
        side = (size_px / scale)[:, None]
        room = np.maximum(height_width - side, 0)
        centre = np.where(height_width > side, side / 2 + anywhere * room, height_width / 2)
        for at in np.flatnonzero(sought & ~whole):
            crack = self._cracks[picture[at]]
            if len(crack):
                wanted = crack[int(where[at] * len(crack))] + inside[at] * side[at]
                low = np.minimum(side[at] / 2, height_width[at] / 2)
                centre[at] = np.clip(wanted, low, height_width[at] - low)
        if augment.flip_vertical:  # half a turn of the mirror's picture
            upturned = rng.random(count) < 0.5
            angle, mirrored = angle + np.pi * upturned, mirrored ^ upturned
        shear = np.zeros(count)
        if augment.shear_deg:
            shear = rng.uniform(-1, 1, count) * math.radians(augment.shear_deg)
        if augment.shift:
            centre = centre + rng.uniform(-1, 1, (count, 2)) * augment.shift * side * ~whole[:, None]
        return Draws(picture, scale, centre, angle, mirrored, shear)

    def crops(self, draws: Draws, size_px: int, border: Border = "reflect") -> Tensor:
        """Return (N, 5, size_px, size_px) float32, 0 to 255: red, green, blue, crack, not to be learnt from.

        Args:
            draws: see `draw`.
            size_px: edge of the crops, px.
            border: what fills a crop beyond its picture.
        """
        made = self._warped if self.device.type == "cpu" else self.gathered
        return made(draws, size_px, border)

    def gathered(self, draws: Draws, size_px: int, border: Border = "reflect") -> Tensor:
        """Return `crops` as a GPU makes them: all of a level at once."""
        level = _level(draws.scale)
        out = torch.empty((len(level), _CHANNELS, size_px, size_px), device=self.device)
        for at in np.unique(level):
            chosen = np.flatnonzero(level == at)
            out[torch.from_numpy(chosen).to(self.device)] = self._of_level(draws, chosen, int(at), size_px, border)
        return out

    def _warped(self, draws: Draws, size_px: int, border: Border) -> Tensor:
        """Return `crops` as a CPU makes them several times as fast: one by one, places rounded to 1/32 px."""
        level = _level(draws.scale)
        out = np.empty((len(level), size_px, size_px, _CHANNELS), np.uint8)
        flags, middle = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (size_px - 1) / 2
        for at, (depth, picture) in enumerate(zip(level, draws.picture, strict=True)):
            height, width = self._level_sizes[depth, picture]
            start = self._offsets[depth, picture]
            content = self._pixels[depth][start : start + height * width].numpy().reshape(height, width, _CHANNELS)
            step = 1 / (draws.scale[at] * 2.0**depth)  # px of this level per px of the crop
            mirror = np.diag([-1.0 if draws.mirrored[at] else 1.0, 1.0])
            turn = step * sampling_matrix(draws.angle[at], 0.0) @ mirror @ sampling_matrix(0.0, draws.shear[at])
            centre = draws.centre_yx[at, ::-1] / 2.0**depth - 0.5
            place = np.column_stack([turn, centre - turn @ (middle, middle)])
            out[at] = cv2.warpAffine(content, place, (size_px, size_px), flags=flags, borderMode=BORDERS[border])
        return torch.from_numpy(out).permute(0, 3, 1, 2).float()

    def _of_level(self, draws: Draws, chosen: NDArray[np.int64], level: int, size_px: int, border: Border) -> Tensor:
        def sent(values: NDArray[np.generic], kind: torch.dtype) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, kind)[:, None, None]

        picture = draws.picture[chosen]
        height, width = (sent(self._level_sizes[level, picture, axis], torch.int64) for axis in (0, 1))
        offset = sent(self._offsets[level, picture], torch.int64)
        step = 1 / (draws.scale[chosen] * 2**level)  # px of this level per px of the crop
        cos, sin = (sent(f(draws.angle[chosen]) * step, torch.float32) for f in (np.cos, np.sin))
        mirror = sent(np.where(draws.mirrored[chosen], -1.0, 1.0), torch.float32)
        centre_y, centre_x = (sent(draws.centre_yx[chosen, axis] / 2**level, torch.float32) for axis in (0, 1))
        line = torch.arange(size_px, device=self.device, dtype=torch.float32) + 0.5 - size_px / 2
        v = line[None, :, None]
        u = (line[None, None, :] + sent(np.tan(draws.shear[chosen]), torch.float32) * v) * mirror
        x, y = centre_x + cos * u - sin * v - 0.5, centre_y + sin * u + cos * v - 0.5
        left, top = x.floor(), y.floor()
        right_share, below_share = (x - left)[..., None], (y - top)[..., None]
        inside = _reflected if border == "reflect" else _nearest
        columns = [inside(left.long() + i, width) for i in (0, 1)]
        rows = [offset + inside(top.long() + i, height) * width for i in (0, 1)]

        def taken(row: Tensor, column: Tensor) -> Tensor:
            found = self._pixels[level].index_select(0, (row + column).ravel())
            return found.view(len(chosen), size_px, size_px, _CHANNELS).float()

        upper, lower = (torch.lerp(taken(row, columns[0]), taken(row, columns[1]), right_share) for row in rows)
        return torch.lerp(upper, lower, below_share).permute(0, 3, 1, 2)

    def known(self, picture: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return of each picture whether its mask is known, and whether it holds a crack."""
        return self._masked[picture], self._cracked[picture]


class ResidentBatches(Dataset[Batch]):
    """The batches of one epoch.

    Args:
        pictures: see `ResidentPictures`.
        task: what they are to teach.
        crop_px: edge of a crop, px.
        augment: how crops are varied.
        gate: how many crack pixels make a gate's crop a crack.
        seed: of the run.
        epoch: from 0.
        batches: in the epoch.
        crops: of a batch, for all processes together.
        rank: of this process.
        processes: that share each batch.
    """

    def __init__(
        self,
        pictures: ResidentPictures,
        *,
        task: Task,
        crop_px: int,
        augment: Augment,
        gate: GateLabel,
        seed: int,
        epoch: int,
        batches: int,
        crops: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._pictures, self._task, self._crop_px, self._augment, self._gate = pictures, task, crop_px, augment, gate
        self._seed, self._epoch, self._batches, self._crops = seed, epoch, batches, crops
        self._rank, self._processes = rank, processes

    def __len__(self) -> int:
        return self._batches

    def __getitem__(self, index: int) -> Batch:
        """Return this process's share of batch `index` of the epoch; of a gate's, what can be called crack or clean."""
        rng = np.random.default_rng([self._seed, self._epoch, index])
        count = self._crops if self._task == "segment" else math.ceil(self._crops * _SPARE)
        draws = _share(self._pictures.draw(rng, count, self._crop_px, self._augment), self._rank, self._processes)
        content = self._pictures.crops(draws, self._crop_px, self._augment.border)
        least = np.where(draws.scale * 2.0 ** _level(draws.scale) < 1, _BETWEEN, _THIN).astype(np.float32)
        mask = (content[:, 3:4] / 255 >= torch.from_numpy(least).to(content.device)[:, None, None, None]).float()
        masked, cracked = self._pictures.known(draws.picture)
        keep = torch.arange(len(mask), device=content.device)
        label = torch.from_numpy(cracked).to(content.device)
        if self._task == "gate":
            known = torch.from_numpy(masked).to(content.device)
            pixels = mask.sum(dim=(1, 2, 3))
            label = torch.where(known, pixels >= self._gate.min_crack_px, label)
            keep = keep[~known | (pixels == 0) | label][: self._crops // self._processes]
        elif len(mask):
            label = mask.flatten(1).any(dim=1)
        look = np.random.default_rng([self._seed, self._epoch, index, 1 + self._rank])
        image = photographed(look, content[keep, :3] / 255, self._augment)
        ignore = (content[keep, 4:5] >= 127.5) & (mask[keep] == 0)
        return Batch(
            image=image,
            mask=mask[keep] * torch.from_numpy(masked).to(content.device)[keep][:, None, None, None],
            masked=torch.from_numpy(masked).to(content.device)[keep],
            label=label[keep].long(),
            skipped=self._pictures.skipped if index == 0 and self._epoch == 0 else [],
            ignore=ignore if self._task == "segment" else None,
        )


def _read(part: Part, index: int) -> tuple[UInt8, NDArray[np.int32], bool, bool]:
    """Return rows of five channels, where crack pixels lie (n, 2), whether the mask is known, and the label.

    Raises:
        InputError: it cannot be read.
    """
    picture = part.source.load(index)
    height, width = picture.image_rgb.shape[:2]
    if min(height, width) < 2 ** (_LEVELS - 1):
        raise InputError(f"{part.source.label(index)}: {width}x{height} px is too small to learn from")
    rows = np.zeros((height, width, _CHANNELS), np.uint8)
    rows[..., :3] = picture.image_rgb
    crack = np.zeros((0, 2), np.int32)
    if picture.mask is not None:
        mask = widened(picture.image_rgb, picture.mask, part.widen_px)
        rows[..., 3], rows[..., 4] = mask * 255, margin(mask, part.margin_px) * 255
        crack = np.argwhere(mask).astype(np.int32)
    return rows, crack, picture.mask is not None, picture.cracked


def _pyramid(rows: UInt8) -> Iterator[UInt8]:
    """Yield the picture, and its copies of half and of quarter extent, each averaged from the one before.

    Extents that are odd lose a part of a pixel: at most half a pixel of the copy over the whole picture.
    """
    for level in range(_LEVELS):
        if level:
            height, width = rows.shape[0] // 2, rows.shape[1] // 2
            halves = [cv2.resize(rows[..., c], (width, height), interpolation=cv2.INTER_AREA) for c in range(_CHANNELS)]
            halves[3] = (halves[3] >= 255 * _THIN).astype(np.uint8) * 255  # a line of 1 px stays one
            rows = np.stack(halves, axis=-1)
        yield rows


def _level(scale: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which copy is nearest in size."""
    return np.clip(np.floor(np.log2(1 / scale) + 0.5), 0, _LEVELS - 1).astype(np.int64)


def _share(draws: Draws, rank: int, processes: int) -> Draws:
    own = slice(rank, None, processes)
    return Draws(
        draws.picture[own],
        draws.scale[own],
        draws.centre_yx[own],
        draws.angle[own],
        draws.mirrored[own],
        draws.shear[own],
    )


def _reflected(index: Tensor, length: Tensor) -> Tensor:
    """Return indices brought into 0 to length - 1 by reflection that does not repeat the edge."""
    period = (2 * (length - 1)).clamp_min(1)
    folded = index.remainder(period)
    return torch.minimum(folded, period - folded)


def _nearest(index: Tensor, length: Tensor) -> Tensor:
    """Return indices brought into 0 to length - 1 by the nearest of them."""
    return torch.minimum(index.clamp_min(0), length - 1)
