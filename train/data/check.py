"""What is wrong with a folder of photos, before a night of training finds out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.strict import Strict
from agent.errors import InputError
from train.data.reading import list_files, read_mask, read_rgb
from train.data.splits import group_names
from train.settings import Grouping

if TYPE_CHECKING:
    from train.data.sources import Sides

NEAR_BITS = 4  # of 64: hashes that differ in no more belong to near-duplicates
_HASH_PX = 32


class Fault(Strict):
    """Something to repair."""

    file: str
    fault: str


class DataCheck(Strict):
    """What a folder holds."""

    folder: str
    kind: str
    pictures: int
    sizes: dict[str, int]  # "WxH" -> pictures
    crack_share: float | None  # of all mask pixels; None without masks
    without_crack: int | None  # pictures whose mask is empty; None without masks
    groups: int
    near_duplicates: tuple[tuple[str, str], ...]
    leaks: tuple[tuple[str, str], ...]  # near-duplicates in different groups: a split by group would part them
    faults: tuple[Fault, ...]


def check_folder(folder: Path, grouping: Grouping, on_progress: Callable[[int, int], None] | None = None) -> DataCheck:
    """Look at every file of a folder with `images/` and `masks/`, or with `crack/` and `clean/`.

    Args:
        folder: to be checked.
        grouping: the groups that a split would keep together.
        on_progress: called with the pictures done and their number.

    Raises:
        InputError: the folder has neither form.
    """
    paired = (folder / "images").is_dir()
    if not paired and not ((folder / "crack").is_dir() and (folder / "clean").is_dir()):
        raise InputError(f"{folder}: has neither images/ and masks/ nor crack/ and clean/")
    parts = ["images"] if paired else ["crack", "clean"]
    paths = [path for part in parts for path in list_files(folder / part)]
    faults: list[Fault] = []
    if paired:
        faults += _unpaired(paths, folder / "masks")
    sizes: dict[str, int] = defaultdict(int)
    hashes: dict[Path, int] = {}
    crack = total = empty = 0
    for done, path in enumerate(paths, start=1):
        try:
            image = read_rgb(path)
            hashes[path] = perceptual_hash(image)
            sizes[f"{image.shape[1]}x{image.shape[0]}"] += 1
            if paired:
                mask_path = _mask_of(path, folder / "masks")
                if mask_path is not None:
                    mask = read_mask(mask_path, image.shape)
                    crack, total, empty = crack + int(mask.sum()), total + mask.size, empty + int(not mask.any())
        except InputError as exc:
            file, _, fault = str(exc).partition(": ")
            faults.append(Fault(file=file, fault=fault))
        if on_progress is not None:
            on_progress(done, len(paths))
    names = [f"{path.parent.name}/{path.stem}" if not paired else path.stem for path in paths]
    groups = dict(zip(paths, group_names(names, grouping), strict=True))
    twins = list(near_duplicates(hashes))
    return DataCheck(
        folder=str(folder),
        kind="pairs" if paired else "classes",
        pictures=len(paths),
        sizes=dict(sizes),
        crack_share=crack / total if total else None,
        without_crack=empty if paired else None,
        groups=len(set(groups.values())),
        near_duplicates=tuple((str(a), str(b)) for a, b in twins),
        leaks=tuple((str(a), str(b)) for a, b in twins if groups[a] != groups[b]),
        faults=tuple(faults),
    )


def perceptual_hash(image_rgb: UInt8) -> int:
    """Return 64 bits that survive scaling, recompression and a change of brightness.

    The 8 x 8 lowest frequencies of the cosine transform of a 32 px grey thumbnail, each above or below their median
    (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1).
    """
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_HASH_PX, _HASH_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[1:9, 1:9].ravel()
    bits = np.packbits(low > np.median(low))
    return int.from_bytes(bits.tobytes(), "big")


def leaking(sides: Sides) -> tuple[tuple[str, str], ...]:
    """Return pairs of photos that are all but equal, one learnt from and the other judged by.

    Photos are read one by one; those that cannot be read are left to the run, which counts them.
    """
    hashes: list[dict[str, int]] = []
    for parts in (sides.training, sides.validation):
        found: dict[str, int] = {}
        for part in parts:
            for index in part.indices if part.source.real else ():
                with suppress(InputError):
                    found[part.source.label(index)] = perceptual_hash(part.source.load(index).image_rgb)
        hashes.append(found)
    learnt, judged = hashes
    names, codes = list(learnt), np.array(list(learnt.values()), np.uint64)
    return tuple(
        (names[int(near)], name)
        for name, code in judged.items()
        for near in np.flatnonzero(np.bitwise_count(codes ^ np.uint64(code)) <= NEAR_BITS)
    )


def near_duplicates(hashes: dict[Path, int]) -> Iterator[tuple[Path, Path]]:
    """Yield pairs of files whose hashes differ in at most `NEAR_BITS` bits."""
    paths = list(hashes)
    codes = np.array([hashes[path] for path in paths], np.uint64)
    for index in range(len(paths) - 1):
        distance = np.bitwise_count(codes[index + 1 :] ^ codes[index])
        for other in np.flatnonzero(distance <= NEAR_BITS):
            yield paths[index], paths[index + 1 + int(other)]


def _unpaired(images: list[Path], masks: Path) -> Iterator[Fault]:
    if not masks.is_dir():
        yield Fault(file=str(masks), fault="no such folder")
        return
    stems = {path.stem for path in images}
    for path in images:
        if _mask_of(path, masks) is None:
            yield Fault(file=str(masks / f"{path.stem}.png"), fault=f"missing, the mask of {path.name}")
    for path in list_files(masks):
        if path.stem not in stems:
            yield Fault(file=str(path), fault="a mask without a photo")


def _mask_of(image: Path, masks: Path) -> Path | None:
    return next((path for path in sorted(masks.glob(f"{image.stem}.*")) if path.stem == image.stem), None)
