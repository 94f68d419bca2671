"""What was prepared and never begins gives back what it holds; and how a service ends by itself."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from agent.errors import CameraHungError
from agent.health.notify import notifier
from agent.health.vitals import Vitals
from agent.service import Service


class Counted:
    """A mission that notes what becomes of it."""

    def __init__(self, work: Callable[[], object] = lambda: None) -> None:
        self._work = work
        self.begun = self.closed = 0

    def __call__(self, vitals: Vitals, /) -> None:
        self.begun += 1
        self._work()

    def close(self) -> None:
        self.closed += 1

    @property
    def fate(self) -> tuple[int, int]:
        return self.begun, self.closed


def stop() -> None:
    signal.raise_signal(signal.SIGTERM)


def served(*missions: Counted) -> Service:
    """Return a service that prepares these, one after the other."""
    coming = iter(missions)
    notify = notifier({})
    return Service(lambda: next(coming), vitals=Vitals(notify, watchdog_s=None), notify=notify)


def test_a_reload_before_the_last_one_began() -> None:
    first, second, third = Counted(), Counted(), Counted(stop)
    service = served(first, second, third)
    service.reload()
    assert (first.fate, second.fate) == ((0, 0), (0, 0))
    service.reload()
    assert (first.fate, second.fate) == ((0, 1), (0, 0))
    service.run()  # prepares the third
    assert [mission.fate for mission in (first, second, third)] == [(0, 1), (0, 1), (1, 0)]


def test_a_camera_that_only_another_process_can_open_again_ends_this_one() -> None:
    def hang() -> None:
        raise CameraHungError("camera crown: the driver does not come back")

    mission, waits = Counted(hang), Counted()
    service = served(mission, waits)
    with pytest.raises(CameraHungError, match="crown"):
        service.run()
    assert (mission.fate, waits.fate) == ((1, 0), (0, 0))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "the process can be told to stop as before"


def test_the_end_of_the_service_before_the_next_one_began() -> None:
    def reload_and_stop() -> None:
        service.reload()
        stop()

    runs, waits = Counted(reload_and_stop), Counted()
    service = served(runs, waits)
    service.run()
    assert (runs.fate, waits.fate) == ((1, 0), (0, 1))
