"""The pictures that the page carries inside it: the worst ones, within a budget of bytes."""

from __future__ import annotations

import base64
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.errors import OutputError
from agent.report.figures import Rank

JPEG_QUALITY: Final = 90


def jpeg(picture_rgb: UInt8, *, quality: int = JPEG_QUALITY) -> bytes:
    """Return a picture (H, W, 3) as JPEG.

    Raises:
        OutputError: too large for a JPEG, 65,535 px.
    """
    done, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise OutputError(f"a picture of {picture_rgb.shape[1]}x{picture_rgb.shape[0]} px cannot become a JPEG")
    return encoded.tobytes()


@dataclass(frozen=True, slots=True, order=True)
class Picture:
    """A picture on the shelf; the worse, the greater."""

    rank: Rank
    later: int  # minus its turn: of equals the first stays
    key: str = field(compare=False)
    content: bytes = field(compare=False)
    width: int = field(compare=False)  # px
    height: int = field(compare=False)
    of: str = field(compare=False)  # what it shows

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        return "data:image/jpeg;base64," + base64.b64encode(self.content).decode("ascii")


class Shelf:
    """Holds the worst pictures; what is pushed off is forgotten, so memory stays bounded.

    Args:
        budget: bytes of all pictures together.
        most: pictures at the same time.
        quality: of the JPEGs.
    """

    def __init__(self, *, budget: int, most: int, quality: int) -> None:
        self._budget = budget
        self._most = most
        self._quality = quality
        self._heap: list[Picture] = []
        self._bytes = 0
        self._turn = 0
        self._pushed_off: Rank | None = None

    def wants(self, rank: Rank, *, of: str | None = None) -> bool:
        """Whether a picture of this rank would stay: spares drawing those that would not.

        Args:
            rank: of the picture.
            of: what it shows; of each thing only the worst picture stays. None: nothing that another shows too.
        """
        there = next((one for one in self._heap if of is not None and one.of == of), None)
        return (self._pushed_off is None or rank > self._pushed_off) and (there is None or rank > there.rank)

    def put(self, key: str, rank: Rank, picture_rgb: UInt8, *, of: str | None = None) -> None:
        """Put a picture on the shelf, and take off the least bad until it fits.

        Args:
            key: by which it is found again.
            rank: the worse, the greater.
            picture_rgb: (H, W, 3).
            of: what it shows, by default its key; a picture of the same that is no worse goes.
        """
        content = jpeg(picture_rgb, quality=self._quality)
        height, width = np.shape(picture_rgb)[:2]
        of = key if of is None else of
        for old in [one for one in self._heap if one.of == of]:
            if old.rank >= rank:
                return
            self._heap.remove(old)
            self._bytes -= len(old.content)
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, Picture(rank, -self._turn, key, content, width, height, of))
        self._turn += 1
        self._bytes += len(content)
        while self._bytes > self._budget or len(self._heap) > self._most:
            gone = heapq.heappop(self._heap)
            self._bytes -= len(gone.content)
            self._pushed_off = gone.rank

    def __iter__(self) -> Iterator[Picture]:
        """Yield the pictures, the worst first."""
        return iter(sorted(self._heap, reverse=True))
