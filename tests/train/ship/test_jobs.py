"""Jobs run side by side, once each, and a failure or a stop loses nothing that is done."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError
from train.ship.jobs import Job, run_jobs


def write(path: Path, first: Path | None = None) -> None:
    assert first is None or first.exists(), "what it needs comes first"
    with path.open("a") as stream:
        stream.write("done\n")


def fail(message: str) -> None:
    raise ConfigError(message)


def wait_for_ever(started: Path) -> None:
    started.write_text("")
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        (started.parent / "ended-in-order").write_text("")
        raise


def job(folder: Path, name: str, *needs: str) -> Job:
    first = folder / needs[0] if needs else None
    path = folder / name
    return Job(name=name, action=partial(write, path, first), done=path.exists, needs=needs)


def test_jobs_are_done_once_and_after_what_they_need(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a"), job(tmp_path, "b", "a")]
    told: list[str] = []
    assert run_jobs(jobs, tmp_path / "logs", parallel=2, told=told.append) == {}
    assert run_jobs(jobs, tmp_path / "logs", parallel=2, told=told.append) == {}
    assert [(tmp_path / name).read_text() for name in "ab"] == ["done\n"] * 2
    assert [line.split(",")[0] for line in told] == ["1 of 2: a", "2 of 2: b"]


def test_a_failure_is_told_with_its_last_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    bad = Job(name="bad/one", action=partial(fail, "no such folder; make it"), done=(tmp_path / "never").exists)
    lazy = Job(name="lazy", action=partial(write, tmp_path / "other"), done=(tmp_path / "never").exists)
    failed = run_jobs([bad, lazy, job(tmp_path, "c", "bad/one"), job(tmp_path, "d")], tmp_path / "logs", parallel=2)
    assert set(failed) == {"bad/one", "lazy", "c"}
    assert "ended with 2" in failed["bad/one"]
    assert failed["bad/one"].endswith("no such folder; make it")
    assert failed["c"] == "needs bad/one"
    assert (tmp_path / "d").exists()


@pytest.mark.parametrize("interrupts", [signal.default_int_handler, signal.SIG_IGN], ids=["terminal", "background"])
def test_when_the_time_is_over_jobs_end_in_order(tmp_path: Path, interrupts: Any) -> None:
    """Also where a shell began the command in the background, which leaves Ctrl-C's signal ignored."""
    before = signal.signal(signal.SIGINT, interrupts)
    started = tmp_path / "started"
    endless = Job(name="endless", action=partial(wait_for_ever, started), done=(tmp_path / "never").exists)

    class Later(float):
        """A moment that comes once the job has begun."""

        def __lt__(self, _now: object) -> bool:
            return started.exists()

    try:
        with pytest.raises(KeyboardInterrupt):
            run_jobs([endless], tmp_path / "logs", until=Later())
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "ended-in-order").exists()
