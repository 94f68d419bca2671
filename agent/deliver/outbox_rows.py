"""The outbox's rows in SQL: put in, found, marked, taken out. Who may be dropped when is `outbox`'s business."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from agent.deliver.entry import KINDS, Entry, Kind, Row

JOURNAL_ONLY: Final = "journal"  # reason of a row that was written while no broker was set
PENDING: Final = "acked_ms IS NULL AND dead = 0"
_COLUMNS: Final = "seq, id, class, topic, payload, file, props, retain, created_ms, boot_id, attempts"


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it; one within another is part of that."""
    if database.in_transaction:
        yield
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def insert(
    database: sqlite3.Connection, entry: Entry, *, file: str | None, now_ms: int, boot_id: str, journal_only: bool
) -> int | None:
    """Put an entry in and return its seq; None if its id is there.

    Args:
        database: to write to.
        entry: to be kept.
        file: that holds its payload beside the database; None: the database does.
        now_ms: the time.
        boot_id: of the process that took it; empty: of an earlier one.
        journal_only: it is not to be delivered.
    """
    cursor = database.execute(
        "INSERT OR IGNORE INTO event(id, class, topic, payload, file, props, qos, retain, size, created_ms, "
        "boot_id, acked_ms, reason) VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)",
        (
            entry.id, entry.kind, entry.topic, None if file else entry.payload, file, entry.props, entry.retain,
            len(entry.payload), now_ms, boot_id, now_ms if journal_only else None,
            JOURNAL_ONLY if journal_only else None,
        ),
    )  # fmt: skip
    return int(cursor.lastrowid or 0) if cursor.rowcount else None


def pending(database: sqlite3.Connection, kind: Kind, after: int, limit: int) -> list[tuple[Any, ...]]:
    """Return pending rows of a kind with seq > after, oldest first, for `row_of`; the first value is the seq."""
    return database.execute(
        f"SELECT {_COLUMNS} FROM event WHERE {PENDING} AND class = ? AND seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
        (kind, after, limit),
    ).fetchall()


def file_of(values: tuple[Any, ...]) -> str | None:
    """Return the file that holds the payload of one of `pending`; None: the database does."""
    file: str | None = values[5]
    return file


def row_of(values: tuple[Any, ...], *, payload: bytes | None, boot_id: str) -> Row:
    """Return one of `pending`.

    Args:
        values: the row.
        payload: read from its file; None: it has none.
        boot_id: of this process; rows of others are late.
    """
    seq, id_, kind, topic, stored, _, props, retain, created_ms, taken_by, attempts = values
    told = json.loads(props)
    return Row(
        seq=seq, id=id_, kind=kind, topic=topic, payload=bytes(stored) if payload is None else payload,
        retain=bool(retain), expiry_s=told["expiry_s"], content_type=told["content_type"], created_ms=created_ms,
        late=attempts > 0 or taken_by != boot_id,
    )  # fmt: skip


def bare_row_of(values: tuple[Any, ...]) -> Row:
    """Return one of `pending` of which the payload is gone."""
    seq, id_, kind, topic = values[:4]
    return Row(
        seq=seq, id=id_, kind=kind, topic=topic, payload=b"", retain=False, expiry_s=None, content_type="",
        created_ms=0, late=True,
    )  # fmt: skip


def mark_acked(database: sqlite3.Connection, seqs: Sequence[int], now_ms: int) -> int:
    """Note that the broker has rows; return how many of them were pending."""
    if not seqs:
        return 0
    return database.executemany(
        f"UPDATE event SET acked_ms = ? WHERE seq = ? AND {PENDING}",  # noqa: S608
        [(now_ms, seq) for seq in seqs],
    ).rowcount


def mark_dead(database: sqlite3.Connection, seq: int, reason: str) -> int:
    """Set a row aside; return how many were not yet."""
    return database.execute(
        "UPDATE event SET dead = 1, reason = ?, attempts = attempts + 1 WHERE seq = ? AND dead = 0", (reason, seq)
    ).rowcount


def revive(database: sqlite3.Connection, condition: str, *values: object, dead_too: bool = False) -> int:
    """Make pending again what was acknowledged (or set aside) and fits the condition; return how many rows."""
    done = "(dead = 1 OR acked_ms IS NOT NULL)" if dead_too else "dead = 0 AND acked_ms IS NOT NULL"
    return database.execute(
        "UPDATE event SET acked_ms = NULL, dead = 0, reason = NULL, attempts = attempts + 1 "  # noqa: S608
        f"WHERE {done} AND class != 'ack' AND {condition}",
        values,
    ).rowcount


def replace_payload(database: sqlite3.Connection, id_: str, payload: bytes) -> bool:
    """Give the row of an id another payload; return whether there is one."""
    return bool(
        database.execute("UPDATE event SET payload = ?, size = ? WHERE id = ?", (payload, len(payload), id_)).rowcount
    )


def removable(database: sqlite3.Connection, condition: str, values: Sequence[object], limit: int) -> list[Any]:
    """Return (seq, file, size, id) of some rows that fit a condition."""
    return database.execute(
        f"SELECT seq, file, size, id FROM event WHERE {condition} LIMIT {limit:d}",  # noqa: S608
        values,
    ).fetchall()


def remove(database: sqlite3.Connection, seqs: Sequence[int]) -> None:
    """Take rows out."""
    database.executemany("DELETE FROM event WHERE seq = ?", [(seq,) for seq in seqs])


def count_pending(database: sqlite3.Connection) -> int:
    """Return how many rows are pending."""
    return int(database.execute(f"SELECT COUNT(*) FROM event WHERE {PENDING}").fetchone()[0])  # noqa: S608


def oldest_pending_ms(database: sqlite3.Connection) -> int | None:
    """Return when the oldest pending row came in; None if none is."""
    found = (
        database.execute(
            f"SELECT created_ms FROM event WHERE {PENDING} AND class = ? ORDER BY seq LIMIT 1",  # noqa: S608
            (kind,),
        ).fetchone()
        for kind in KINDS
    )
    return min((row[0] for row in found if row is not None), default=None)


def last_seq(database: sqlite3.Connection) -> int:
    """Return the seq of the latest row, 0 before the first."""
    return int(database.execute("SELECT COALESCE(MAX(seq), 0) FROM event").fetchone()[0])


def holds(database: sqlite3.Connection, id_: str) -> bool:
    """Whether there is a row of this id."""
    return database.execute("SELECT 1 FROM event WHERE id = ?", (id_,)).fetchone() is not None


def payload_of(database: sqlite3.Connection, id_: str) -> bytes | None:
    """Return what a row of this id says; None if there is none. Pictures lie beside the database: b''."""
    found = database.execute("SELECT payload FROM event WHERE id = ?", (id_,)).fetchone()
    return None if found is None else bytes(found[0] or b"")


def files(database: sqlite3.Connection) -> tuple[set[str], int]:
    """Return the files that rows name, and their bytes."""
    rows = database.execute("SELECT file, size FROM event WHERE file IS NOT NULL").fetchall()
    return {file for file, _ in rows}, sum(size for _, size in rows)
