"""The outbox: every report in a journal on disk, with a cursor for each that says how far it came.

A report is *pending* until the broker has acknowledged it, and stays afterwards until it is pruned by age or for want
of space, since an acknowledgement is no promise of durability (`resend`, `resync`). A *dead* one was refused for good.
One whose reason is `journal` was written while no broker was set: it is never pending, and leaves on `resync` only.

Used by one thread. Who is full drops by policy: delivered ones first, then the oldest unsent evidence, then the oldest
cracks of low severity; then new reports are refused. Whatever is dropped is told by a `gap`, which is never dropped.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.deliver import outbox_file, outbox_rows
from agent.deliver.entry import DROPPED, KINDS, RESERVED, Entry, Kind, Row
from agent.deliver.gaps import Gaps
from agent.deliver.outbox_clock import RowClock
from agent.deliver.outbox_space import MB, Space
from agent.deliver.settings import DeliverySettings

ROOM_SHARE: Final = 0.05  # of the space is made at once, so that it is not made for every report
DROP_CHUNK: Final = 200  # rows

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
            gaps = self._refusals(entries)  # written once there is room
            grown = {gap.id for gap in gaps}
            self._unwritten_gaps = [*(gap for gap in self._unwritten_gaps if gap.id not in grown), *gaps]
            self.dropped.update(entry.kind for entry in entries)
            return Stored([], len(entries))

    def next_rows(self, kind: Kind, after: int, limit: int) -> list[Row]:
        """Return the pending rows of a kind with seq > after, oldest first, without those that are on their way."""
        if kind == "gap":
            self._gaps.seal()  # what is being sent grows no more
        found = outbox_rows.pending(self._database, kind, after, limit + len(self.busy))
        rows = (self._row(values) for values in found if values[0] not in self.busy)
        return [row for row in rows if row is not None][:limit]

    def bury(self, row: Row, reason: str) -> None:
        """Set a row aside that will never be taken; a gap tells of it. `resync` gives it another try."""
        with self._transaction():
            changed = outbox_rows.mark_dead(self._database, row.seq, reason)
            told = changed and row.kind != "gap"
            if told:
                self._put_gap(self._gaps.note(row.kind, "refused", [(row.seq, row.id)], self._clock.now_ms()))
        self.pending -= changed
        self.busy.discard(row.seq)
        if told:
            self.dropped[row.kind] += 1
        self.alarm(f"{row.topic}: {row.id} is set aside, the broker will never take it: {reason}")

    def resend(self, window_s: float) -> int:
        """Make pending again what was acknowledged in the last seconds; return how many rows."""
        return self._revive(
            "reason IS NOT ? AND acked_ms > ?", outbox_rows.JOURNAL_ONLY, self._clock.now_ms() - int(window_s * 1000)
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
        oldest = outbox_rows.oldest_pending_ms(self._database)
        return None if oldest is None else max(0.0, (self._clock.now_ms() - oldest) / 1000)

    def last_seq(self) -> int:
        """Return the seq of the latest row, 0 before the first."""
        return outbox_rows.last_seq(self._database)

    def holds(self, id_: str) -> bool:
        """Whether there is a row of this id."""
        return outbox_rows.holds(self._database, id_)

    def payload(self, id_: str) -> bytes | None:
        """Return what a row of this id says; None if there is none. Pictures lie beside the database: b''."""
        return outbox_rows.payload_of(self._database, id_)

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
        self.pending = outbox_rows.count_pending(self._database)
        named, self._space.evidence_bytes = outbox_rows.files(self._database)
        if self._folder:
            outbox_file.sweep_evidence(self._folder / outbox_file.EVIDENCE, named)
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

    def _commit(self, entries: Sequence[Entry], acked: list[int]) -> Stored:
        fits = self._space.fits(self._database, sum(len(entry.payload) for entry in entries), reserved=False)
        kept = [entry for entry in entries if fits or entry.kind in RESERVED]
        refused = [entry for entry in entries if not fits and entry.kind not in RESERVED]
        rows = []
        before = self.pending, self._space.evidence_bytes, self.repeated
        try:
            with self._transaction():
                self.pending -= outbox_rows.mark_acked(self._database, acked, self._clock.now_ms())
                for entry in kept:
                    row = self._insert(entry)
                    if row is not None:
                        rows.append(row)
                for gap in self._refusals(refused):  # with the others or not at all: all may come again
                    self._put_gap(gap)
        except BaseException:
            self.pending, self._space.evidence_bytes, self.repeated = before
            raise
        self.busy.difference_update(acked)
        if refused:
            self.alarm("the outbox is full: new reports are refused until the broker has taken some")
            self.dropped.update(entry.kind for entry in refused)
        return Stored(rows, len(refused))

    def _insert(self, entry: Entry, *, saved: bool = False) -> Row | None:
        now = self._clock.now_ms()
        file = None
        if entry.kind == "evidence" and self._folder:
            if self.holds(entry.id):
                self.repeated += 1
                return None
            file = f"{entry.id}.jpg"
            outbox_file.write_evidence(self._folder / outbox_file.EVIDENCE / file, entry.payload)
        journal_only = not self._deliver
        seq = outbox_rows.insert(
            self._database, entry, file=file, now_ms=now, boot_id="" if saved else self._boot_id,
            journal_only=journal_only,
        )  # fmt: skip
        if seq is None:
            self.repeated += 1
            return None
        self._space.evidence_bytes += len(entry.payload) if file else 0
        self.pending += not journal_only
        if journal_only:
            return None
        return Row(
            seq=seq, id=entry.id, kind=entry.kind, topic=entry.topic, payload=entry.payload,
            retain=entry.retain, expiry_s=entry.expiry_s, content_type=entry.content_type, created_ms=now, late=saved,
        )  # fmt: skip

    def _row(self, values: tuple[Any, ...]) -> Row | None:
        """Return a row with its payload; None where its picture is gone, and that is told."""
        payload, file = None, outbox_rows.file_of(values)
        if file is not None and self._folder:
            try:
                payload = (self._folder / outbox_file.EVIDENCE / file).read_bytes()
            except OSError as exc:
                self.bury(outbox_rows.bare_row_of(values), f"its picture cannot be read ({exc.strerror})")
                return None
        return outbox_rows.row_of(values, payload=payload, boot_id=self._boot_id)

    def _revive(self, condition: str, *values: object, dead_too: bool = False) -> int:
        with self._transaction():
            self._clock.follow(self._database)
        with self._transaction():
            revived = outbox_rows.revive(self._database, condition, *values, dead_too=dead_too)
        self.pending += revived
        return revived

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
        rows = outbox_rows.removable(self._database, condition, values, DROP_CHUNK)
        self._delete(rows)
        return len(rows)

    def _drop_unsent(self, kind: Kind) -> int:
        condition = f"{outbox_rows.PENDING} AND class = ? ORDER BY seq"
        rows = outbox_rows.removable(self._database, condition, [kind], DROP_CHUNK + len(self.busy))
        rows = [row for row in rows if row[0] not in self.busy][:DROP_CHUNK]
        if rows:
            self._delete(rows, unsent=kind)
            self.pending -= len(rows)
            self.dropped[kind] += len(rows)
            self.generation += 1
            self.alarm(f"the outbox is full: unsent reports of class {kind} are dropped, oldest first")
        return len(rows)

    def _delete(self, rows: list[tuple[Any, ...]], unsent: Kind | None = None) -> None:
        if not rows:
            return
        with self._transaction():
            outbox_rows.remove(self._database, [row[0] for row in rows])
            if unsent is not None:
                named = [(row[0], row[3]) for row in rows]
                self._put_gap(self._gaps.note(unsent, "full", named, self._clock.now_ms()))
        for row in rows:
            if row[1] is not None and self._folder:
                (self._folder / outbox_file.EVIDENCE / row[1]).unlink(missing_ok=True)
                self._space.evidence_bytes -= row[2]

    def _refusals(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the gaps that tell of entries which found no room."""
        named = {kind: [(None, entry.id) for entry in entries if entry.kind == kind] for kind in KINDS}
        now_ms = self._clock.now_ms()
        return [self._gaps.note(kind, "refused_full", some, now_ms) for kind, some in named.items() if some]

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
        if not outbox_rows.replace_payload(self._database, gap.id, gap.payload):
            self._insert(gap)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._gaps.undone_on_failure(), outbox_rows.transaction(self._database):
            yield


def _is_full(exc: sqlite3.OperationalError) -> bool:
    return "full" in str(exc) or "disk I/O" in str(exc)
