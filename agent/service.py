"""The service: one live run after another, until it is told to stop.

- Bad settings, a missing bundle or a camera that cannot be opened are no reason to end: it stays up in safe mode, says
  why, captures nothing, and tries again every `RETRY_S` and whenever it is asked to reload. The one reason is a
  driver that never comes back and keeps the last camera: then it ends in order, for systemd to begin another process.
- A reload (SIGHUP, or `Service.reload` for a command) reads the settings and builds every part that they ask for. Only
  if that succeeds does the run that goes on end in order, and the new one begins: a flight record has one set of
  settings. Else the old run goes on and the reason is told.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Final, Protocol

from agent.errors import CameraHungError, CrackscoutError
from agent.health.notify import Notifier
from agent.health.vitals import Vitals

RETRY_S: Final = 30.0

logger = logging.getLogger(__name__)


class Mission(Protocol):
    """A live run whose parts are built and checked."""

    def __call__(self, vitals: Vitals, /) -> object:
        """Watch the cameras until there is nothing more to see or the vitals are `ending`; leave a closed record.

        Raises:
            CrackscoutError: it cannot go on.
        """
        ...

    def close(self) -> None:
        """Give back what is held by a mission that will never begin."""
        ...


class Service:
    """Keeps a mission going.

    Args:
        prepare: reads the settings and builds a mission; raises a CrackscoutError that says what to mend.
        vitals: the loop's pulse.
        notify: how systemd is told.
        retry_s: between attempts in safe mode.
        on_safe_mode: told why, in the loop's thread, at each attempt that failed.
    """

    def __init__(
        self,
        prepare: Callable[[], Mission],
        *,
        vitals: Vitals,
        notify: Notifier,
        retry_s: float = RETRY_S,
        on_safe_mode: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._prepare = prepare
        self._vitals = vitals
        self._notify = notify
        self._retry_s = retry_s
        self._on_safe_mode = on_safe_mode
        self._preparing = threading.Lock()
        self._next: Mission | None = None
        self._stopping = False
        self._refusal: str | None = None  # why the last reload was not taken over
        self._idle = False
        self.problem: str | None = None  # why nothing is captured; None while all is well

    def reload(self) -> None:
        """Take the settings over as they are now, from any thread; return when the new run is about to begin.

        Raises:
            CrackscoutError: they do not fit; what runs goes on as it was.
        """
        with self._preparing:
            self._notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
            try:
                self._take(self._prepare())
                self._refusal = None
                self._vitals.end()
            except CrackscoutError as exc:
                self._refusal = str(exc)
                if self.problem is not None:
                    self._in_safe_mode(exc)
                raise
            finally:
                self._notify("READY=1", f"STATUS={self._state}")

    def run(self) -> None:
        """Run missions until SIGTERM or Ctrl-C; to be called in the main thread.

        Raises:
            CameraHungError: only another process can open a camera again; the mission has ended in order.
        """
        with ExitStack() as stack:
            handlers = {signal.SIGTERM: self._on_stop, signal.SIGINT: self._on_stop, signal.SIGHUP: self._on_reload}
            for number, handler in handlers.items():
                stack.callback(signal.signal, number, signal.signal(number, handler))
            self._start()
            self._notify("READY=1", f"STATUS={self._state}")
            while not self._stopping:
                self._once()
            if self._preparing.acquire(blocking=False):  # what a reload builds meanwhile ends with the process
                with ExitStack() as held:
                    held.callback(self._preparing.release)
                    self._take(None)
            logger.info("told to stop")
        self._notify("STOPPING=1", "STATUS=stopping")

    def _start(self) -> None:
        """Build the first mission, or go into safe mode; never raises what a person can mend."""
        try:
            with self._preparing:
                self._take(self._prepare())
        except CrackscoutError as exc:
            self._in_safe_mode(exc)
            self._on_safe_mode(str(exc))

    def _once(self) -> None:
        with self._preparing:
            self._vitals.begin()
            if self._stopping:  # between the question above and this
                return
            mission, self._next = self._next, None
        if mission is None:
            self._vitals.wait(self._retry_s)
            if self.problem is not None and not self._vitals.ending:
                self._start()
            return
        self.problem, self._idle = None, False
        self._notify(f"STATUS={self._state}")
        logger.info("a mission begins")
        try:
            mission(self._vitals)
        except CameraHungError:
            raise  # what hangs goes with this process only; systemd begins another
        except CrackscoutError as exc:
            logger.error("the mission ended: %s", exc)  # noqa: TRY400 - its text says what to mend; a traceback does not
            self._in_safe_mode(exc)
            self._on_safe_mode(str(exc))
        else:
            if not self._vitals.ending:
                logger.info("every source has come to its end; waiting for a reload")
                self._idle = True
                self._notify(f"STATUS={self._state}")

    def _take(self, mission: Mission | None) -> None:
        """Let a mission be the next; one that was to be it and never began gives back what it holds."""
        superseded, self._next = self._next, mission
        if superseded is not None:
            superseded.close()

    def _in_safe_mode(self, exc: CrackscoutError) -> None:
        if str(exc) != self.problem:
            logger.error("safe mode, nothing is captured: %s", exc)
        self.problem = str(exc)
        self._notify(f"STATUS={self._state}")

    @property
    def _state(self) -> str:
        if self.problem is not None:
            return f"safe mode, nothing is captured: {self.problem}"
        doing = "idle: every source has come to its end" if self._idle else "running"
        return f"{doing}; the last reload was refused: {self._refusal}" if self._refusal else doing

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        # No exception: it would come out in the middle of a commit. The loop looks several times a second; should it
        # hang, systemd kills it after TimeoutStopSec.
        self._stopping = True
        self._vitals.end()

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        # in a thread: building parts takes a while, and a handler may have interrupted anything
        threading.Thread(target=self._reload_told, name="reload", daemon=True).start()

    def _reload_told(self) -> None:
        try:
            self.reload()
            logger.info("the new settings are taken over")
        except CrackscoutError as exc:
            logger.error("the old settings stay: %s", exc)  # noqa: TRY400 - its text says what to mend
        except Exception:
            logger.exception("the old settings stay")
