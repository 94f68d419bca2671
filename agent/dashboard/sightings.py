"""Where each sighting's line lies in `cracks.jsonl`: lines are read when they are asked for, not kept."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.contract.flight import CRACKS_FILE, CrackRow
from agent.dashboard.tail import parsed
from agent.errors import InputError

_ID: Final = re.compile(rb'^\{"id":"([^"\\]{1,64})","crack_id":"([^"\\]{1,64})"')


@dataclass(slots=True)
class Sightings:
    """The sightings of a flight, as far as they were read.

    Args:
        folder: of the record.
    """

    folder: Path
    _places: dict[str, tuple[int, int]] = field(default_factory=dict)  # id -> place of its line, frame
    _of_crack: dict[str, list[str]] = field(default_factory=dict)  # crack id -> ids
    _in_frame: dict[int, list[str]] = field(default_factory=dict)  # frame index -> ids

    def add(self, line: bytes, at: int, frame: int) -> tuple[str, str] | None:
        """Take note of a line that begins at a byte, and return its id and crack id; None: it does not fit."""
        found = _ID.match(line)
        if found is not None:
            id_, crack_id = found[1].decode("utf-8", "replace"), found[2].decode("utf-8", "replace")
        else:
            row = parsed(CrackRow, line)
            if row is None:
                return None
            id_, crack_id = row.id, row.crack_id
        self._places[id_] = at, frame
        self._of_crack.setdefault(crack_id, []).append(id_)
        self._in_frame.setdefault(frame, []).append(id_)
        return id_, crack_id

    def place(self, id_: str) -> tuple[int, int] | None:
        """Return where a sighting's line begins, and its frame; None if there is none of this id."""
        return self._places.get(id_)

    def frames(self, crack_id: str) -> list[int]:
        """Return the frames in which a crack was found."""
        return [self._places[id_][1] for id_ in self._of_crack.get(crack_id, [])]

    def of(self, crack_id: str, frame: int) -> CrackRow | None:
        """Return a crack as one frame shows it; None if that frame does not.

        Raises:
            InputError: the record was altered.
        """
        places = (self._places[id_] for id_ in self._of_crack.get(crack_id, []))
        at = next((at for at, index in places if index == frame), None)
        return None if at is None else self.read(at)

    def in_frame(self, frame: int) -> list[CrackRow]:
        """Return what was found in a frame.

        Raises:
            InputError: the record was altered.
        """
        return [self.read(self._places[id_][0]) for id_ in self._in_frame.get(frame, [])]

    def read(self, at: int) -> CrackRow:
        """Return the sighting whose line begins at this byte.

        Raises:
            InputError: the record was altered.
        """
        path = self.folder / CRACKS_FILE
        with path.open("rb") as file:
            file.seek(at)
            row = parsed(CrackRow, file.readline())
        if row is None:
            raise InputError(f"{path}: the line at byte {at} was altered")
        return row
