"""How delivery stands, shared between its own thread and those who publish, wait and ask."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Standing:
    """Written by delivery's thread, read and waited for by everybody.

    Args:
        problem: why nothing is delivered yet.
    """

    def __init__(self, problem: str | None) -> None:
        self._changed = threading.Condition()
        self._connected = False
        self._problem = problem
        self._refused_entry = False
        self._pending = self._waiting = 0

    @property
    def connected(self) -> bool:
        """Whether the broker answers."""
        return self._connected

    @property
    def problem(self) -> str | None:
        """Why nothing is delivered; None while all is well."""
        return self._problem

    def look(self) -> tuple[bool, str | None, int, int]:
        """Return at one moment: connected, problem, pending, waiting."""
        with self._changed:
            return self._connected, self._problem, self._pending, self._waiting

    def wait_connected(self, timeout_s: float) -> str | None:
        """Wait for the broker; return None once it is there, else why it is not, in time or for good."""
        with self._changed:
            self._changed.wait_for(lambda: self._connected or self._refused_entry, timeout_s)
            return None if self._connected else f"{self._problem}"

    def wait_delivered(self, timeout_s: float) -> int:
        """Wait until nothing waits any more; return how much still does."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting == 0, timeout_s)
            return self._waiting

    def disconnected(self) -> None:
        """Note it without a word: a new connection is on its way, or the end."""
        self._connected = False

    def connection(
        self, *, connected: bool, problem: str | None, refused: bool = False, count: Callable[[], tuple[int, int]]
    ) -> None:
        """Take note of the connection, and of what it begins with in the same moment: who waits may ask at once.

        Args:
            connected: the broker answers.
            problem: why not.
            refused: it does not let us in.
            count: see `told`.
        """
        if problem and problem != self._problem:
            logger.warning("%s", problem)
        with self._changed:
            self._connected, self._problem, self._refused_entry = connected, problem, refused
            self.told(*count())
            self._changed.notify_all()

    def told(self, pending: int, waiting: int) -> None:
        """Take note of how many reports the outbox has yet to deliver, and how many messages wait altogether."""
        with self._changed:
            self._pending, self._waiting = pending, waiting
            if not waiting:
                self._changed.notify_all()
