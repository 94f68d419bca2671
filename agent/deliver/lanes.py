"""Which row of the outbox goes next: each class first in, first out, the urgent classes first."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.deliver.entry import KINDS, LIMITED, Kind, Row
from agent.deliver.link import Message
from agent.deliver.outbox import Outbox

READ: Final = 100  # rows at once
READ_EVIDENCE: Final = 8  # of up to 200 KB
HELD_MAX: Final = 1000  # rows in memory; the others are read when their turn comes
LATE_MS: Final = 5000  # committed this long before the connection: told late
BACK_OFF_S: Final = (1.0, 60.0)  # after refusals that may pass: first, longest


@dataclass(slots=True)
class _Lane:
    rows: deque[Row] = field(default_factory=deque)
    cursor: int = 0  # seq of the last row that was read
    drained: bool = False  # no row beyond the cursor
    paused_until: float = 0.0
    pause_s: float = 0.0


class Lanes:
    """Reads the outbox in the order in which it is to be sent.

    Args:
        outbox: to read.
        late_per_s: how many late rows of the limited classes may leave, 1/s.
    """

    def __init__(self, outbox: Outbox, *, late_per_s: float) -> None:
        self._outbox = outbox
        self._late_per_s = late_per_s
        self._tokens = 1.0
        self._refilled = time.monotonic()
        self._mark = 0
        self._connected_ms = 0
        self._generation = outbox.generation
        self._gaps_written = outbox.gaps_written
        self._waits_for_token = False
        self._lanes: dict[Kind, _Lane] = {kind: _Lane() for kind in KINDS}

    def connected(self, last_seq: int, *, settle_s: float = 0.0) -> None:
        """Take what is there as backlog, and let nothing leave for a while: its readers may have to come back too."""
        self._mark = last_seq
        self._connected_ms = time.time_ns() // 1_000_000
        for lane in self._lanes.values():
            lane.paused_until, lane.pause_s = time.monotonic() + settle_s, 0.0
        self.rewind()

    def added(self, rows: Sequence[Row]) -> None:
        """Take new rows, without reading them again where all before them are known."""
        for row in rows:
            lane = self._lanes[row.kind]
            if lane.drained and row.kind != "evidence" and len(lane.rows) < HELD_MAX:
                lane.rows.append(row)
                lane.cursor = row.seq
            else:
                lane.drained = False

    def next(self) -> Row | None:
        """Return the row that is next, None if none may leave now."""
        if self._generation != self._outbox.generation:  # rows that are held here were dropped
            self.rewind()
        if self._gaps_written != self._outbox.gaps_written:
            self._gaps_written = self._outbox.gaps_written
            self._lanes["gap"].drained = False
        now = time.monotonic()
        self._waits_for_token = False
        for kind, lane in self._lanes.items():
            if now < lane.paused_until:
                continue
            if not lane.rows and not lane.drained:
                self._read(kind, lane)
            if lane.rows and self._may_leave(lane.rows[0], now):
                return lane.rows.popleft()
        return None

    def message(self, row: Row) -> Message:
        """Return the row as it is sent now."""
        return Message(
            topic=row.topic, payload=row.told_late() if self._is_late(row) else row.payload, retain=row.retain,
            expiry_s=row.expiry_s, content_type=row.content_type, seq=row.seq,
        )  # fmt: skip

    def delivered(self, row: Row) -> None:
        """Note that its class is taken again."""
        self._lanes[row.kind].pause_s = 0.0

    def refused(self, row: Row) -> None:
        """Send the row and its followers again, after a while that doubles."""
        lane = self._lanes[row.kind]
        first, longest = BACK_OFF_S
        if time.monotonic() >= lane.paused_until:
            lane.pause_s = min(longest, lane.pause_s * 2 or first)
            lane.paused_until = time.monotonic() + lane.pause_s
        lane.rows.clear()
        lane.cursor = min(lane.cursor, row.seq - 1)
        lane.drained = False

    def rewind(self) -> None:
        """Begin again with the oldest rows that are pending and not on their way."""
        self._generation = self._outbox.generation
        for lane in self._lanes.values():
            lane.rows.clear()
            lane.cursor, lane.drained = 0, False

    def wait_s(self) -> float:
        """Return after which time it is worth to ask again, s."""
        now = time.monotonic()
        waits = [lane.paused_until - now for lane in self._lanes.values() if lane.paused_until > now]
        if self._waits_for_token:
            waits.append(max(0.005, 1 / self._late_per_s))
        return max(0.001, min(waits, default=math.inf))

    def _read(self, kind: Kind, lane: _Lane) -> None:
        limit = READ_EVIDENCE if kind == "evidence" else READ
        rows = self._outbox.next_rows(kind, lane.cursor, limit)
        lane.drained = len(rows) < limit
        lane.rows.extend(rows)
        if rows:
            lane.cursor = rows[-1].seq

    def _is_late(self, row: Row) -> bool:
        return row.late or (row.seq <= self._mark and self._connected_ms - row.created_ms > LATE_MS)

    def _may_leave(self, row: Row, now: float) -> bool:
        if row.kind not in LIMITED or not self._is_late(row):
            return True
        most = max(1.0, self._late_per_s / 10)
        self._tokens = min(most, self._tokens + (now - self._refilled) * self._late_per_s)
        self._refilled = now
        if self._tokens < 1:
            self._waits_for_token = True
            return False
        self._tokens -= 1
        return True
