"""The seam between the pipeline and the way out: what it takes, and how it says how things go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from agent.contract.reports import Payload

EVIDENCE_MAX: Final = 200_000  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Topic `evidence/<crack_id>`: the picture of a crack.

    Args:
        crack_id: of the crack.
        report_id: of the report that it belongs to.
        jpeg: at most `EVIDENCE_MAX` bytes.
    """

    crack_id: str
    report_id: str
    jpeg: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.jpeg) > EVIDENCE_MAX:
            raise ValueError(f"evidence of {len(self.jpeg)} bytes: at most {EVIDENCE_MAX}; make it smaller")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Topic `snapshot/<camera>`: what a camera sees now. At QoS 0."""

    camera: str
    jpeg: bytes = field(repr=False)


Report: TypeAlias = Payload | Evidence | Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStatus:
    """How delivery goes; counts are of this process, but for what waits."""

    connected: bool = False
    problem: str | None = None  # why not connected, in words for the user
    waiting: int = 0  # not acknowledged yet: in the outbox, and what only the latest counts of
    pending: int = 0  # of them in the outbox
    oldest_s: float = 0.0  # how long the oldest of them has been there
    committed: int = 0  # reports that the outbox took
    acknowledged: int = 0
    superseded: int = 0  # unsent `info` and `state` that gave way to a newer one
    repeated: int = 0  # reports with an id that was there already
    reasons: Mapping[str, int] = field(default_factory=dict)  # the broker's refusals; refused for now, sent again
    dropped: Mapping[str, int] = field(default_factory=dict)  # by class: nobody will get them; a gap tells
    commands_ignored: int = 0  # retained, not UTF-8, or more than could be worked off
    restarts: int = 0  # of the network thread or the client, by the watchdog
    alarms: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        """Reports that nobody will get."""
        return sum(self.dropped.values())


class Publisher(Protocol):
    """Takes reports and brings them out in the background. Safe to call from several threads."""

    @property
    def status(self) -> DeliveryStatus:
        """How it goes at this moment."""
        ...

    def publish(self, *reports: Report) -> None:
        """Take the reports of one frame in one transaction; they are on the disk when this returns.

        Never fails because of the broker, the network or a full disk. Of `info`, `state`, `coverage`, `telemetry` and
        snapshots only the latest counts, and none is kept.
        """
        ...

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is acknowledged; return how many reports are not."""
        ...

    def close(self) -> None:
        """Say goodbye and stop; a second call does nothing."""
        ...


class NullPublisher:
    """Keeps and publishes nothing: for a replay that was not asked to; the flight record has every report."""

    @property
    def status(self) -> DeliveryStatus:
        """Never connected, nothing lost."""
        return DeliveryStatus(problem="mqtt.host is not set: nothing is published")

    def publish(self, *reports: Report) -> None:
        """Do nothing."""

    def flush(self, timeout_s: float) -> int:  # noqa: ARG002 - nothing to wait for
        """Return 0."""
        return 0

    def close(self) -> None:
        """Do nothing."""
