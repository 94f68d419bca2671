"""`gap` reports: they tell of reports that nobody will get."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

from pydantic import ValidationError

from agent.contract.reports import REPORTS, GapReport, Topic
from agent.deliver.entry import Entry, Kind
from agent.deliver.messages import entry_of
from agent.deliver.reporter import rfc3339
from agent.deliver.topics import Topics

IDS_MAX: Final = 50  # named in one gap; with more, it stays within a page of the database
Reason = Literal["full", "refused_full", "refused", "corrupt"]


class Gaps:
    """Makes the gaps of one process; those of one class and cause grow together until they are sent.

    Args:
        topics: of the device.
        boot_id: of this process.
    """

    def __init__(self, topics: Topics, boot_id: str) -> None:
        self._topics = topics
        self._boot_id = boot_id
        self._open: dict[tuple[Kind, Reason], GapReport] = {}

    def note(self, kind: Kind, reason: Reason, dropped: Sequence[tuple[int | None, str]], now_ms: int) -> Entry:
        """Return the gap that tells of reports, given as (seq, id), together with those noted before."""
        known = self._open.get((kind, reason))
        seqs = [seq for seq, _ in dropped if seq is not None]
        if known is not None:
            seqs += [seq for seq in (known.first_seq, known.last_seq) if seq is not None]
        gap = GapReport.model_validate(
            {
                "id": known.id if known else str(uuid.uuid4()),
                "boot_id": self._boot_id,
                "device": self._topics.device,
                "reason": reason,
                "class": kind,
                "count": len(dropped) + (known.count or 0 if known else 0),
                "first_seq": min(seqs, default=None),
                "last_seq": max(seqs, default=None),
                "ids": (*(known.ids if known else ()), *(id_ for _, id_ in dropped))[:IDS_MAX],
                "ts": now_ms,
                "time": rfc3339(now_ms),
            }
        )
        self._open[kind, reason] = gap
        return entry_of(gap, self._topics)

    def corrupt(self, now_ms: int) -> Entry:
        """Return the gap that tells of a broken outbox."""
        gap = GapReport.model_validate(
            {
                "id": str(uuid.uuid4()), "boot_id": self._boot_id, "device": self._topics.device, "reason": "corrupt",
                "class": None, "count": None, "ts": now_ms, "time": rfc3339(now_ms),
            }
        )  # fmt: skip
        return entry_of(gap, self._topics)

    @contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """Forget what the block noted if it fails: what is then dropped after all is noted again."""
        before = dict(self._open)
        try:
            yield
        except BaseException:
            self._open = before
            raise

    def seal(self) -> None:
        """Let the gaps so far grow no more: they are on their way."""
        self._open.clear()

    def entry_of(self, payload: dict[str, Any]) -> Entry | None:
        """Return what a payload from a broken outbox was; None if it is no report of ours."""
        topic: Topic | None = next((name for name in REPORTS if payload.get("schema") == f"{name}/1"), None)
        try:
            return entry_of(REPORTS[topic].model_validate(payload), self._topics) if topic else None
        except ValidationError:
            return None
