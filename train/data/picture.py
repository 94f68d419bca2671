"""A picture to learn from, and where pictures come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.contract.arrays import Bool, UInt8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """One picture and what is known about it."""

    image_rgb: UInt8  # (H, W, 3)
    mask: Bool | None  # (H, W), True is crack; None where only `cracked` is known
    cracked: bool


class PictureSource(Protocol):
    """A set of pictures. Loading is a pure function of the index, so that worker processes agree."""

    name: str
    real: bool  # photos, as opposed to rendered
    groups: tuple[str, ...]  # per picture; equal ones show the same place

    def __len__(self) -> int: ...

    def label(self, index: int) -> str:
        """Return what to call a picture in a message."""
        ...

    def has_mask(self, index: int) -> bool:
        """Say whether it is known where in the picture the cracks are."""
        ...

    def load(self, index: int) -> Picture:
        """Read one picture.

        Raises:
            InputError: it cannot be read or does not fit its mask.
        """
        ...

    def sha256(self) -> str:
        """Return a hash over the names and bytes of everything in it."""
        ...
