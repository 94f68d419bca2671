"""What a check looks at and what it says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from agent.redact import without_passwords
from agent.settings import Settings

Verdict = Literal["ok", "warn", "fail"]


def may_open(node: Path) -> bool:
    """Try it: a unit's DeviceAllow= shows in no permission bits. A device that is busy may be opened."""
    try:
        os.close(os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except PermissionError:
        return False
    except OSError:
        return True
    return True


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: ok; warn, it starts but something will be missed; fail, it does not do its work."""

    check: str
    verdict: Verdict
    text: str
    fix: str | None = None  # what to do; None where nothing need be done

    def as_text(self) -> str:
        """Return the line, and below it what to do."""
        advice = f"\n     -> {self.fix}" if self.fix else ""
        return f"{self.verdict:4} {self.check}: {self.text}{advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What is looked at.

    Args:
        settings: as `run` would have them.
        environment: the process's, for secrets.
        root: where the system's files are; another one is a device in a test.
        may_open: whether this user is let at a device node.
    """

    settings: Settings
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    root: Path = Path("/")
    may_open: Callable[[Path], bool] = may_open

    def path(self, absolute: str) -> Path:
        """Return a file of the system's."""
        return self.root / absolute.lstrip("/")


Check: TypeAlias = Callable[[Device], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Examination:
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]

    @property
    def could_start(self) -> bool:
        """Whether nothing failed."""
        return all(finding.verdict != "fail" for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 it could start; 2 the settings do not fit; 1 anything else."""
        wrong = any(finding.check == "settings" and finding.verdict == "fail" for finding in self.findings)
        return 0 if self.could_start else 2 if wrong else 1

    def as_json(self) -> dict[str, Any]:
        """Return one object; `could_start` and the findings."""
        return {"could_start": self.could_start, "findings": [asdict(finding) for finding in self.findings]}

    def as_text(self) -> str:
        """Return a line each, and the sum."""
        count = {verdict: sum(f.verdict == verdict for f in self.findings) for verdict in ("ok", "warn", "fail")}
        verdict = "this device could start" if self.could_start else "this device could not do its work"
        lines = [finding.as_text() for finding in self.findings]
        told = f"{verdict}: {count['ok']} ok, {count['warn']} to look at, {count['fail']} to fix"
        return without_passwords("\n".join([*lines, told]))
