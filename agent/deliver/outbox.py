"""The outbox: every report in a journal on disk, with a cursor for each that says how far it came.

A report is *pending* until the broker has acknowledged it, and stays afterwards until it is pruned by age or for want
of space, since an acknowledgement is no promise of durability (`resend`, `resync`). A *dead* one was refused for good.
One whose reason is `journal` was written while no broker was set: it is never pending, and leaves on `resync` only.

Used by one thread. Who is full drops by policy: delivered ones first, then the oldest unsent evidence, then the oldest
cracks of low severity; then new reports are refused. Whatever is dropped is told by a `gap`, which is never dropped.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.deliver import outbox_file
from agent.deliver.entry import DROPPED, KINDS, RESERVED, Entry, Kind, Row
from agent.deliver.gaps import Gaps
from agent.deliver.outbox_clock import RowClock
from agent.deliver.outbox_space import MB, Space
from agent.deliver.settings import DeliverySettings

ROOM_SHARE: Final = 0.05  # of the space is made at once, so that it is not made for every report
DROP_CHUNK: Final = 200  # rows
JOURNAL_ONLY: Final = "journal"
_COLUMNS: Final = "seq, id, class, topic, payload, file, props, retain, created_ms, boot_id, attempts"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of entries that were handed in."""

    rows: list[Row]
    refused: int


class Outbox:
    """The journal and its policy.

    Args:
        folder: on a disk; None keeps everything in memory, for runs that can be repeated.
        limits: how much is kept, and for how long.
        boot_id: of this process.
        gaps: makes the `gap` reports.
        deliver: False writes the journal only.

    Raises:
        OutputError: the folder cannot be used.
        ConfigError: another agent uses it.
    """

    def __init__(
        self, folder: Path | None, limits: DeliverySettings, *, boot_id: str, gaps: Gaps, deliver: bool = True
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._boot_id = boot_id
        self._gaps = gaps
        self._deliver = deliver
        self._lock = None if folder is None else outbox_file.claim(folder)
        self._space = Space(folder, limits)
        self.busy: set[int] = set()  # on their way: neither sent again nor dropped
        self.dropped: Counter[Kind] = Counter()
        self.generation = 0  # grows whenever unsent rows are dropped
        self.gaps_written = 0
        self.repeated = 0  # entries with an id that was there
        self.alarms: list[str] = []
        self.pending = 0
        self._clock = RowClock()
        self._unwritten_gaps: list[Entry] = []
        self._open()

    @property
    def persistent(self) -> bool:
        """Whether what is committed outlives the process."""
        return self._folder is not None

    def append(self, entries: Sequence[Entry], acked: Iterable[int] = ()) -> Stored:
        """Commit entries, and which were acknowledged, in one transaction that is on the disk when this returns.

        Whatever finds no room is refused, counted, and told by a gap.
        """
        acked = list(acked)
        size = sum(len(entry.payload) for entry in entries)
        if entries and not self._space.fits(self._database, size, reserved=False):
            self._make_room(size)
        try:
            return self._commit(entries, acked)
        except sqlite3.OperationalError as exc:
            if not _is_full(exc):
                raise
            logger.warning("the outbox's disk is full (%s); making room", exc)
        if self._folder:
            outbox_file.drop_ballast(self._folder)
        try:
            self._make_room(size + int(self._space.max_bytes * ROOM_SHARE))
            return self._commit(entries, acked)
        except (sqlite3.OperationalError, OSError) as exc:
            if isinstance(exc, sqlite3.OperationalError) and not _is_full(exc):
                raise
            self.alarm(f"the outbox's disk is full: reports are refused ({exc})")
            self._refuse(entries, keep=True)
            return Stored([], len(entries))

    def next_rows(self, kind: Kind, after: int, limit: int) -> list[Row]:
        """Return the pending rows of a kind with seq > after, oldest first, without those that are on their way."""
        if kind == "gap":
            self._gaps.seal()  # what is being sent grows no more
        found = self._database.execute(
            f"SELECT {_COLUMNS} FROM event WHERE acked_ms IS NULL AND dead = 0 AND class = ? AND seq > ? "  # noqa: S608
            "ORDER BY seq LIMIT ?",
            (kind, after, limit + len(self.busy)),
        ).fetchall()
        rows = (self._row(values) for values in found if values[0] not in self.busy)
        return [row for row in rows if row is not None][:limit]

    def bury(self, row: Row, reason: str) -> None:
        """Set a row aside that will never be taken; a gap tells of it. `resync` gives it another try."""
        with self._transaction():
            changed = self._database.execute(
                "UPDATE event SET dead = 1, reason = ?, attempts = attempts + 1 WHERE seq = ? AND dead = 0",
                (reason, row.seq),
            ).rowcount
            self.pending -= changed
            self.busy.discard(row.seq)
            if changed and row.kind != "gap":
                self.dropped[row.kind] += 1
                self._put_gap(self._gaps.note(row.kind, "refused", [(row.seq, row.id)], self._clock.now_ms()))
        self.alarm(f"{row.topic}: {row.id} is set aside, the broker will never take it: {reason}")

    def resend(self, window_s: float) -> int:
        """Make pending again what was acknowledged in the last seconds; return how many rows."""
        return self._revive(
            "reason IS NOT ? AND acked_ms > ?", JOURNAL_ONLY, self._clock.now_ms() - int(window_s * 1000)
        )

    def resync(self, seconds: float) -> int:
        """Make pending again whatever is kept of the last seconds, refused ones and journal-only ones too."""
        return self._revive("created_ms > ?", self._clock.now_ms() - int(seconds * 1000), dead_too=True)

    def prune(self) -> None:
        """Remove what was delivered long ago, give space back, take the ballast again: once in a while."""
        with self._transaction():
            self._clock.follow(self._database)
        before = self._clock.now_ms() - int(self._limits.keep_days * 86_400_000)
        while self._delete_where("acked_ms < ? ORDER BY acked_ms", before) or self._delete_where(
            "dead = 1 AND created_ms < ?", before
        ):
            pass
        self._flush_gaps()
        self._space.lay_ballast()
        self._space.give_back(self._database)

    def oldest_pending_s(self) -> float | None:
        """Return how long the oldest pending row has been waiting; None if none is."""
        now = self._clock.now_ms()
        ages = []
        for kind in KINDS:
            row = self._database.execute(
                "SELECT created_ms FROM event WHERE acked_ms IS NULL AND dead = 0 AND class = ? ORDER BY seq LIMIT 1",
                (kind,),
            ).fetchone()
            if row is not None:
                ages.append(now - row[0])
        return max(0.0, max(ages) / 1000) if ages else None

    def last_seq(self) -> int:
        """Return the seq of the latest row, 0 before the first."""
        return int(self._database.execute("SELECT COALESCE(MAX(seq), 0) FROM event").fetchone()[0])

    def holds(self, id_: str) -> bool:
        """Whether there is a row of this id."""
        return self._database.execute("SELECT 1 FROM event WHERE id = ?", (id_,)).fetchone() is not None

    def payload(self, id_: str) -> bytes | None:
        """Return what a row of this id says; None if there is none. Pictures lie beside the database: b''."""
        found = self._database.execute("SELECT payload FROM event WHERE id = ?", (id_,)).fetchone()
        return None if found is None else bytes(found[0] or b"")

    def alarm(self, text: str) -> None:
        """Keep a text until somebody clears the alarms."""
        if text not in self.alarms:
            self.alarms.append(text)
            del self.alarms[:-20]
            logger.error("%s", text)

    def clear_alarms(self) -> int:
        """Acknowledge the alarms; return how many there were."""
        count = len(self.alarms)
        self.alarms.clear()
        return count

    def reopen(self) -> None:
        """Begin anew after the database failed in use: check it, and set it aside if it is broken."""
        self._database.close()
        self._open()

    def close(self) -> None:
        """Write what is left to the database itself, and give the folder back."""
        try:
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as exc:
            logger.warning("the outbox's journal could not be written back: %s; the next start does it", exc)
        finally:
            self._database.close()
            if self._lock is not None:
                self._lock.close()

    def _open(self) -> None:
        path = self._folder / outbox_file.DATABASE if self._folder else None
        if path and self._folder and outbox_file.free_bytes(self._folder) < MB:
            outbox_file.drop_ballast(self._folder)
        self._database, aside = outbox_file.open_database(path, max_bytes=self._space.max_bytes)
        self.busy.clear()
        self._gaps.seal()
        if aside is not None:
            self._take_over(aside)
        count = "SELECT COUNT(*) FROM event WHERE acked_ms IS NULL AND dead = 0"
        self.pending = self._database.execute(count).fetchone()[0]
        self._space.evidence_bytes = self._database.execute(
            "SELECT COALESCE(SUM(size), 0) FROM event WHERE file IS NOT NULL"
        ).fetchone()[0]
        if self._folder:
            self._sweep_evidence(self._folder / outbox_file.EVIDENCE)
        self._space.lay_ballast()

    def _take_over(self, aside: Path) -> None:
        """Tell again what can be read of a broken database, and that something may be missing."""
        found = {}
        for payload in outbox_file.salvage(aside):
            entry = self._gaps.entry_of(payload)
            if entry is not None:
                found[entry.id] = (payload["ts"], payload.get("seq", 0)), entry
        entries = [entry for _, entry in sorted(found.values(), key=lambda pair: pair[0])]
        self.alarm(f"the outbox was broken: set aside as {aside.name}, {len(entries)} reports were saved from it")
        with self._transaction():
            for entry in entries:
                self._insert(entry, saved=True)
            if self._deliver:
                self._put_gap(self._gaps.corrupt(self._clock.now_ms()))

    def _sweep_evidence(self, folder: Path) -> None:
        """Remove pictures that no row names: the power was cut between the two."""
        named = {name for (name,) in self._database.execute("SELECT file FROM event WHERE file IS NOT NULL")}
        for path in folder.iterdir():
            if path.name not in named:
                path.unlink(missing_ok=True)

    def _commit(self, entries: Sequence[Entry], acked: list[int]) -> Stored:
        fits = self._space.fits(self._database, sum(len(entry.payload) for entry in entries), reserved=False)
        kept = [entry for entry in entries if fits or entry.kind in RESERVED]
        rows = []
        before = self.pending, self._space.evidence_bytes, self.repeated
        try:
            with self._transaction():
                self.pending -= self._mark_acked(acked)
                for entry in kept:
                    row = self._insert(entry)
                    if row is not None:
                        rows.append(row)
        except BaseException:
            self.pending, self._space.evidence_bytes, self.repeated = before
            raise
        self.busy.difference_update(acked)
        refused = [entry for entry in entries if not fits and entry.kind not in RESERVED]
        if refused:
            self.alarm("the outbox is full: new reports are refused until the broker has taken some")
            self._refuse(refused)
        return Stored(rows, len(refused))

    def _mark_acked(self, acked: list[int]) -> int:
        now = self._clock.now_ms()
        return (
            self._database.executemany(
                "UPDATE event SET acked_ms = ? WHERE seq = ? AND acked_ms IS NULL AND dead = 0",
                [(now, seq) for seq in acked],
            ).rowcount
            if acked
            else 0
        )

    def _insert(self, entry: Entry, *, saved: bool = False) -> Row | None:
        now = self._clock.now_ms()
        file = None
        size = len(entry.payload)
        if entry.kind == "evidence" and self._folder:
            if self.holds(entry.id):
                self.repeated += 1
                return None
            file = f"{entry.id}.jpg"
            outbox_file.write_evidence(self._folder / outbox_file.EVIDENCE / file, entry.payload)
        journal_only = not self._deliver
        cursor = self._database.execute(
            "INSERT OR IGNORE INTO event(id, class, topic, payload, file, props, qos, retain, size, created_ms, "
            "boot_id, acked_ms, reason) VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)",
            (
                entry.id, entry.kind, entry.topic, None if file else entry.payload, file, entry.props, entry.retain,
                size, now, "" if saved else self._boot_id, now if journal_only else None,
                JOURNAL_ONLY if journal_only else None,
            ),
        )  # fmt: skip
        if not cursor.rowcount:
            self.repeated += 1
            return None
        self._space.evidence_bytes += size if file else 0
        self.pending += not journal_only
        if journal_only:
            return None
        return Row(
            seq=int(cursor.lastrowid or 0), id=entry.id, kind=entry.kind, topic=entry.topic, payload=entry.payload,
            retain=entry.retain, expiry_s=entry.expiry_s, content_type=entry.content_type, created_ms=now, late=saved,
        )  # fmt: skip

    def _row(self, values: tuple[Any, ...]) -> Row | None:
        seq, id_, kind, topic, payload, file, props, retain, created_ms, boot_id, attempts = values
        if file is not None and self._folder:
            try:
                payload = (self._folder / outbox_file.EVIDENCE / file).read_bytes()
            except OSError as exc:
                self.bury(_without_payload(seq, id_, kind, topic), f"its picture cannot be read ({exc.strerror})")
                return None
        told = json.loads(props)
        return Row(
            seq=seq, id=id_, kind=kind, topic=topic, payload=bytes(payload), retain=bool(retain),
            expiry_s=told["expiry_s"], content_type=told["content_type"], created_ms=created_ms,
            late=attempts > 0 or boot_id != self._boot_id,
        )  # fmt: skip

    def _revive(self, condition: str, *values: object, dead_too: bool = False) -> int:
        with self._transaction():
            self._clock.follow(self._database)
        dead = "(dead = 1 OR acked_ms IS NOT NULL)" if dead_too else "dead = 0 AND acked_ms IS NOT NULL"
        with self._transaction():
            revived = self._database.execute(
                "UPDATE event SET acked_ms = NULL, dead = 0, reason = NULL, attempts = attempts + 1 "  # noqa: S608
                f"WHERE {dead} AND class != 'ack' AND {condition}",
                values,
            ).rowcount
        self.pending += revived
        return int(revived)

    # Room

    def _make_room(self, size: int) -> None:
        """Drop by policy until `size` fits, and some more."""
        wanted = size + int(self._space.max_bytes * ROOM_SHARE)
        while not self._space.fits(self._database, wanted, reserved=False):
            if self._delete_where("acked_ms IS NOT NULL ORDER BY acked_ms") or self._delete_where("dead = 1"):
                continue
            if not any(self._drop_unsent(kind) for kind in DROPPED):
                break
        self._space.give_back(self._database)

    def _delete_where(self, condition: str, *values: object) -> int:
        """Delete some rows that need not be kept; return how many."""
        rows = self._database.execute(
            f"SELECT seq, file, size FROM event WHERE {condition} LIMIT {DROP_CHUNK}",  # noqa: S608
            values,
        ).fetchall()
        self._delete(rows)
        return len(rows)

    def _drop_unsent(self, kind: Kind) -> int:
        rows = self._database.execute(
            "SELECT seq, file, size, id FROM event WHERE acked_ms IS NULL AND dead = 0 AND class = ? "
            "ORDER BY seq LIMIT ?",
            (kind, DROP_CHUNK + len(self.busy)),
        ).fetchall()
        rows = [row for row in rows if row[0] not in self.busy][:DROP_CHUNK]
        if rows:
            named = [(row[0], row[3]) for row in rows]
            self._delete(rows, gap=self._gaps.note(kind, "full", named, self._clock.now_ms()))
            self.pending -= len(rows)
            self.dropped[kind] += len(rows)
            self.generation += 1
            self.alarm(f"the outbox is full: unsent reports of class {kind} are dropped, oldest first")
        return len(rows)

    def _delete(self, rows: list[tuple[Any, ...]], gap: Entry | None = None) -> None:
        if not rows:
            return
        with self._transaction():
            self._database.executemany("DELETE FROM event WHERE seq = ?", [(row[0],) for row in rows])
            if gap is not None:
                self._put_gap(gap)
        for row in rows:
            if row[1] is not None and self._folder:
                (self._folder / outbox_file.EVIDENCE / row[1]).unlink(missing_ok=True)
                self._space.evidence_bytes -= row[2]

    def _refuse(self, entries: Sequence[Entry], *, keep: bool = False) -> None:
        """Count entries that found no room, and note a gap, to be written at once or once there is room."""
        for kind in KINDS:
            named = [(None, entry.id) for entry in entries if entry.kind == kind]
            if named:
                self.dropped[kind] += len(named)
                gap = self._gaps.note(kind, "refused_full", named, self._clock.now_ms())
                if keep:
                    self._unwritten_gaps = [entry for entry in self._unwritten_gaps if entry.id != gap.id] + [gap]
                    continue
                with self._transaction():
                    self._put_gap(gap)

    def _flush_gaps(self) -> None:
        """Write gaps that found no room when they arose."""
        if self._unwritten_gaps:
            with self._transaction():
                for gap in self._unwritten_gaps:
                    self._put_gap(gap)
            self._unwritten_gaps = []
            self._gaps.seal()

    def _put_gap(self, gap: Entry) -> None:
        """Write a gap, in place of what it was when it was smaller."""
        if not self._deliver:
            return
        self.gaps_written += 1
        changed = self._database.execute(
            "UPDATE event SET payload = ?, size = ? WHERE id = ?", (gap.payload, len(gap.payload), gap.id)
        ).rowcount
        if not changed:
            self._insert(gap)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._database.in_transaction:
            yield
            return
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise


def _is_full(exc: sqlite3.OperationalError) -> bool:
    return "full" in str(exc) or "disk I/O" in str(exc)


def _without_payload(seq: int, id_: str, kind: Kind, topic: str) -> Row:
    return Row(
        seq=seq, id=id_, kind=kind, topic=topic, payload=b"", retain=False, expiry_s=None, content_type="",
        created_ms=0, late=True,
    )  # fmt: skip
