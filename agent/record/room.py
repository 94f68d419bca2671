"""Keeps the records of a live device within their bounds of size and age."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from typing_extensions import Self

from agent.contract.flight import FLIGHT_FILE, FRAMES_FILE, REVIEWS_FILE
from agent.errors import CrackscoutError
from agent.record.claim import remove_run
from agent.record.settings import RecordSettings

GB: Final = 1_000_000_000
DAY_S: Final = 86_400.0
LOOK_EVERY_S: Final = 30.0
# A record that was not closed ended with its process, but may be another process's that still runs.
LATELY_S: Final = 3600.0
TIME_SYNCHRONISED: Final = Path("/run/systemd/timesync/synchronized")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Mission:
    folder: Path
    size: int  # bytes
    ended: float  # seconds since 1970


class Room:
    """Watches the records from a thread of its own while the `with` block runs: counting and removing take a while.

    Args:
        settings: the bounds.
        running: the record that is being written; never touched.
        spared: missions to leave alone for now, whatever their age: reports of them still wait to be delivered.
        clock: seconds since 1970.
        clock_synced: whether the clock can be trusted. Ages are looked at only then: a clock that jumps ahead must not
            empty the disk.
        look_every_s: how often.
    """

    def __init__(
        self,
        settings: RecordSettings,
        *,
        running: Path,
        spared: Callable[[Path], bool] = lambda _: False,
        clock: Callable[[], float] = time.time,
        clock_synced: Callable[[], bool] = TIME_SYNCHRONISED.exists,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._settings = settings
        self._running = running
        self._spared = spared
        self._clock = clock
        self._clock_synced = clock_synced
        self._look_every_s = look_every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="room", daemon=True)
        self.enough = True  # for more pictures; rows are small and go on
        self.removed = 0  # missions
        self.spared = 0  # missions that would have been, had they not been spared, at the last look
        self.not_kept = 0  # pictures

    def keep(self) -> bool:
        """Return whether a picture may be kept; counts it if not."""
        if not self.enough:
            self.not_kept += 1
        return self.enough

    def look(self) -> None:
        """Remove what is past the bounds, oldest first, and see whether there is room."""
        try:
            self._look()
        except OSError as exc:  # the disk went away, or somebody else tidies up: whoever writes will say so
            logger.warning("records: cannot be looked at (%s)", exc)

    def _look(self) -> None:
        settings = self._settings
        missions = sorted(self._ended_missions(), key=lambda mission: mission.ended)
        total = sum(mission.size for mission in missions) + _size(self._running)
        self.spared = 0
        oldest = -float("inf")
        if settings.max_age_days is not None and self._clock_synced():
            oldest = self._clock() - settings.max_age_days * DAY_S
        for mission in missions:
            if mission.ended >= oldest and self._fits(total):
                break
            if self._spared(mission.folder):
                self.spared += 1
            elif self._remove(mission.folder):
                total -= mission.size
        enough = self._fits(total)
        if enough != self.enough:
            logger.warning(
                "records: %s",
                "there is room again" if enough else "no room: no more pictures are kept; see record.max_gb",
            )
        self.enough = enough

    def __enter__(self) -> Self:
        self.look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._look_every_s):
            self.look()

    def _fits(self, total: int) -> bool:
        there = next(path for path in (self._settings.dir, *self._settings.dir.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free
        return total <= self._settings.max_gb * GB and free >= self._settings.min_free_gb * GB

    def _ended_missions(self) -> Iterator[_Mission]:
        if not self._settings.dir.is_dir():
            return
        for folder in self._settings.dir.iterdir():
            header = folder / FLIGHT_FILE
            if folder.is_symlink() or folder.resolve() == self._running.resolve() or not header.is_file():
                continue
            closed = b'"complete": true' in header.read_bytes()
            newest = (header, folder / FRAMES_FILE, folder / REVIEWS_FILE)  # in review, it is not old
            ended = max(path.stat().st_mtime for path in newest if path.exists())
            if closed or abs(self._clock() - ended) > LATELY_S:
                yield _Mission(folder, _size(folder), ended)

    def _remove(self, folder: Path) -> bool:
        try:
            remove_run(folder)
        except (CrackscoutError, OSError) as exc:
            logger.warning("records: %s cannot be removed (%s)", folder, exc)
            return False
        self.removed += 1
        logger.info("records: %s was removed to stay within record.max_gb, max_age_days and min_free_gb", folder)
        return True


def _size(folder: Path) -> int:
    """Return the bytes of a folder's files; what vanishes meanwhile counts as nothing."""
    return sum(_sizes(folder))


def _sizes(folder: str | Path) -> Iterator[int]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sizes(entry.path)
            else:
                yield _size_of(entry)


def _size_of(entry: os.DirEntry[str]) -> int:
    with suppress(OSError):
        return entry.stat(follow_symlinks=False).st_size
    return 0
