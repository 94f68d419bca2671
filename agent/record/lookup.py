"""Finds one crack in a record, also in one that is being written: lines that do not name it are not parsed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from agent.contract.flight import CRACKS_FILE, TRACKS_FILE, CrackRow, TrackRow
from agent.errors import InputError
from agent.record.ledger import whole_crack
from agent.record.reader import validated


def last_event(folder: Path, crack_id: str) -> TrackRow | None:
    """Return what happened last to a crack; None if nothing did.

    Raises:
        InputError: a line that names it cannot be read.
    """
    last = None
    for raw in _naming(folder / TRACKS_FILE, crack_id):
        if raw.get("crack_id") == crack_id:
            last = raw
    return None if last is None else validated(TrackRow, last, where=str(folder / TRACKS_FILE))


def crack_now(folder: Path, crack_id: str) -> CrackRow | None:
    """Return a crack as a whole, as it was told last: its best sighting, the length of all; None if there is none.

    Raises:
        InputError: a line that names it cannot be read.
    """
    event = last_event(folder, crack_id)
    wanted, key = (crack_id, "crack_id") if event is None else (event.best_id, "id")
    found = None
    for raw in _naming(folder / CRACKS_FILE, wanted):
        if raw.get(key) == wanted:
            found = raw
    if found is None:
        return None
    sighting = validated(CrackRow, found, where=str(folder / CRACKS_FILE))
    return sighting if event is None else whole_crack(event, sighting)


def _naming(path: Path, name: str) -> Iterator[dict[str, object]]:
    """Yield the finished lines that hold a name."""
    if not path.exists():
        return
    needle = json.dumps(name).encode()
    with path.open("rb") as file:
        for line in file:
            if needle in line and line.endswith(b"\n"):
                try:
                    raw = json.loads(line)
                except ValueError as exc:
                    raise InputError(f"{path}: not JSON ({exc}); the record was altered") from exc
                if isinstance(raw, dict):
                    yield raw
