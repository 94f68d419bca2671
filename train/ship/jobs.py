"""Work in processes of its own, side by side, each piece once: what is done is not done again.

A job ends its process when it ends, so that memory, threads and a GPU's context go with it. Stopped by Ctrl-C, by
SIGTERM to the parent, or by a limit of time, running jobs are asked to end in order and go on from there the next time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from agent.errors import CrackscoutError

_POLL_S: Final = 0.1
_GRACE_S: Final = 120.0  # for a job to end in order


class ShipError(CrackscoutError):
    """A part of a plan failed while it ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A piece of work."""

    name: str
    action: Callable[[], None]  # can be pickled; raises if it fails
    done: Callable[[], bool]
    needs: tuple[str, ...] = ()  # names of jobs that come before


def run_jobs(
    jobs: Sequence[Job],
    logs: Path,
    *,
    parallel: int = 1,
    until: float | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Do every job that is not done, as soon as what it needs is, and return why some were not: name -> reason.

    Args:
        jobs: what one needs comes before it.
        logs: folder for what each job prints.
        parallel: jobs at a time.
        until: on the monotonic clock; what is not done then is stopped.
        told: is given a line when a job begins or ends.

    Raises:
        KeyboardInterrupt: stopped; the same call goes on.
    """
    logs.mkdir(parents=True, exist_ok=True)
    waiting = [job for job in jobs if not job.done()]
    left = {job.name for job in waiting}
    total, failed = len(jobs), dict[str, str]()
    running: dict[str, tuple[BaseProcess, Job, float]] = {}
    context = multiprocessing.get_context("spawn")
    try:
        while waiting or running:
            for name, (process, job, begun) in list(running.items()):
                if process.is_alive():
                    continue
                process.join()
                del running[name]
                if process.exitcode == 0 and job.done():
                    left.discard(name)
                    told(f"{total - len(left)} of {total}: {name}, {time.monotonic() - begun:.0f} s")
                else:
                    failed[name] = f"ended with {process.exitcode}; {_log(logs, name)}: {_last_line(_log(logs, name))}"
                    told(f"{name} FAILED: {failed[name]}")
            _stop_at(until)
            for job in list(waiting):
                lost = [need for need in job.needs if need in failed]
                if lost:
                    failed[job.name] = f"needs {lost[0]}"
                    waiting.remove(job)
                elif len(running) < parallel and not left.intersection(job.needs):
                    waiting.remove(job)
                    process = context.Process(target=_child, args=(job.action, _log(logs, job.name), os.getpid()))
                    process.start()
                    running[job.name] = (process, job, time.monotonic())
            time.sleep(_POLL_S)
    except BaseException:
        _stop([process for process, *_ in running.values()])
        raise
    return failed


def _stop_at(until: float | None) -> None:
    if until is not None and time.monotonic() > until:
        raise KeyboardInterrupt


def _stop(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.pid is not None and process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
    end = time.monotonic() + _GRACE_S
    for process in processes:
        process.join(max(end - time.monotonic(), 0))
        if process.is_alive():
            process.kill()
            process.join()


def _child(action: Callable[[], None], log: Path, parent: int) -> None:
    """Do a job in this process, which has no other purpose."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C goes to the parent alone, which asks once
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background commands are begun without it
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        action()
    except KeyboardInterrupt:
        sys.exit(130)
    except CrackscoutError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)


def _end_with(parent: int) -> None:
    """End this process in order once its parent is gone, however that came."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)


def _log(logs: Path, name: str) -> Path:
    return logs / f"{name.replace('/', '-')}.log"


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return "no log"
    return lines[-1] if lines else "nothing in the log"
