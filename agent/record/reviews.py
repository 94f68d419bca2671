"""What people say of cracks: `reviews.jsonl`, written, read, undone and folded to what holds now. The only place.

```
reviews = Reviews(folder)                                    # of a flight record, ended or not
row = reviews.verdict(crack_id, "confirmed", reviewer="A. Nobody", note="seen by rope")
reviews.merge(crack_id, into=other_id)                       # this crack is part of the other
reviews.comment(crack_id, "ask the owner")
reviews.undo(row.id, reviewer="B")                           # any line but an undo
reviews.of(crack_id)                                         # Reviewed: verdict, merged_into, merged, standing lines
for row in read_reviews(folder): ...                         # the lines as they are, for a history
```

Lines are only ever appended, each with who and when, and are on the disk when the call returns; `cracks.jsonl` and
`tracks.jsonl` stay as they were. Several threads and processes may write to one record. While a service runs, what
shall also be told over MQTT goes through `review` of the command desk (`agent.control`), which comes here too.

A review is told as a later revision of the crack, and so may revisions of `tracks.jsonl` that come after it: `revision`
turns the record's own count into that of the reports. It follows from the two files alone, so that it is the same after
a restart.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from agent.contract.flight import FLIGHT_FILE, REVIEWS_FILE, ReviewRow
from agent.contract.reports import Verdict
from agent.errors import InputError
from agent.record import jsonl
from agent.record.layout import writing
from agent.record.lookup import crack_now, last_event
from agent.record.reader import finished_rows

LINES_MOST: Final = 50_000  # of one record: whoever may send commands must not fill the disk


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What holds of one crack now."""

    standing: tuple[ReviewRow, ...] = ()  # its lines that were not taken back, oldest first
    merged: tuple[str, ...] = ()  # cracks that are part of it
    verdict: Verdict | None = None  # the last one
    reviewer: str | None = None  # whose that is
    note: str | None = None  # the newest
    merged_into: str | None = None  # the crack that it is part of


def read_reviews(folder: Path) -> list[ReviewRow]:
    """Return the lines of a record, oldest first; one that was not finished is left out.

    Raises:
        InputError: a line in the middle is no review.
    """
    return list(finished_rows(folder / REVIEWS_FILE, ReviewRow))


def fold(rows: Iterable[ReviewRow]) -> dict[str, Reviewed]:
    """Return what holds now, by crack id; a crack of which nothing holds any more may be missing."""
    rows = list(rows)
    undone = {row.undo for row in rows if row.undo is not None}
    standing: defaultdict[str, list[ReviewRow]] = defaultdict(list)
    for row in rows:
        if row.undo is None and (row.id is None or row.id not in undone):
            standing[row.crack_id].append(row)
    into = {row.crack_id: row.merge_into for said in standing.values() for row in said if row.merge_into is not None}
    merged: defaultdict[str, list[str]] = defaultdict(list)
    for crack_id, survivor in into.items():
        merged[survivor].append(crack_id)
    return {
        crack_id: _reviewed(standing[crack_id], tuple(merged[crack_id]), into.get(crack_id))
        for crack_id in {*standing, *merged}
    }


def _reviewed(standing: list[ReviewRow], merged: tuple[str, ...], into: str | None) -> Reviewed:
    verdict = next((row for row in reversed(standing) if row.verdict is not None), None)
    return Reviewed(
        standing=tuple(standing),
        merged=merged,
        verdict=verdict.verdict if verdict else None,
        reviewer=verdict.reviewer if verdict else None,
        note=next((row.note for row in reversed(standing) if row.note is not None), None),
        merged_into=into,
    )


class Reviews:
    """The reviews of one record. Safe to call from several threads.

    Args:
        folder: of the record; it need not be there before the first review.

    Raises:
        InputError: a line in the middle of `reviews.jsonl` is no review.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._size = 0  # bytes, of finished lines
        self._take(read_reviews(folder))

    @property
    def rows(self) -> tuple[ReviewRow, ...]:
        """The lines, oldest first."""
        with self._lock:
            return tuple(self._rows)

    def of(self, crack_id: str) -> Reviewed:
        """Return what holds of a crack now."""
        with self._lock:
            return self._now.get(crack_id) or Reviewed()

    def verdict(
        self, crack_id: str, verdict: Verdict, *, reviewer: str | None = None, note: str | None = None
    ) -> ReviewRow:
        """Say what a crack is; the last verdict counts.

        Raises:
            InputError: the record has no such crack, or no mission.
            OutputError: it cannot be written.
        """
        return self._add((crack_id,), crack_id=crack_id, verdict=verdict, reviewer=reviewer, note=note)

    def merge(self, crack_id: str, *, into: str, reviewer: str | None = None, note: str | None = None) -> ReviewRow:
        """Say that a crack is part of another; figures stay those that were measured of each.

        Raises:
            InputError: the record has no such cracks, they are the same, or the other is part of this one.
            OutputError: it cannot be written.
        """
        return self._add((crack_id, into), crack_id=crack_id, merge_into=into, reviewer=reviewer, note=note)

    def comment(self, crack_id: str, note: str, *, reviewer: str | None = None) -> ReviewRow:
        """Note something on a crack.

        Raises:
            InputError: the record has no such crack.
            OutputError: it cannot be written.
        """
        return self._add((crack_id,), crack_id=crack_id, note=note, reviewer=reviewer)

    def undo(self, review_id: str, *, reviewer: str | None = None, note: str | None = None) -> ReviewRow:
        """Take a line back: what held before it holds again.

        Raises:
            InputError: there is no such line, it is an undo, or it was taken back already.
            OutputError: it cannot be written.
        """
        with self._lock, self._appending() as file:
            gone = next((row for row in self._rows if row.id == review_id), None)
            if gone is None or gone.undo is not None:
                raise InputError(f"{review_id!r}: no review of this record that can be taken back")
            if any(row.undo == review_id for row in self._rows):
                raise InputError(f"{review_id!r} was taken back already")
            cracks = (gone.crack_id,) if gone.merge_into is None else (gone.crack_id, gone.merge_into)
            return self._write(file, cracks, crack_id=gone.crack_id, undo=review_id, reviewer=reviewer, note=note)

    def revision(self, crack_id: str, own: int) -> tuple[int, Reviewed]:
        """Return a crack's revision as it is told, and what people say of it; both of one moment.

        Args:
            crack_id: the crack.
            own: its revision in `tracks.jsonl`, where it is written already.
        """
        with self._lock:
            return own + sum(after < own for after in self._after.get(crack_id, ())), self.of(crack_id)

    def revision_of(self, review: ReviewRow, crack_id: str) -> int:
        """Return the revision as which a review is told of one of the cracks in its `after`."""
        rows = self.rows
        told = rows[: next(number for number, row in enumerate(rows, start=1) if row.id == review.id)]
        return review.after[crack_id] + sum(crack_id in row.after for row in told)

    def _add(self, cracks: tuple[str, ...], **said: str | None) -> ReviewRow:
        with self._lock, self._appending() as file:
            into = said.get("merge_into")
            while into is not None:
                if into == said["crack_id"]:
                    raise InputError(f"crack {into!r} cannot be part of itself, nor of one that is part of it")
                into = self.of(into).merged_into
            return self._write(file, cracks, **said)

    def _write(self, file: BinaryIO, cracks: tuple[str, ...], **said: str | None) -> ReviewRow:
        after = {crack_id: self._own_revision(crack_id) for crack_id in cracks}
        row = ReviewRow.model_validate(
            {
                "id": str(uuid.uuid4()),
                "ts": time.time_ns() // 1_000_000,
                # half characters are JSON, but no text that could be told
                **{key: value and value.encode("utf-8", "replace").decode() for key, value in said.items()},
                "after": after,
            }
        )
        with writing(self.folder / REVIEWS_FILE):
            try:
                file.write(jsonl.line(row))
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(self._size)
                raise
        self._size = file.tell()
        self._take([*self._rows, row])
        return row

    @contextmanager
    def _appending(self) -> Iterator[BinaryIO]:
        """Hold the file, with all that others wrote into it known and what a kill left unfinished cut off."""
        path = self.folder / REVIEWS_FILE
        if not (self.folder / FLIGHT_FILE).is_file():
            raise InputError(f"{self.folder}: no flight record here")
        with writing(path):
            file = path.open("a+b", buffering=0)
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            content = file.read()
            self._size = content.rfind(b"\n") + 1
            if self._size < len(content):
                file.truncate(self._size)
            if content.count(b"\n") != len(self._rows):
                self._take(read_reviews(self.folder))
            if len(self._rows) >= LINES_MOST:
                raise InputError(f"{path}: holds {LINES_MOST} reviews, which is the most; no more are taken")
            file.seek(0, os.SEEK_END)
            yield file

    def _own_revision(self, crack_id: str) -> int:
        event = last_event(self.folder, crack_id)
        if event is not None:
            return event.revision
        alone = crack_now(self.folder, crack_id)
        if alone is None:
            raise InputError(f"crack {crack_id!r}: the record {self.folder.name} has none of this id")
        return alone.revision

    def _take(self, rows: list[ReviewRow]) -> None:
        self._rows = rows
        self._now = fold(rows)
        self._after: defaultdict[str, list[int]] = defaultdict(list)
        for row in rows:
            for crack_id, after in row.after.items():
                self._after[crack_id].append(after)
