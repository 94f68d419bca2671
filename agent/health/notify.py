"""What systemd is told over NOTIFY_SOCKET, without a package: see sd_notify(3)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from typing import Protocol

from agent.redact import without_passwords

logger = logging.getLogger(__name__)


class Notifier(Protocol):
    """Takes sd_notify's lines, for instance `READY=1`."""

    def __call__(self, *lines: str) -> None:
        """Send the lines as one message; never raises."""
        ...


def notifier(environment: Mapping[str, str]) -> Notifier:
    """Return what reaches the service manager that started us; without one it does nothing."""
    address = environment.get("NOTIFY_SOCKET", "")

    def notify(*lines: str) -> None:
        if not address:
            return
        message = without_passwords("\n".join(line.replace("\n", " ") for line in lines))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
                end.settimeout(1)  # a manager that does not read must not stop the flight
                end.connect(f"\0{address[1:]}" if address.startswith("@") else address)
                end.sendall(message.encode(errors="replace"))
        except OSError as exc:
            logger.warning("systemd was not told %s (%s)", lines[0], exc)

    return notify


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """Return after how many seconds of silence the service manager kills us; None where it does not."""
    usec, meant = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", str(pid))
    return int(usec) / 1e6 if usec.isdecimal() and int(usec) and meant == str(pid) else None
