from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from agent.health.notify import notifier, watchdog_seconds


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_gets_all_lines_in_one_message(tmp_path: Path, abstract: bool) -> None:  # noqa: FBT001
    name = f"@crackscout-{os.getpid()}-{tmp_path.name}" if abstract else os.path.relpath(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0", 1) if abstract else name)
        systemd.settimeout(30)
        notifier({"NOTIFY_SOCKET": name})("READY=1", "STATUS=two\nlines, rtsp://u:secret@h/")
        assert systemd.recv(4096).decode() == "READY=1\nSTATUS=two lines, rtsp://u:***@h/"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_without_systemd_nothing_happens(environment: dict[str, str]) -> None:
    notifier(environment)("READY=1")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        pytest.param({}, None, id="no watchdog"),
        pytest.param({"WATCHDOG_USEC": "30000000"}, 30.0, id="for whoever asks"),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0, id="for us"),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None, id="for another process"),
        pytest.param({"WATCHDOG_USEC": "soon"}, None, id="not a number"),
        pytest.param({"WATCHDOG_USEC": "0"}, None, id="switched off"),
    ],
)
def test_the_watchdogs_limit_is_the_environments(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment, 7) == seconds
