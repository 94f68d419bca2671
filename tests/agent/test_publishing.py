"""What a live run says while it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.contract.reports import MissionReport
from agent.deliver import DeliveryStatus, Report
from agent.listeners import Publishing
from agent.record import FlightRecorder
from tests.support import flights


class Journal:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Report] = []
        self.status = DeliveryStatus()

    def publish(self, *reports: Report) -> None:
        self.told += reports

    def flush(self, timeout_s: float) -> int:
        return int(timeout_s < 0)

    def close(self) -> None:
        self.told.clear()


@pytest.mark.parametrize(("mode", "reports"), [("live", 3), ("replay", 0)])
def test_a_live_mission_says_now_and_then_how_far_it_is_and_a_replay_goes_by_no_clock(
    tmp_path: Path, mode: str, reports: int
) -> None:
    journal = Journal()
    header = flights.header(mode=mode)
    with FlightRecorder.open(tmp_path / "flight", header) as recorder:
        publishing = Publishing(
            journal, recorder=recorder, header=header, mission_every_s=0,
            info={"config_sha256": "0" * 64, "cameras": ("c",), "segmenter_threshold": 0.5, "gate_threshold": 0.5},
        )  # fmt: skip
        publishing.start()
        for index in range(3):
            recorder.add(*flights.rows(index))
            publishing.skipped(flights.skipped(index))
        publishing.end()
    told = [report for report in journal.told if isinstance(report, MissionReport)]
    assert [report.event for report in told] == ["start", *["report"] * reports, "end"]
    assert [report.frames for report in told if report.event == "report"] == [1, 2, 3][:reports]
    assert len({report.id for report in told}) == len(told)
