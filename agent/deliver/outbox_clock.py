"""The clock of the outbox's rows: the wall's, so that ages survive a restart; when that is set, rows go with it."""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import Final

STEP_MS: Final = 2000  # a clock that runs off by more between two looks was set

logger = logging.getLogger(__name__)


class RowClock:
    """Tells the time of rows, and notices when the wall clock is set."""

    def __init__(self) -> None:
        self._seen = self.now_ms(), time.monotonic()
        self._began_ms = self._seen[0]

    @staticmethod
    def now_ms() -> int:
        """Return milliseconds since 1970, UTC, by this computer's clock."""
        return time.time_ns() // 1_000_000

    def follow(self, database: sqlite3.Connection) -> None:
        """Move the times of this run's rows by what the clock was set since the last look.

        To be called in a transaction.
        """
        wall, monotonic = self.now_ms(), time.monotonic()
        old_wall, old_monotonic = self._seen
        self._seen = wall, monotonic
        expected = old_wall + int((monotonic - old_monotonic) * 1000)
        step = wall - expected
        if abs(step) < STEP_MS:
            return
        logger.warning("the clock was set by %.1f s; the outbox's times of this run go with it", step / 1000)
        for column in ("acked_ms", "created_ms"):
            database.execute(
                f"UPDATE event SET {column} = {column} + ? WHERE {column} BETWEEN ? AND ?",  # noqa: S608
                (step, self._began_ms, expected),
            )
        self._began_ms += step
