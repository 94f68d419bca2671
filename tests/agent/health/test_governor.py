"""The policy of heat and power, step by step, and on a sysfs of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from agent.capture.pace import Limit
from agent.health.governor import Governor, Tegrastats, open_governor
from agent.health.readings import Readings
from agent.health.settings import HeatSettings
from tests.support.cameras import wait_until

POLICY = HeatSettings(slow_above_c=80, stop_above_c=90, back_c=5, slow_above_w=15, back_w=2, slow_fps=1.5, every_s=2)


class Board:
    """Sensors and a clock, set by hand."""

    def __init__(self, policy: HeatSettings = POLICY) -> None:
        self.hottest: float | None = None
        self.power: float | None = None
        self.now = 0.0
        self.reads = 0
        self.governor = Governor(policy, self._read, clock=lambda: self.now)

    def at(self, hottest: float | None = None, *, watts: float | None = None) -> str:
        """Return the step at this reading."""
        self.hottest, self.power = hottest, watts
        self.now += 2
        self.governor.limit()
        return self.governor.step

    def _read(self) -> Readings:
        self.reads += 1
        return Readings(
            temperatures_c={} if self.hottest is None else {"cpu": 30.0, "tj": self.hottest},
            power_w={} if self.power is None else {"VDD_IN": self.power},
        )


def test_steps_up_at_the_marks_and_down_only_well_below_them() -> None:
    board = Board()
    heat = [70, 80, 80.1, 79, 75.1, 75, 80, 90, 90.1, 86, 85.1, 85, 76, 75]
    assert [board.at(c) for c in heat] == [
        "full", "full", "slow", "slow", "slow", "full", "full", "slow", "stopped", "stopped", "stopped", "slow", "slow",
        "full",
    ]  # fmt: skip
    assert board.governor.changes == 6


def test_a_board_that_is_too_hot_at_once_stops_at_once() -> None:
    assert Board().at(99) == "stopped"


def test_the_limits_are_those_of_the_steps_and_say_why() -> None:
    board = Board()
    board.at(85)
    assert board.governor.limit() == Limit(max_fps=1.5, reason="tj is at 85.0 C")
    board.at(95)
    assert board.governor.limit() == Limit(stopped=True, reason="tj is at 95.0 C")
    board.at(50)
    assert board.governor.limit() == Limit()


def test_power_slows_but_never_stops() -> None:
    board = Board()
    assert [board.at(50, watts=w) for w in (15, 15.1, 13.1, 99, 13)] == ["full", "slow", "slow", "slow", "full"]
    board.at(50, watts=16)
    assert board.governor.limit().reason == "the board draws 16.0 W"


def test_heat_goes_before_power() -> None:
    board = Board()
    assert board.at(95, watts=20) == "stopped"
    assert board.at(60, watts=20) == "slow"
    assert board.governor.limit().reason == "the board draws 20.0 W"


def test_where_nothing_can_be_read_nothing_is_limited() -> None:
    board = Board()
    assert board.at(95) == "stopped"
    assert board.at(None) == "full"


def test_sensors_are_not_read_at_every_frame() -> None:
    board = Board()
    for _ in range(100):
        board.governor.limit()
        board.now += 0.1
    assert board.reads == pytest.approx(5, abs=1)


def test_marks_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"stop_above_c=80.0 must be above slow_above_c=85"):
        HeatSettings(stop_above_c=80)


def test_on_a_sysfs_of_files(tmp_path: Path) -> None:
    zone = tmp_path / "class" / "thermal" / "thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("tj-thermal\n")
    governor = open_governor(HeatSettings(root=tmp_path, every_s=0.1))
    for milli, step in ((84_000, "full"), (96_000, "stopped"), (91_000, "stopped"), (90_000, "slow"), (79_000, "full")):
        (zone / "temp").write_text(f"{milli}\n")
        wait_until(lambda step=step: governor.limit() is not None and governor.step == step, seconds=10)  # type: ignore[misc]


def test_tegrastats_is_run_read_and_ended(tmp_path: Path) -> None:
    tool = tmp_path / "tegrastats"
    tool.write_text(
        '#!/bin/sh\necho $$ > "$(dirname $0)/pid"\nwhile true; do echo "tj@97C VDD_IN 4850mW/1mW"; sleep 0.1; done\n'
    )
    tool.chmod(0o755)
    governor = open_governor(HeatSettings(source="tegrastats", tegrastats=str(tool), every_s=0.1))
    assert not (tmp_path / "pid").exists()  # not before it is needed
    wait_until(lambda: governor.limit().stopped)
    assert governor.readings.board_w == 4.85
    governor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_tool_that_is_not_there_limits_nothing_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    tool = Tegrastats("/nowhere/tegrastats", every_s=1)
    assert [tool() for _ in range(3)] == [Readings()] * 3
    tool.close()
    assert caplog.text.count("cannot be run (No such file or directory)") == 1


def test_off_is_off() -> None:
    assert open_governor(HeatSettings(source="off")).limit() == Limit()
