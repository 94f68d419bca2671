"""A pool of rendered surfaces and cracks, drawn once per run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from agent.simulate.patches import render_patch
from train.data.picture import Picture

_STREAM = 0x5EED  # keeps the pool's random numbers apart from those of the crops


class RenderedPool:
    """Rendered patches in memory: 4 bytes per pixel, 1 MiB for a patch of 512 px.

    Args:
        name: what to call it.
        count: patches.
        size_px: their edge, px.
        seed: patch i follows from this seed and i alone, so a longer pool begins like a shorter one.
        on_progress: called with the patches done so far, after each.
    """

    real = False

    def __init__(
        self, name: str, *, count: int, size_px: int, seed: int, on_progress: Callable[[int], None] | None = None
    ) -> None:
        self.name = name
        self._images = np.empty((count, size_px, size_px, 3), np.uint8)
        self._masks = np.empty((count, size_px, size_px), np.bool_)
        for index in range(count):
            patch = render_patch(np.random.default_rng([_STREAM, seed, index]), size_px)
            self._images[index], self._masks[index] = patch.image_rgb, patch.mask
            if on_progress is not None:
                on_progress(index + 1)
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
