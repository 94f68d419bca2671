"""Runs our commands as a user does: a process of its own, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def crack(
    command: str, *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `crack-agent`, `crack-train` or `crack-export` to its end, whatever that is."""
    return subprocess.run(
        call(command, *arguments), cwd=cwd, env=variables(**environment), capture_output=True, text=True, check=False
    )


def call(command: str, *arguments: object) -> list[str]:
    """Return the words of a call, by the interpreter that runs the tests."""
    package = command.removeprefix("crack-")
    return [sys.executable, "-c", f"from {package}.cli import main; main()", *map(str, arguments)]


def variables(**environment: str) -> dict[str, str]:
    """Return an environment without settings of the machine's own, one thread a library."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRACKSCOUT_")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}


def child_of(parent: int, module: str) -> int | None:
    """Return the process of a module that `parent` started; None if there is none (yet)."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, stat = (folder / "cmdline").read_bytes(), (folder / "stat").read_text()
        except OSError:
            continue
        if module.encode() in command and int(stat.rsplit(")", 1)[1].split()[1]) == parent:
            return int(folder.name)
    return None
