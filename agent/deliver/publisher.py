"""The seam between the pipeline and the way out: today straight to the broker, later through a durable outbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from agent.contract.reports import CrackReport, InfoReport, MissionReport, StateReport

Report: TypeAlias = InfoReport | StateReport | MissionReport | CrackReport


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStatus:
    """How delivery goes. Each report that was published is in one of the counts, and so are the publisher's own."""

    connected: bool = False
    problem: str | None = None  # why not connected, in words for the user
    waiting: int = 0  # not acknowledged yet
    acknowledged: int = 0
    superseded: int = 0  # unsent `info` and `state` that gave way to a newer one
    refused: Mapping[str, int] = field(default_factory=dict)  # by the broker's reason; not sent again
    dropped: int = 0  # more were waiting than are held

    @property
    def lost(self) -> int:
        """Reports that nobody will get."""
        return sum(self.refused.values()) + self.dropped


class Publisher(Protocol):
    """Takes reports and brings them out in the background. Safe to call from several threads."""

    @property
    def status(self) -> DeliveryStatus:
        """How it goes at this moment."""
        ...

    def publish(self, report: Report) -> None:
        """Take a report; returns at once and never fails because of the broker or the network."""
        ...

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is acknowledged; return how many reports are not."""
        ...

    def close(self) -> None:
        """Say goodbye and stop; a second call does nothing. What was not acknowledged is not sent any more."""
        ...


class NullPublisher:
    """Publishes nothing, because no broker is set; the flight record has every report all the same."""

    @property
    def status(self) -> DeliveryStatus:
        """Never connected, nothing lost."""
        return DeliveryStatus(problem="mqtt.host is not set: nothing is published")

    def publish(self, report: Report) -> None:
        """Do nothing."""

    def flush(self, timeout_s: float) -> int:  # noqa: ARG002 - nothing to wait for
        """Return 0."""
        return 0

    def close(self) -> None:
        """Do nothing."""
