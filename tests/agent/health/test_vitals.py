from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from agent.health.vitals import Vitals


class Systemd:
    """Hears what it would be told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, *lines: str) -> None:
        self.lines += lines

    @property
    def fed(self) -> int:
        return self.lines.count("WATCHDOG=1")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def systemd() -> Systemd:
    return Systemd()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_watchdog_is_fed_by_frames_but_no_more_often_than_four_times_in_its_limit(
    systemd: Systemd, clock: Clock
) -> None:
    vitals = Vitals(systemd, watchdog_s=40, clock=clock)
    for _ in vitals.over(range(100)):  # one each second: 100 s of flight
        clock.now += 1
    assert systemd.fed == 10


def test_a_loop_that_hangs_feeds_nobody_though_other_threads_live(systemd: Systemd, clock: Clock) -> None:
    hung, mend = threading.Event(), threading.Event()

    def frames() -> Iterator[int]:
        yield 0
        hung.set()
        mend.wait(60)

    vitals = Vitals(systemd, watchdog_s=1, clock=clock)
    loop = threading.Thread(target=lambda: list(vitals.over(frames())))
    loop.start()
    assert hung.wait(60)
    fed = systemd.fed
    clock.now += 1000
    vitals.told()  # any other thread, whatever it does
    assert (fed, systemd.fed) == (1, 1)
    mend.set()
    loop.join()
    assert systemd.fed == 2


def test_who_waits_beats(systemd: Systemd) -> None:
    vitals = Vitals(systemd, watchdog_s=0.01)
    vitals.wait(0.2)
    assert systemd.fed > 3


def test_without_a_watchdog_nobody_is_told(systemd: Systemd) -> None:
    vitals = Vitals(systemd)
    vitals.beat()
    assert systemd.lines == []


def test_a_run_that_shall_end_takes_no_further_frame(systemd: Systemd) -> None:
    vitals = Vitals(systemd)
    seen = []
    for frame in vitals.over(range(10)):
        seen.append(frame)
        if frame == 2:
            vitals.end()
    assert seen == [0, 1, 2]
    assert vitals.ending
    vitals.begin()
    assert list(vitals.over(range(3))) == [0, 1, 2]
