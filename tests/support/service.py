"""Stands where systemd stands: a real NOTIFY_SOCKET, a watchdog's limit, signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.commands import call, variables

PATIENCE_S = 60.0  # of a wait that is expected to end much sooner


class Manager:
    """Hears what a service says over sd_notify."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = os.path.relpath(folder / "notify")  # a socket's name may be 107 bytes long
        self._socket.bind(self.address)
        self._socket.settimeout(0.2)
        self.lines: list[str] = []
        self._open = True
        self._thread = threading.Thread(target=self._hear)
        self._thread.start()

    def close(self) -> None:
        self._open = False
        self._thread.join()
        self._socket.close()
        Path(self.address).unlink(missing_ok=True)  # a service that is started again is heard again

    def wait_for(self, what: str, *, times: int = 1) -> None:
        """Wait for a line that holds `what`, so many times."""
        wait_until(lambda: self.count(what) >= times, lambda: f"no {what!r} in {self.lines}")

    def count(self, what: str) -> int:
        return sum(what in line for line in self.lines)

    def _hear(self) -> None:
        while self._open:
            with suppress(TimeoutError):
                self.lines += self._socket.recv(1 << 16).decode().splitlines()


class ServiceProcess:
    """`crack-agent run --service` as systemd starts it, from the folder that holds its settings."""

    def __init__(self, config: Path, manager: Manager, **environment: str) -> None:
        self._log = config.parent / "log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                call("crack-agent", "run", "--service", "--config", config),
                env=variables(NOTIFY_SOCKET=str(Path(manager.address).absolute()), **environment),
                stderr=log,
                stdout=log,
                cwd=config.parent,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for_log(self, what: str, *, times: int = 1) -> None:
        wait_until(lambda: self.log.count(what) >= times, lambda: f"no {what!r} in {self.log}")

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def service(config: Path, **environment: str) -> Iterator[tuple[ServiceProcess, Manager]]:
    """Run the service for the length of the block."""
    manager = Manager(config.parent)
    running = ServiceProcess(config, manager, **environment)
    try:
        yield running, manager
    finally:
        running.process.kill()
        running.process.wait()
        manager.close()


def wait_until(true: Callable[[], bool], why: Callable[[], str]) -> None:
    """Poll; fail with `why` in the end."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, why()
        time.sleep(0.05)
