"""People's reviews on their way: kept in the crack's record, then told on the topic `crack` as a later revision.

Of the mission that goes on and of ended ones alike, while their records are there. A report that tells a review has
the review's id in `review_id`, and an id of its own that follows from it: told twice, it is one report.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from agent.contract import ids
from agent.contract.flight import FLIGHT_FILE, REVIEWS_FILE, CrackRow, ReviewRow
from agent.contract.reports import CrackReport
from agent.deliver import Report, Reporter
from agent.deliver.commands import CommandError, Review
from agent.deliver.reporter import rfc3339
from agent.errors import CrackscoutError, InputError
from agent.record.lookup import crack_now, last_event
from agent.record.reader import read_header
from agent.record.reviews import Reviewed, Reviews

MISSED_S: Final = 86_400.0  # a review of before this that was not told stays so

logger = logging.getLogger(__name__)


class Way(Protocol):
    """What is needed of a delivery; see `agent.deliver.Channel`."""

    def publish(self, *reports: Report) -> None:
        """See `Delivery.publish`."""
        ...

    def payload(self, id_: str) -> bytes | None:
        """See `Delivery.payload`."""
        ...


class Reviewing:
    """Takes reviews in any thread.

    Args:
        way: out.
    """

    def __init__(self, way: Way) -> None:
        self._way = way
        self._lock = threading.Lock()
        self._records: Path | None = None
        self._running: Reviews | None = None

    def look_in(self, records: Path) -> None:
        """Look for cracks in the flight records of this folder, from now on."""
        self._records = records

    def tell_missed(self) -> None:
        """Tell the reviews of the last day that a kill, or safe mode, kept from being told; where all were, nothing."""
        for folder in self._folders():
            with suppress(OSError):
                if time.time() - (folder / REVIEWS_FILE).stat().st_mtime < MISSED_S:
                    self._tell_missed(folder)

    def began(self, reviews: Reviews) -> None:
        """Note the reviews of the mission that goes on: it numbers its own reports by them."""
        self._running = reviews

    def ended(self, reviews: Reviews) -> None:
        """Note that it is over; another may have begun."""
        if self._running is reviews:
            self._running = None

    def review(self, args: Review) -> ReviewRow:
        """Keep a review, and tell it.

        Raises:
            CommandError: no record has the crack, or the review does not fit it.
            CrackscoutError: it cannot be kept, or be told yet.
        """
        with self._lock:
            reviews = self._of(args.crack_id)
            try:
                row = _kept(reviews, args)
            except InputError as exc:
                raise CommandError("out_of_range", str(exc)) from exc
            self._way.publish(*self._reports(reviews, row))
        return row

    def _of(self, crack_id: str) -> Reviews:
        """Return the reviews of the record that has a crack."""
        for folder in self._folders():
            if last_event(folder, crack_id) is not None or crack_now(folder, crack_id) is not None:
                running = self._running
                return running if running is not None and running.folder == folder else Reviews(folder)
        raise CommandError("out_of_range", f"crack {crack_id!r}: no flight record of this device has it")

    def _folders(self) -> Iterator[Path]:
        """Yield the records, the one of the mission that goes on first, then the newest."""
        running = self._running
        if running is not None:
            yield running.folder
        if self._records is None or not self._records.is_dir():
            return
        headers = [path for path in self._records.glob(f"*/{FLIGHT_FILE}") if path.is_file()]
        for header in sorted(headers, key=_changed, reverse=True):
            if running is None or header.parent != running.folder:
                yield header.parent

    def _reports(self, reviews: Reviews, row: ReviewRow) -> list[CrackReport]:
        """Return what tells a review: a report for each crack that it says something new of."""
        if row.id is None:
            return []
        header = read_header(reviews.folder)
        reporter = Reporter(header)
        reports = []
        for crack_id in row.after:
            crack = crack_now(reviews.folder, crack_id)
            if crack is None:  # its frame was not finished before the run was killed
                continue
            changes = {
                **_event(crack, row),
                **review_fields(reviews.of(crack_id)),
                "id": ids.review_report_id(header.mission_id, row.id, crack_id),
                "revision": reviews.revision_of(row, crack_id),
                "review_id": row.id,
                "ts": row.ts,
                "time": rfc3339(row.ts),
            }
            reports.append(
                reporter.crack(crack, media_time_ns=None, evidence_sha256=self._evidence(crack.id), changes=changes)
            )
        return reports

    def _evidence(self, report_id: str) -> str | None:
        """Return the picture that went with the crack's last report, as far as the outbox still knows it."""
        payload = self._way.payload(report_id)
        return None if payload is None else json.loads(payload).get("evidence_sha256")

    def _tell_missed(self, folder: Path) -> None:
        try:
            reviews = Reviews(folder)
            oldest_ms = (time.time() - MISSED_S) * 1000
            for row in reviews.rows:
                if row.ts >= oldest_ms:
                    reports = self._reports(reviews, row)
                    self._way.publish(*(one for one in reports if self._way.payload(one.id) is None))
        except CrackscoutError as exc:
            logger.warning("the reviews of %s are not told: %s", folder, exc)


def _kept(reviews: Reviews, args: Review) -> ReviewRow:
    crack_id, who, note = args.crack_id, args.reviewer, args.note
    if args.verdict is not None:
        return reviews.verdict(crack_id, args.verdict, reviewer=who, note=note)
    if args.merge_into is not None:
        return reviews.merge(crack_id, into=args.merge_into, reviewer=who, note=note)
    if args.undo is not None:
        return reviews.undo(args.undo, reviewer=who, note=note)
    return reviews.comment(crack_id, note or "", reviewer=who)


def review_fields(said: Reviewed) -> dict[str, Any]:
    """Return what every report of a crack says of its reviews; a crack that people made part of another is no crack."""
    fields: dict[str, Any] = {"review": said.verdict, "reviewer": said.reviewer, "review_note": said.note}
    if said.merged_into is not None:
        fields |= {"event": "retracted", "parents": (said.merged_into,)}
    return fields


def _event(crack: CrackRow, row: ReviewRow) -> dict[str, Any]:
    """Return what a review is among the events of a crack: one that has ended stays so."""
    if row.merge_into == crack.crack_id:
        return {"event": "merge", "parents": (row.crack_id,)}
    if crack.event in {"final", "retracted"}:
        return {"event": crack.event, "parents": crack.parents}
    return {"event": "update", "parents": ()}


def _changed(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
