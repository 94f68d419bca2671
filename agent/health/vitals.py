"""The pulse of a live run: its loop beats it, systemd's watchdog and the metrics read it, and through it the run ends.

There is no thread that would go on saying "alive" while the loop hangs: the watchdog is fed by the beats themselves.
The loop beats after each frame, and whoever waits in it (for a camera, paused, in safe mode) beats while it waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from agent.deliver import NullPublisher, Publisher
from agent.health.device import DeviceState
from agent.health.notify import Notifier
from agent.pipeline import Tally

T = TypeVar("T")
STATUS_EVERY_S: Final = 5.0
SLICE_S: Final = 0.2  # how long a wait sleeps before it looks around
FED_PER_LIMIT: Final = 4  # beats are passed on this many times within the watchdog's limit, at most


class Vitals:
    """Shared by the loop's thread, which beats, and others, which look or ask it to end.

    Args:
        notify: how systemd is told.
        watchdog_s: its limit; None where it has none.
        clock: monotonic, s.
    """

    def __init__(
        self, notify: Notifier, *, watchdog_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._notify = notify
        self._every_s = watchdog_s / FED_PER_LIMIT if watchdog_s else None
        self._clock = clock
        self._fed_at = self._told_at = -float("inf")
        self._ending = False  # no event or lock: signal handlers set it, in the middle of anything
        self.beat_at = clock()
        self.tally = Tally()  # of the run that goes on, or of the last one
        self.publisher: Publisher = NullPublisher()
        self.device: DeviceState | None = None  # of the mission that goes on, or of the last one
        self.retire: Callable[[Tally, Publisher], None] = lambda _tally, _publisher: None  # told of those that are over

    @property
    def ending(self) -> bool:
        """Whether the run shall end at the next opportunity."""
        return self._ending

    def begin(self) -> None:
        """Take back an `end` that was meant for the run before."""
        self._ending = False

    def end(self) -> None:
        """Ask the run to end in order, from any thread or signal handler."""
        self._ending = True

    def watch(self, tally: Tally, publisher: Publisher) -> None:
        """Show this run's figures from now on."""
        before = self.tally, self.publisher
        self.tally, self.publisher = tally, publisher
        self.retire(*before)

    def beat(self) -> None:
        """Say that the loop lives and gets on; cheap enough for every frame and every wait of a second."""
        now = self.beat_at = self._clock()
        if self._every_s is not None and now - self._fed_at >= self._every_s:
            self._fed_at = now
            self._notify("WATCHDOG=1")

    def told(self) -> None:
        """Renew the line that `systemctl status` shows, if it is old."""
        now = self._clock()
        if now - self._told_at < STATUS_EVERY_S:
            return
        self._told_at = now
        tally, delivery = self.tally, self.publisher.status
        self._notify(
            f"STATUS=running: {tally.frames} frames, {tally.skipped} skipped, {tally.cracks} cracks, "
            f"{delivery.waiting} reports wait{f' ({delivery.problem})' if delivery.problem else ''}"
        )

    def over(self, frames: Iterable[T]) -> Iterator[T]:
        """Pass frames on, beating for each, until there are none or the run shall end."""
        for frame in frames:
            if self.ending:
                return
            yield frame
            self.beat()
            self.told()
        self.beat()

    def wait(self, seconds: float) -> None:
        """Wait alive, for at most this long or until the run shall end."""
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0 and not self.ending:
            self.beat()
            time.sleep(min(left, self._every_s or SLICE_S, SLICE_S))
