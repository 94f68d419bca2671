"""How much room the outbox has: within its own bound, and on its disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from agent.deliver import outbox_file
from agent.deliver.settings import DeliverySettings

MB: Final = 1_000_000
ORDINARY_SHARE: Final = 0.9  # of the space; the rest is for what must always fit


class Space:
    """Room for rows and their pictures.

    Args:
        folder: of the outbox; None: in memory.
        limits: its bound, the watermark of its disk, the ballast.
    """

    def __init__(self, folder: Path | None, limits: DeliverySettings) -> None:
        self._folder = folder
        self._limits = limits
        self.max_bytes = limits.max_mb * MB
        self.evidence_bytes = 0  # of the pictures beside the database

    def fits(self, database: sqlite3.Connection, size: int, *, reserved: bool) -> bool:
        """Say whether `size` more bytes have room.

        Args:
            database: of the rows.
            size: bytes.
            reserved: of rows that must always fit: all of the space is theirs, and the disk's last room.
        """
        share = 1.0 if reserved else ORDINARY_SHARE
        if self._used(database) + size > share * self.max_bytes:
            return False
        return reserved or self._folder is None or self._disk_has_room(database, self._folder, size)

    def give_back(self, database: sqlite3.Connection) -> None:
        """Give deleted pages back to the disk."""
        if self._folder:
            database.execute("PRAGMA incremental_vacuum").fetchall()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def lay_ballast(self) -> None:
        """Take the ballast, if it was dropped and there is room for it."""
        if self._folder:
            spare = self._limits.min_free_mb * MB
            outbox_file.lay_ballast(self._folder, self._limits.ballast_mb * MB, spare=spare)

    def _used(self, database: sqlite3.Connection) -> int:
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        free = database.execute("PRAGMA freelist_count").fetchone()[0]
        return int((pages - free) * outbox_file.PAGE + self.evidence_bytes)

    def _disk_has_room(self, database: sqlite3.Connection, folder: Path, size: int) -> bool:
        """Whether the disk's free space stays above the watermark; pages that the database has spare need none."""
        spare = database.execute("PRAGMA freelist_count").fetchone()[0] * outbox_file.PAGE
        free = outbox_file.free_bytes(folder) + (spare if spare > size else 0)
        return bool(free - size >= self._limits.min_free_mb * MB)
