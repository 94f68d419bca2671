"""Who said what, who heard what: a talker's reports against a subscriber's, and the figures of a fault test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.broker import Subscriber
from tests.support.commands import ROOT, variables

STARTS_S = 60.0


class Talker:
    """A light agent with its folder; it can be killed and started again.

    Args:
        folder: for outbox and `said`.
        port: of the broker.
        asked: see `tests.support.talker`.
        environment: more variables for its process.
    """

    def __init__(self, folder: Path, port: int, *, environment: Mapping[str, str] | None = None, **asked: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._mqtt = {"host": "127.0.0.1", "port": port, "keepalive": 5, **asked.pop("mqtt", {})}
        self._asked = asked
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **asked: Any) -> None:
        """Begin, with other wishes if need be."""
        wishes = {**self._asked, **asked}
        wishes["mqtt"] = {**self._mqtt, **wishes.pop("mqtt", {})}
        words = [sys.executable, "-m", "tests.support.talker", str(self.folder), json.dumps(wishes)]
        with (self.folder / "log").open("ab") as log:
            environment = variables(**self._environment)
            self._process = subprocess.Popen(words, cwd=ROOT, env=environment, stderr=log)

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def finish(self, **asked: Any) -> None:
        """Deliver what is left, saying nothing new, and end."""
        self.start(frames=0, flush_s=120, **asked)
        assert self.wait() == 0, (self.folder / "log").read_text()

    def wait(self) -> int:
        """Wait until it ends by itself."""
        assert self._process
        return self._process.wait(300)

    @property
    def lives(self) -> bool:
        """Whether its process does."""
        assert self._process
        return self._process.poll() is None

    def said(self) -> set[str]:
        """The reports of which `publish` has returned."""
        path = self.folder / "said"
        return set(path.read_text().split()) if path.exists() else set()

    def say_at_least(self, count: int) -> None:
        """Wait until so many more are said."""
        before, end = len(self.said()), time.monotonic() + STARTS_S
        while len(self.said()) < before + count:
            assert self.lives, (self.folder / "log").read_text()
            assert time.monotonic() < end, "it says nothing"
            time.sleep(0.05)

    def status(self) -> dict[str, Any]:
        """What it said of itself at its last end."""
        found: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        return found


def heard(subscriber: Subscriber) -> Counter[str]:
    """How often each report came."""
    counts: Counter[str] = Counter()
    for message in subscriber.messages():
        if "/evidence/" in message.topic:
            counts[f"{message.topic.rsplit('/', 1)[1]}-evidence"] += 1
        elif message.topic.endswith("/crack"):
            counts[message.payload["id"]] += 1
    return counts


def given_up(subscriber: Subscriber) -> int:
    """How many reports the gaps tell of."""
    return sum({gap["id"]: gap["count"] or 0 for gap in subscriber.payloads("/gap")}.values())


def settle(talkers: list[Talker], subscriber: Subscriber, what: str, **figures: object) -> None:
    """Hold the accounts: all that was said was heard, or is in a gap. A repeated report is the same report."""
    said = set().union(*(talker.said() for talker in talkers))
    end = time.monotonic() + 60
    while True:
        counts, dropped = heard(subscriber), given_up(subscriber)
        missing = said - set(counts)
        if len(missing) <= dropped or time.monotonic() > end:
            break
        time.sleep(0.2)
    assert len(missing) == dropped, f"{len(missing)} of {len(said)} are missing, gaps tell of {dropped}"
    _assert_same_content(subscriber)
    note(what, said=len(said), heard=len(counts), in_gaps=dropped, repeated=counts.total() - len(counts), **figures)


def note(what: str, **figures: object) -> None:
    """Add a line to the table of `make test-faults`."""
    path = os.environ.get("CRACKSCOUT_FAULTS_TABLE")
    if path:
        with Path(path).open("a", encoding="utf-8") as table:
            table.write(f"{what}: {', '.join(f'{name} {value}' for name, value in figures.items())}\n")


def _assert_same_content(subscriber: Subscriber) -> None:
    seen: dict[str, dict[str, Any]] = {}
    for payload in subscriber.payloads("/crack"):
        same = {**payload, "backfill": False}
        assert seen.setdefault(payload["id"], same) == same
