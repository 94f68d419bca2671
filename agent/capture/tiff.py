"""Tags of a TIFF structure (TIFF 6.0, EXIF 2.3 and GeoTIFF share it), read from bytes that may be damaged or hostile.

No library that the agent carries reads them: OpenCV decodes the picture and leaves the tags.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

Value: TypeAlias = str | bytes | tuple[float, ...]

MOST_TAGS: Final = 512  # of a directory
MOST_VALUES: Final = 65_536  # of a tag: what is longer is picture data
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_CODES: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}


class Directory:
    """The tags of a directory by number; none where the bytes are no TIFF.

    Args:
        content: begins with the TIFF header.
        offset: of the directory; None takes the first one.
    """

    def __init__(self, content: bytes, offset: int | None = None) -> None:
        self._content = content
        self._order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4], "")
        self._tags: dict[int, tuple[int, int, int]] = {}
        if self._order:
            self._tags = dict(self._entries(self._number(4, "I") if offset is None else offset))

    def __contains__(self, tag: int) -> bool:
        return tag in self._tags

    def text(self, tag: int) -> str | None:
        """Return a tag of letters, without what ends it; None where it is not there or no text."""
        raw = self._raw(tag, {2, 7})
        return raw.split(b"\0")[0].decode("utf-8", "replace").strip() or None if raw is not None else None

    def raw(self, tag: int) -> bytes | None:
        """Return a tag of bytes."""
        return self._raw(tag, {1, 2, 7})

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Return a tag of numbers, empty where it is not there; a fraction over zero is NaN."""
        kind, count, at = self._tags.get(tag, (0, 0, 0))
        if kind in {5, 10} and self._fits(at, count * 8):
            code = "I" if kind == 5 else "i"
            parts = struct.unpack_from(f"{self._order}{2 * count}{code}", self._content, at)
            return tuple(a / b if b else float("nan") for a, b in zip(parts[::2], parts[1::2], strict=True))
        if kind in _CODES and self._fits(at, count * _SIZES[kind]):
            return tuple(map(float, struct.unpack_from(f"{self._order}{count}{_CODES[kind]}", self._content, at)))
        return ()

    def below(self, tag: int) -> Directory:
        """Return the directory that a tag points to; an empty one where there is none."""
        offset = self.numbers(tag)
        return Directory(self._content, int(offset[0])) if offset else Directory(b"")

    def _entries(self, offset: int) -> Iterator[tuple[int, tuple[int, int, int]]]:
        if not self._fits(offset, 2):
            return
        for index in range(min(int(self._number(offset, "H")), MOST_TAGS)):
            at = offset + 2 + 12 * index
            if not self._fits(at, 12):
                return
            tag, kind, count = struct.unpack_from(f"{self._order}HHI", self._content, at)
            size = _SIZES.get(kind, 0) * count
            if size and count <= MOST_VALUES:
                yield tag, (kind, count, at + 8 if size <= 4 else int(self._number(at + 8, "I")))

    def _raw(self, tag: int, kinds: set[int]) -> bytes | None:
        kind, count, at = self._tags.get(tag, (0, 0, 0))
        return self._content[at : at + count] if kind in kinds and self._fits(at, count) else None

    def _number(self, at: int, code: str) -> int:
        if not self._fits(at, struct.calcsize(code)):
            return 0
        return int(struct.unpack_from(self._order + code, self._content, at)[0])

    def _fits(self, at: int, size: int) -> bool:
        return at >= 0 and at + size <= len(self._content)
