"""Photos in folders: `images/` with `masks/`, or `crack/` and `clean/`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from train.data.layouts import LAYOUTS, Layout
from train.data.picture import Picture
from train.data.reading import list_files, read_rgb
from train.data.splits import group_names
from train.settings import Grouping


class PairFolder:
    """Photos with a mask each.

    Args:
        name: what to call it.
        folder: of the set.
        grouping: what a split keeps together.
        layout: where photos and masks lie in it.

    Raises:
        InputError: a folder is missing or empty, or a photo has no mask.
    """

    real = True

    def __init__(self, name: str, folder: Path, grouping: Grouping, layout: Layout = LAYOUTS["plain"]) -> None:
        self.name = name
        self._pairs = layout.pairs(folder)
        self._read_truth = layout.read
        self.groups = group_names([photo.stem for photo, _ in self._pairs], grouping)

    def __len__(self) -> int:
        return len(self._pairs)

    def label(self, index: int) -> str:
        """Return the photo's path."""
        return str(self._pairs[index][0])

    def has_mask(self, index: int) -> bool:  # noqa: ARG002
        """All have one."""
        return True

    def load(self, index: int) -> Picture:
        """Read a photo and its mask.

        Raises:
            InputError: either cannot be decoded, their sizes differ, or the mask is none.
        """
        photo, truth = self._pairs[index]
        image = read_rgb(photo)
        mask = self._read_truth(truth, image.shape[:2])
        return Picture(image_rgb=image, mask=mask, cracked=bool(mask.any()))

    def sha256(self) -> str:
        """Return a hash over the names and bytes of photos and masks."""
        photos, truths = zip(*self._pairs, strict=True)
        return _hash([*photos, *truths])


class ClassFolder:
    """Photos that are known to hold a crack or none.

    Args:
        name: what to call it.
        folder: of the set.
        grouping: within each of its folders.
        crack: the folders in it whose photos have a crack.
        clean: those whose photos have none.

    Raises:
        InputError: a folder is missing or empty.
    """

    real = True

    def __init__(
        self,
        name: str,
        folder: Path,
        grouping: Grouping,
        *,
        crack: Sequence[str] = ("crack",),
        clean: Sequence[str] = ("clean",),
    ) -> None:
        self.name = name
        images = {part: list_files(folder / part) for part in (*clean, *crack)}
        self._images = [path for paths in images.values() for path in paths]
        self._clean = sum(len(images[part]) for part in clean)
        self.groups = tuple(
            f"{part}/{group}"
            for part, paths in images.items()
            for group in group_names([p.stem for p in paths], grouping)
        )

    def __len__(self) -> int:
        return len(self._images)

    def label(self, index: int) -> str:
        """Return the photo's path."""
        return str(self._images[index])

    def has_mask(self, index: int) -> bool:
        """Clean photos do: an empty one."""
        return index < self._clean

    def load(self, index: int) -> Picture:
        """Read a photo; a clean one has an empty mask, a cracked one has none.

        Raises:
            InputError: it cannot be decoded.
        """
        image = read_rgb(self._images[index])
        cracked = index >= self._clean
        return Picture(image_rgb=image, mask=None if cracked else np.zeros(image.shape[:2], np.bool_), cracked=cracked)

    def sha256(self) -> str:
        """Return a hash over the names and bytes of all photos."""
        return _hash(self._images)


def _hash(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.parent.name}/{path.name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
