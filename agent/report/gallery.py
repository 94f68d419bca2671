"""The pictures of cracks that the page carries inside it: the worst ones, within a budget of bytes."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.flight import CrackRow
from agent.report.figures import Rank, badness
from agent.report.pictures import jpeg

CROP_QUALITY: Final = 85
OVERVIEW_QUALITY: Final = 75


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG."""

    content: bytes
    width: int  # px
    height: int

    @classmethod
    def of(cls, picture_rgb: UInt8, *, quality: int) -> Picture:
        """Encode a picture (H, W, 3)."""
        height, width = np.shape(picture_rgb)[:2]
        return cls(jpeg(picture_rgb, quality=quality), width, height)

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        return "data:image/jpeg;base64," + base64.b64encode(self.content).decode("ascii")


@dataclass(frozen=True, slots=True)
class Portrait:
    """A crack's two pictures, both of one frame."""

    crack: CrackRow  # the sighting, without lines and mask
    rank: Rank
    turn: int
    crop: Picture
    overview: Picture

    @property
    def size(self) -> int:
        """Bytes in the page before they become base64."""
        return len(self.crop.content) + len(self.overview.content)


class Gallery:
    """Holds the pictures of the worst cracks, each as it is seen best; what is pushed off is forgotten.

    Args:
        budget: bytes of all pictures together, an overview counted for each crack that it is shown with.
        most: cracks at the same time.
    """

    def __init__(self, *, budget: int, most: int) -> None:
        self._budget = budget
        self._most = most
        self._held: dict[str, Portrait] = {}
        self._bytes = 0
        self._turn = 0
        self._pushed_off: Rank | None = None

    def wants(self, crack: CrackRow) -> bool:
        """Whether pictures of this sighting would stay: spares drawing those that would not."""
        there = self._held.get(crack.crack_id)
        if there is not None:
            return _clearness(crack) > _clearness(there.crack)
        return self._pushed_off is None or badness(crack) > self._pushed_off

    def put(self, crack: CrackRow, crop: Callable[[], Picture], overview: Callable[[], Picture]) -> None:
        """Take a sighting's pictures if they are wanted, and let go of the least bad crack's until all fit.

        Args:
            crack: the sighting, without lines and mask.
            crop: draws the close view.
            overview: draws the frame, or returns what another crack of it is shown with.
        """
        if not self.wants(crack):
            return
        if (old := self._held.pop(crack.crack_id, None)) is not None:
            self._bytes -= old.size
        new = Portrait(crack, badness(crack), -self._turn, crop(), overview())
        self._turn += 1
        self._held[crack.crack_id] = new
        self._bytes += new.size
        while self._bytes > self._budget or len(self._held) > self._most:
            gone = min(self._held.values(), key=lambda one: (one.rank, one.turn))
            del self._held[gone.crack.crack_id]
            self._bytes -= gone.size
            self._pushed_off = gone.rank if self._pushed_off is None else max(gone.rank, self._pushed_off)

    def of(self, crack_ids: Iterable[str]) -> Portrait | None:
        """Return the clearest pictures of a crack, which may have had several ids."""
        found = [self._held[one] for one in crack_ids if one in self._held]
        return max(found, key=lambda one: (_clearness(one.crack), one.turn)) if found else None

    def __iter__(self) -> Iterator[Portrait]:
        """Yield what is held, the worst first."""
        return iter(sorted(self._held.values(), key=lambda one: (one.rank, one.turn), reverse=True))


def _clearness(crack: CrackRow) -> tuple[bool, float, float]:
    """Return how well a sighting shows a crack: as tracks choose their best."""
    scale = crack.scale_mm_px
    return crack.gradable, -round(math.log(scale) * 5) / 5 if scale else 0.0, round(crack.length_px, 3)
