"""Which flight records the page shows: one, or those of a device's folder, the newest first."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from agent.contract.flight import FLIGHT_FILE, FlightHeader
from agent.dashboard.cursor import key_of
from agent.dashboard.flight import FlightView
from agent.errors import InputError

MOST_OPEN: Final = 4  # records in memory
MOST_LISTED: Final = 200


class Library:
    """Finds and opens records. Safe to call from several threads.

    Args:
        folder: of one record, or of many.
        single: whether it is one record.
    """

    def __init__(self, folder: Path, *, single: bool) -> None:
        self._folder = folder
        self._single = single
        self._open: OrderedDict[Path, FlightView] = OrderedDict()
        self._headers: dict[Path, tuple[int, FlightHeader]] = {}
        self._lock = threading.Lock()

    def use(self, folder: Path) -> None:
        """Look into another folder from now on."""
        with self._lock:
            if folder != self._folder:
                self._folder = folder
                self._headers.clear()

    @property
    def folder(self) -> Path:
        """Where the records lie."""
        return self._folder

    def flights(self) -> list[dict[str, Any]]:
        """Return what there is, the newest first."""
        with self._lock:
            return [
                {
                    "key": key_of(header.mission_id),
                    "mission": header.mission_id,
                    "mode": header.mode,
                    "device": header.device,
                    "complete": header.complete,
                    "structure": header.structure,
                    "changed_ms": changed // 1_000_000,
                }
                for changed, header, _ in self._found()
            ]

    def current(self) -> FlightView | None:
        """Return the newest record; None where there is none."""
        with self._lock:
            return next((view for *_, folder in self._found() if (view := self._view(folder)) is not None), None)

    def current_key(self) -> str | None:
        """Return what the newest record is called."""
        with self._lock:
            return next((key_of(header.mission_id) for _, header, _ in self._found()), None)

    def view(self, key: str) -> FlightView:
        """Return a record, as far as it was read; see `FlightView.refresh`.

        Raises:
            KeyError: there is no such record.
        """
        with self._lock:
            for _, header, folder in self._found():
                if key_of(header.mission_id) == key and (view := self._view(folder)) is not None:
                    return view
        raise KeyError(key)

    def _found(self) -> list[tuple[int, FlightHeader, Path]]:
        folders = [self._folder] if self._single else []
        if not self._single and self._folder.is_dir():
            folders = [child for child in self._folder.iterdir() if child.is_dir() and not child.is_symlink()]
        found = []
        for folder in folders:
            with suppress(OSError, ValueError):
                changed = (folder / FLIGHT_FILE).stat().st_mtime_ns
                known = self._headers.get(folder)
                if known is None or known[0] != changed:
                    known = changed, FlightHeader.model_validate(json.loads((folder / FLIGHT_FILE).read_bytes()))
                    self._headers[folder] = known
                # while a run goes on only its rows change; one that goes on is the newest
                found.append((changed, known[1], folder))
        found.sort(key=lambda one: one[0], reverse=True)
        return found[:MOST_LISTED]

    def _view(self, folder: Path) -> FlightView | None:
        view = self._open.get(folder)
        if view is None or view.replaced:
            try:
                view = FlightView(folder)
            except InputError:
                return None
            self._open[folder] = view
        self._open.move_to_end(folder)
        while len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        return view
