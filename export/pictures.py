"""The pictures that INT8 takes its ranges from, and those that every variant is judged on. They share none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.errors import InputError
from agent.simulate.patches import render_patch
from export.settings import ExportSettings, PhotoSet
from train.data.augment import pad
from train.data.folders import PairFolder
from train.data.picture import Picture
from train.data.reading import list_files, read_rgb
from train.data.splits import split
from train.settings import Grouping

_CALIBRATION_SEED: Final = 0xCA1
_VALIDATION_SEED: Final = 0x7A1


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedSet:
    """Pictures with their truth, read one at a time."""

    name: str
    data: str  # which they are, in words
    load: Sequence[Callable[[], Picture]]

    def __iter__(self) -> Iterator[Picture]:
        return (load() for load in self.load)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Tiles of the segmenter's size."""

    tiles: UInt8  # (N, H, W, 3)
    data: tuple[str, ...]  # which they are, in words


def calibration(settings: ExportSettings, folders: Sequence[Path] = ()) -> Calibration:
    """Return the tiles that the settings name; with folders of pictures, those and nothing else.

    Larger pictures give their middle, smaller ones are continued by reflection.

    Raises:
        InputError: a folder is missing or empty, or a picture cannot be decoded.
    """
    edge = settings.tile_px
    if folders:
        found = [(folder, list_files(folder)) for folder in folders]
        tiles = [_tile(read_rgb(path), edge) for _, paths in found for path in paths]
        return Calibration(
            tiles=np.stack(tiles), data=tuple(f"{folder.name}: {len(paths)} pictures" for folder, paths in found)
        )
    count = settings.calibration.rendered
    tiles = [render_patch(np.random.default_rng([_CALIBRATION_SEED, index]), edge).image_rgb for index in range(count)]
    data = [f"rendered: {count} surfaces"] if count else []
    for photos in settings.calibration.photos:
        source, chosen = _chosen(settings, photos, held_out=False)
        tiles += [_tile(source.load(index).image_rgb, edge) for index in chosen]
        data.append(f"{photos.name}: {len(chosen)} pictures{' that are not held out' if photos.held_out else ''}")
    return Calibration(tiles=np.stack(tiles) if tiles else np.empty((0, edge, edge, 3), np.uint8), data=tuple(data))


def validation(settings: ExportSettings, folders: Sequence[Path] = ()) -> list[JudgedSet]:
    """Return the sets that the settings name; with folders that hold images/ and masks/, those and nothing else.

    Raises:
        InputError: a folder is missing or empty, or a photo has no mask.
    """
    if folders:
        return [_judged(PairFolder(folder.name, folder, Grouping()), None, "all pictures") for folder in folders]
    sets = [_rendered(settings.validation.rendered, settings.tile_px)] if settings.validation.rendered else []
    for photos in settings.validation.photos:
        source, chosen = _chosen(settings, photos, held_out=True)
        what = "held out of training and calibration" if photos.held_out else "no network was trained on them"
        sets.append(_judged(source, chosen, f"{len(chosen)} of {len(source)} pictures, {what}"))
    return sets


def _chosen(settings: ExportSettings, photos: PhotoSet, *, held_out: bool) -> tuple[PairFolder, list[int]]:
    """Return a set and the indices of one side of its split, thinned evenly to its limit."""
    source = PairFolder(photos.name, settings.data_root / photos.folder, photos.groups)
    sides = split(source.groups, photos.held_out, photos.seed) if photos.held_out else (range(len(source)),) * 2
    side = list(sides[1 if held_out else 0])
    if photos.limit is not None and len(side) > photos.limit:
        side = [side[int(place)] for place in np.linspace(0, len(side) - 1, photos.limit)]
    if not side:
        raise InputError(f"{settings.data_root / photos.folder}: no picture is left on this side of the split")
    return source, side


def _judged(source: PairFolder, chosen: Sequence[int] | None, data: str) -> JudgedSet:
    indices = range(len(source)) if chosen is None else chosen

    def loader(index: int) -> Callable[[], Picture]:
        return lambda: source.load(index)

    return JudgedSet(name=source.name, data=data, load=[loader(index) for index in indices])


def _rendered(count: int, edge: int) -> JudgedSet:
    def loader(index: int) -> Callable[[], Picture]:
        def load() -> Picture:
            patch = render_patch(np.random.default_rng([_VALIDATION_SEED, index]), edge)
            return Picture(image_rgb=patch.image_rgb, mask=patch.mask, cracked=bool(patch.mask.any()))

        return load

    return JudgedSet(name="rendered", data=f"{count} surfaces", load=[loader(index) for index in range(count)])


def _tile(image_rgb: UInt8, edge: int) -> UInt8:
    padded, _ = pad(image_rgb, None, edge, edge)
    top, left = (padded.shape[0] - edge) // 2, (padded.shape[1] - edge) // 2
    return np.ascontiguousarray(padded[top : top + edge, left : left + edge])


def reduced(tiles: UInt8, edge: int) -> UInt8:
    """Return tiles as the gate sees them, (N, edge, edge, 3)."""
    small = [cv2.resize(tile, (edge, edge), interpolation=cv2.INTER_AREA) for tile in tiles]
    return np.asarray(small, np.uint8).reshape(-1, edge, edge, 3)
