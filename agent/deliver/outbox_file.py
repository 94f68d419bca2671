"""The outbox's files: opening, checking, setting a broken one aside, and reading from it what can be read.

SQLite in WAL mode with synchronous=FULL: what is committed survives a power cut. `quick_check` runs at each start. A
database that fails it is renamed `.corrupt-<time>` with its journal, never deleted, and the reports that still stand in
its bytes are told again: payloads are JSON text, which needs no working database to be found.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import IO, Any, Final

from agent.errors import ConfigError, OutputError

DATABASE: Final = "outbox.sqlite3"
BALLAST: Final = "ballast"
LOCK: Final = "lock"
EVIDENCE: Final = "evidence"
VERSION: Final = 1  # of the tables
PAGE: Final = 4096
WAL_LIMIT: Final = 4_000_000  # bytes
SUFFIXES: Final = ("", "-wal", "-shm")
SALVAGE_CHUNK: Final = 8_000_000
PAYLOAD_MAX: Final = 8192  # longer ones are spread over pages and cannot be found
PAYLOAD_START: Final = re.compile(rb'\{"device":"')  # of every report that is kept

TABLES: Final = """
CREATE TABLE event(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, class TEXT NOT NULL, topic TEXT NOT NULL,
    payload BLOB, file TEXT, props TEXT NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL, size INTEGER NOT NULL,
    created_ms INTEGER NOT NULL, boot_id TEXT NOT NULL, acked_ms INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT, dead INTEGER NOT NULL DEFAULT 0);
CREATE INDEX pending ON event(class, seq) WHERE acked_ms IS NULL AND dead = 0;
CREATE INDEX acked ON event(acked_ms) WHERE acked_ms IS NOT NULL;
CREATE INDEX dead ON event(dead) WHERE dead = 1;
"""

logger = logging.getLogger(__name__)


def claim(folder: Path) -> IO[bytes]:
    """Make the folder and lock it; closing the file gives it back, and so does the end of the process.

    Raises:
        OutputError: the folder cannot be used.
        ConfigError: another agent uses it.
    """
    try:
        (folder / EVIDENCE).mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("ab")
    except OSError as exc:
        raise OutputError(f"{folder}: the outbox cannot be made there ({exc.strerror}); see delivery.dir") from exc
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        file.close()
        raise ConfigError(f"{folder}: another agent uses this outbox; give each its own delivery.dir") from exc
    return file


def open_database(path: Path | None, *, max_bytes: int) -> tuple[sqlite3.Connection, Path | None]:
    """Open the database, making it where there is none, and return it with where a broken one was moved.

    Args:
        path: the file; None keeps everything in memory.
        max_bytes: it never grows beyond this.
    """
    if path is None:
        return _open(":memory:", max_bytes), None
    fault = _fault(path)
    if fault is None:
        try:
            return _open(str(path), max_bytes), None
        except sqlite3.DatabaseError as exc:
            if "full" in str(exc) or "disk I/O" in str(exc):
                raise
            fault = str(exc)
    aside = quarantine(path)
    logger.error("%s: broken (%s); set aside as %s, a new one begins", path, fault, aside.name)
    return _open(str(path), max_bytes), aside


def quarantine(path: Path) -> Path:
    """Rename a database with its journal, and return its new name."""
    number = int(time.time())
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return aside


def salvage(aside: Path) -> Iterator[dict[str, Any]]:
    """Yield the payloads that can still be read in a broken database and its journal; some more than once.

    Long ones, spread over pages, are not found.
    """
    decoder = json.JSONDecoder()
    for suffix in ("", "-wal"):
        file = Path(f"{aside}{suffix}")
        if not file.exists():
            continue
        with file.open("rb") as stream:
            rest = b""
            while chunk := stream.read(SALVAGE_CHUNK):
                text = rest + chunk
                for match in PAYLOAD_START.finditer(text):
                    piece = text[match.start() : match.start() + PAYLOAD_MAX].decode("utf-8", "replace")
                    with contextlib.suppress(ValueError, RecursionError):
                        yield decoder.raw_decode(piece)[0]
                rest = text[-PAYLOAD_MAX:]


def sweep_evidence(folder: Path, named: Container[str]) -> None:
    """Remove pictures that no row names: the power was cut between the two."""
    for path in folder.iterdir():
        if path.name not in named:
            path.unlink(missing_ok=True)


def write_evidence(path: Path, content: bytes) -> None:
    """Write a file so that it is whole and on the disk when this returns."""
    beside = path.with_suffix(".partial")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def free_bytes(folder: Path) -> int:
    """Return what a process without rights of its own may still write there."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def lay_ballast(folder: Path, size: int, *, spare: int) -> None:
    """Take space in reserve, unless that would leave less than `spare`; without effect where it is taken."""
    path = folder / BALLAST
    with contextlib.suppress(OSError):  # full: there is no room to reserve
        if size and (not path.exists() or path.stat().st_size < size) and free_bytes(folder) > size + spare:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)


def drop_ballast(folder: Path) -> bool:
    """Give the reserve back, and say whether there was one."""
    try:
        (folder / BALLAST).unlink()
    except OSError:
        return False
    return True


def _fault(path: Path) -> str | None:
    """Say what is wrong with the file that SQLite would not: it takes an empty one for new, and forgets its journal."""
    if not path.exists():
        return "it is gone, and left its journal" if _has_content(Path(f"{path}-wal")) else None
    return "it is empty" if path.stat().st_size == 0 else None


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _open(path: str, max_bytes: int) -> sqlite3.Connection:
    # the thread that opens it is not the one that uses it; there is never more than one at a time
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        _prepare(database, max_bytes)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, max_bytes: int) -> None:
    run = database.execute
    version = run("PRAGMA user_version").fetchone()[0]
    if version == 0:
        run(f"PRAGMA page_size = {PAGE}")
        run("PRAGMA auto_vacuum = INCREMENTAL")
    run("PRAGMA journal_mode = WAL")
    run("PRAGMA synchronous = FULL")
    run(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
    run(f"PRAGMA max_page_count = {max_bytes // PAGE}")
    if version == 0:
        database.executescript(f"BEGIN;{TABLES}PRAGMA user_version = {VERSION};COMMIT;")
    elif version != VERSION:
        raise sqlite3.DatabaseError(f"its tables are of version {version}, not {VERSION}")
    (answer,) = run("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise sqlite3.DatabaseError(answer)
