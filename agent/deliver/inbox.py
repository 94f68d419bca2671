"""Commands on their way in: no more of them than are looked at, and none that was not meant for this moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from agent.deliver.topics import Topics

COMMANDS_MAX: Final = 100  # that wait to be looked at

OnCommand = Callable[[str, bytes], None]  # name of the command, payload


class Inbox:
    """Counts commands in paho's thread, and hands them on in delivery's.

    Args:
        topics: of the device.
        on_command: hears of `cmd/<name>`; None hears nothing.
    """

    def __init__(self, topics: Topics, on_command: OnCommand | None) -> None:
        self._prefix = f"{topics.of('cmd')}/"
        self._on_command = on_command
        self._lock = threading.Lock()
        self._waiting = 0
        self.ignored = 0

    @property
    def subscription(self) -> str | None:
        """The topics to ask the broker for."""
        return f"{self._prefix}+" if self._on_command else None

    def admit(self) -> bool:
        """Say whether one more may wait: a sender must not fill our memory."""
        with self._lock:
            if self._waiting >= COMMANDS_MAX:
                self.ignored += 1
                return False
            self._waiting += 1
            return True

    def received(self, topic: str | None, payload: bytes, *, retained: bool) -> None:
        """Hand on a command that was admitted; one that was kept for latecomers is ignored."""
        ignored = topic is None or retained or not topic.startswith(self._prefix)
        with self._lock:
            self._waiting -= 1
            self.ignored += ignored
        if topic is not None and self._on_command is not None and not ignored:
            self._on_command(topic.removeprefix(self._prefix), payload)
