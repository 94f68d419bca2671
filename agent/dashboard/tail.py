"""Reads the finished lines of a file that grows."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

from pydantic import BaseModel
from typing_extensions import Self

Row = TypeVar("Row", bound=BaseModel)


class Tail:
    """A place in a file of lines. Inside the `with` block lines can be looked at and taken, one after the other.

    Args:
        path: need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._line: bytes | None = None
        self.offset = 0  # bytes, behind the last line that was taken
        self.taken = 0  # lines

    @property
    def cut(self) -> bool:
        """Whether the file became shorter than what was read: it is another one."""
        return self.offset > 0 and (not self._path.exists() or self._path.stat().st_size < self.offset)

    def peek(self) -> bytes | None:
        """Return the next line, without taking it; None if it is not finished."""
        if self._line is None and self._file is not None:
            line = self._file.readline()
            if line.endswith(b"\n"):
                self._line = line
            else:
                self._file.seek(self.offset)
        return self._line

    def take(self) -> int:
        """Take the line that was looked at, and return where it begins.

        Raises:
            ValueError: none was.
        """
        if self._line is None:
            raise ValueError("look at the line first")
        begin = self.offset
        self.offset += len(self._line)
        self.taken += 1
        self._line = None
        return begin

    def __enter__(self) -> Self:
        if self._path.is_file():
            self._file = self._path.open("rb")
            self._file.seek(self.offset)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._line = None
        if self._file is not None:
            self._file.close()
            self._file = None


def parsed(model: type[Row], line: bytes) -> Row | None:
    """Return the row that a line holds; None where it does not fit."""
    try:
        return model.model_validate(json.loads(line))
    except (ValueError, RecursionError):
        return None
