"""Which row ends the connection: one that the broker cannot bear would block everything behind it for ever."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from agent.deliver.entry import Row

STRIKES: Final = 2  # connections that ended with the row unacknowledged: then rows go one by one
PROOFS: Final = 3  # connections that ended with the row alone on its way ...
SOON_S: Final = 10.0  # ... this soon after it was sent; a link that is merely bad lives longer or fails elsewhere


class Suspects:
    """Counts for each row the connections that ended while it was on its way."""

    def __init__(self) -> None:
        self._strikes: Counter[int] = Counter()
        self._proofs: Counter[int] = Counter()
        self._sent: dict[int, float] = {}

    @property
    def any(self) -> bool:
        """Whether rows are to go one by one."""
        return any(strikes >= STRIKES for strikes in self._strikes.values())

    def sent(self, row: Row) -> None:
        """Note that it is on its way."""
        self._sent[row.seq] = time.monotonic()

    def answered(self, row: Row) -> None:
        """Clear it: the broker can bear it."""
        self._sent.pop(row.seq, None)
        self._strikes.pop(row.seq, None)
        self._proofs.pop(row.seq, None)

    def connection_ended(self, in_flight: Sequence[Row]) -> Row | None:
        """Note that it ended with these rows on their way; return the one that is proven to have ended it."""
        alone = in_flight[0] if self.any and len(in_flight) == 1 else None
        proven = None
        if alone is not None and time.monotonic() - self._sent.get(alone.seq, 0.0) < SOON_S:
            self._proofs[alone.seq] += 1
            if self._proofs[alone.seq] >= PROOFS:
                proven = alone
        self._strikes.update(row.seq for row in in_flight)
        self._sent.clear()
        if proven is not None:
            self.answered(proven)
        return proven
