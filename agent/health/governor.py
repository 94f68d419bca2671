"""Slows the agent down while the device is hot or draws too much. The policy: `HeatSettings`."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final, Literal

from agent.capture.pace import Limit
from agent.health.readings import Readings, parse_tegrastats, read_sysfs
from agent.health.settings import HeatSettings

Step = Literal["full", "slow", "stopped"]
STALE_S: Final = 15.0  # a line of tegrastats older than this is no reading

logger = logging.getLogger(__name__)


class Governor:
    """Reads the sensors now and then, and says how fast frames may be inferred.

    Args:
        settings: the policy.
        read: the sensors; fails never.
        close: what ends them.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: HeatSettings,
        read: Callable[[], Readings],
        *,
        close: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._read = read
        self.close = close
        self._clock = clock
        self._next = clock()
        self._hot: Step = "full"
        self._hungry = False
        self.readings = Readings()
        self.changes = 0  # of the step
        self._limit = Limit()

    @property
    def step(self) -> Step:
        """What is in force."""
        return "slow" if self._hot == "full" and self._hungry else self._hot

    def limit(self) -> Limit:
        """See `agent.capture.pace.Pace.limit`."""
        if self._clock() >= self._next:
            self._next = self._clock() + self._settings.every_s
            self.readings = self._read()
            before = self.step
            self._hot = self._hot_step(self.readings.hottest_c)
            self._hungry = self._is_hungry(self.readings.board_w)
            if self.step != before:
                self.changes += 1
                self._limit = Limit() if self.step == "full" else self._limit_now()
                logger.warning("pace: %s; %s", self.step, self._limit.reason or "no limit any more")
        return self._limit

    def _hot_step(self, hottest_c: float | None) -> Step:
        s = self._settings
        if hottest_c is None:
            return "full"
        stop_mark = s.stop_above_c - (s.back_c if self._hot == "stopped" else 0)
        slow_mark = s.slow_above_c - (s.back_c if self._hot != "full" else 0)
        if hottest_c > stop_mark:
            return "stopped"
        return "slow" if hottest_c > slow_mark else "full"

    def _is_hungry(self, board_w: float | None) -> bool:
        s = self._settings
        if board_w is None or s.slow_above_w is None:
            return False
        return board_w > s.slow_above_w - (s.back_w if self._hungry else 0)

    def _limit_now(self) -> Limit:
        readings = self.readings
        if self._hot != "full":
            zone = max(readings.temperatures_c, key=lambda name: readings.temperatures_c[name])
            reason = f"{zone} is at {readings.hottest_c:.1f} C"
        else:
            reason = f"the board draws {readings.board_w:.1f} W"
        if self.step == "stopped":
            return Limit(stopped=True, reason=reason)
        return Limit(max_fps=self._settings.slow_fps, reason=reason)


class Tegrastats:
    """NVIDIA's tool, run beside the agent from the first reading on; its latest line counts.

    Args:
        command: the tool's name or path.
        every_s: how often it shall write a line.
    """

    def __init__(self, command: str, *, every_s: float) -> None:
        self._command = command
        self._every_s = every_s
        self._lock = threading.Lock()
        self._latest: tuple[float, Readings] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._started = False

    def __call__(self) -> Readings:
        """Return the latest readings; empty ones where the tool is not there, died, or fell silent."""
        if not self._started:
            self._started = True
            self._start()
        with self._lock:
            latest = self._latest
        return latest[1] if latest is not None and time.monotonic() - latest[0] < STALE_S else Readings()

    def close(self) -> None:
        """End the tool; a second call does nothing."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        try:
            process = self._process = subprocess.Popen(  # noqa: S603 - named by the device's owner in the settings
                [self._command, "--interval", str(round(self._every_s * 1000))],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        except OSError as exc:
            logger.warning("heat.tegrastats: %s cannot be run (%s); nothing is limited", self._command, exc.strerror)
            return
        threading.Thread(target=self._listen, args=(process,), name="tegrastats", daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        with process.stdout or nullcontext(()) as lines:
            for line in lines:
                readings = parse_tegrastats(line)
                with self._lock:
                    self._latest = (time.monotonic(), readings)


def open_governor(settings: HeatSettings) -> Governor:
    """Return the governor that the settings ask for; nothing is read or run before its first use."""
    match settings.source:
        case "sysfs":
            return Governor(settings, lambda: read_sysfs(settings.root))
        case "tegrastats":
            tool = Tegrastats(settings.tegrastats, every_s=settings.every_s)
            return Governor(settings, tool, close=tool.close)
        case "off":
            return Governor(settings, Readings)
