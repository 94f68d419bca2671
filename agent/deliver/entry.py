"""What the outbox holds of a message: how it came in, and how it goes out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

Kind = Literal["ack", "gap", "mission", "crack_high", "crack", "crack_low", "evidence"]

KINDS: Final[tuple[Kind, ...]] = ("ack", "gap", "mission", "crack_high", "crack", "crack_low", "evidence")  # by urgency
DROPPED: Final[tuple[Kind, ...]] = ("evidence", "crack_low")  # unsent, when the outbox is full, in this order
RESERVED: Final[frozenset[Kind]] = frozenset({"ack", "gap", "mission"})  # the last tenth is theirs
LIMITED: Final[frozenset[Kind]] = frozenset({"crack", "crack_low", "evidence"})  # late ones leave at a limited rate

_LATE: Final = (b'"backfill":false', b'"backfill":true')


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A message to be kept until it is delivered."""

    id: str
    kind: Kind
    topic: str  # in full
    payload: bytes
    retain: bool
    expiry_s: int | None
    content_type: str

    @property
    def props(self) -> str:
        """Return what MQTT 5 says beside topic and payload, as JSON."""
        return _props(self.content_type, self.expiry_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A message of the outbox on its way out."""

    seq: int
    id: str
    kind: Kind
    topic: str
    payload: bytes
    retain: bool
    expiry_s: int | None
    content_type: str
    created_ms: int
    late: bool  # sent before, or by an earlier process

    def told_late(self) -> bytes:
        """Return the payload with `backfill` set; within a text its quotes would be escaped."""
        return self.payload.replace(*_LATE, 1) if self.kind.startswith("crack") else self.payload


@lru_cache(maxsize=32)
def _props(content_type: str, expiry_s: int | None) -> str:
    return json.dumps({"content_type": content_type, "expiry_s": expiry_s})
