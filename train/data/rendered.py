"""A pool of rendered surfaces and cracks, drawn once per run."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np

from agent.contract.arrays import Bool, UInt8
from agent.simulate.inspection.close_ups import render_close_up
from agent.simulate.inspection.views import render_view
from agent.simulate.patches import render_patch
from train.data.picture import Picture

CHUNK: Final = 50  # patches of a kept file
Kind: TypeAlias = Literal["rendered", "close_ups", "views"]
_STREAM = 0x5EED  # keeps the pool's random numbers apart from those of the crops


class _Drawn(Protocol):
    @property
    def image_rgb(self) -> UInt8: ...

    @property
    def mask(self) -> Bool: ...


class _Drawer(Protocol):
    def __call__(self, rng: np.random.Generator, size_px: int, /) -> _Drawn: ...


_DRAWERS: Final[Mapping[Kind, _Drawer]] = {
    "rendered": render_patch,
    "close_ups": render_close_up,
    "views": render_view,
}


class RenderedPool:
    """Rendered patches in memory: 4 bytes per pixel, 1 MiB for a patch of 512 px.

    Args:
        name: what to call it.
        count: patches.
        size_px: their edge, px.
        kind: painted flat, with relief, or as a camera sees it on a flight.
        seed: patch i follows from this seed and i alone, so a longer pool begins like a shorter one.
        cache: folder that keeps rendered patches, in files that processes may write side by side; None for none.
        on_progress: called with the patches done so far, after each.
    """

    real = False

    def __init__(
        self,
        name: str,
        *,
        count: int,
        size_px: int,
        seed: int,
        kind: Kind = "rendered",
        cache: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        self.name = name
        self._images = np.empty((count, size_px, size_px, 3), np.uint8)
        self._masks = np.empty((count, size_px, size_px), np.bool_)
        step = 1 if cache is None else CHUNK
        for start in range(0, count, step):
            end = min(start + step, count)
            images, masks = rendered_chunk(start, kind=kind, size_px=size_px, seed=seed, cache=cache, count=end - start)
            self._images[start:end], self._masks[start:end] = images, masks
            if on_progress is not None:
                on_progress(end)
        self.groups = tuple(str(index) for index in range(count))

    def __len__(self) -> int:
        return len(self._images)

    def label(self, index: int) -> str:
        """Return the patch's number."""
        return f"{self.name} patch {index}"

    def has_mask(self, index: int) -> bool:  # noqa: ARG002
        """All have one."""
        return True

    def load(self, index: int) -> Picture:
        """Return a patch; its arrays are views, not to be written to."""
        mask = self._masks[index]
        return Picture(image_rgb=self._images[index], mask=mask, cracked=bool(mask.any()))

    def sha256(self) -> str:
        """Return a hash over all pixels and masks."""
        digest = hashlib.sha256(self._images.tobytes())
        digest.update(self._masks.tobytes())
        return digest.hexdigest()


def rendered_chunk(
    start: int, *, size_px: int, seed: int, cache: Path | None, count: int = CHUNK, kind: Kind = "rendered"
) -> tuple[UInt8, Bool]:
    """Return `count` patches from number `start` on, (count, size, size, 3) and (count, size, size), kept or rendered.

    What is kept is always a whole chunk, so that pools of any length share it.
    """
    path = None if cache is None else chunk_file(cache, start, kind=kind, size_px=size_px, seed=seed)
    if path is not None and path.exists():
        try:
            with path.open("rb") as stream, np.load(stream) as kept:
                return kept["images"][:count], kept["masks"][:count]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)  # cut short by a full disk, for instance: rendered again
    wanted = count if path is None else CHUNK
    images = np.empty((wanted, size_px, size_px, 3), np.uint8)
    masks = np.empty((wanted, size_px, size_px), np.bool_)
    for index in range(wanted):
        patch = _DRAWERS[kind](np.random.default_rng([_STREAM, seed, start + index]), size_px)
        images[index], masks[index] = patch.image_rgb, patch.mask
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
        np.savez(beside, images=images, masks=masks)
        beside.replace(path)
    return images[:count], masks[:count]


def chunk_file(cache: Path, start: int, *, kind: Kind, size_px: int, seed: int) -> Path:
    """Return where the chunk from patch `start` on is kept."""
    return cache / f"{kind}-{seed}-{size_px}-{start}.npz"
