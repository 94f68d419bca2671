from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from itertools import count

import pytest

from agent.contract.flight import CrackRow, FlightHeader
from agent.deliver import NullPublisher, Reporter, Stamp, clock_stamp
from agent.deliver.reporter import rfc3339

Row = Callable[..., CrackRow]


@pytest.fixture
def live(header: FlightHeader) -> FlightHeader:
    return header.model_copy(update={"mode": "live"})


class TestReplay:
    def test_a_crack_says_what_its_row_says(self, header: FlightHeader, row: Row) -> None:
        known = {"scale_mm_px": 0.5, "scale_source": "setting", "width_mm": 1.5, "length_mm": 25.0}
        crack = row(4, **known)
        report = Reporter(header).crack(crack, media_time_ns=1_500_000_000)
        shared = set(type(report).model_fields) & set(CrackRow.model_fields) - {"event"}
        assert {"id", "crack_id", "width_mm", "scale_source", "bbox_w", "confidence"} <= shared
        assert {name: getattr(report, name) for name in shared} == {name: getattr(crack, name) for name in shared}
        assert (report.event, report.mode, report.mission_id, report.device) == (
            "new", "replay", header.mission_id, "cart",
        )  # fmt: skip
        assert report.bundle == "ab" * 6

    def test_an_unknown_scale_leaves_every_mm_field_null(self, header: FlightHeader, row: Row) -> None:
        report = Reporter(header).crack(row(0), media_time_ns=None)
        fields = [name for name in type(report).model_fields if "mm" in name.split("_") or name.endswith("mm2")]
        assert len(fields) == 8
        assert {getattr(report, name) for name in fields} == {None}

    def test_times_are_the_medias_and_the_clock_counts_for_nothing(self, header: FlightHeader, row: Row) -> None:
        taken = datetime(2024, 5, 6, 7, 8, 9, 250_000, tzinfo=timezone.utc)
        report = Reporter(header).crack(row(0), media_time_ns=int(taken.timestamp() * 1000) * 1_000_000)
        assert (report.time, report.clock_synced, report.mono_ns) == ("2024-05-06T07:08:09.250Z", False, None)
        assert report.ts == taken.timestamp() * 1000

    def test_media_without_times_are_at_zero(self, header: FlightHeader, row: Row) -> None:
        report = Reporter(header).crack(row(0), media_time_ns=None)
        assert (report.ts, report.time) == (0, "1970-01-01T00:00:00.000Z")

    def test_what_has_no_frame_bears_the_time_of_the_latest_crack(self, header: FlightHeader, row: Row) -> None:
        reporter = Reporter(header)
        assert reporter.mission("start", header).ts == 0
        reporter.crack(row(0), media_time_ns=2_000_000_000)
        assert reporter.mission("end", header).ts == reporter.state("stopped", header).ts == 2000

    def test_a_second_replay_says_the_same(self, header: FlightHeader, row: Row) -> None:
        def run() -> list[str]:
            reporter = Reporter(header)
            cracks = [reporter.crack(row(number), media_time_ns=None) for number in range(3)]
            missions = [reporter.mission("start", header), reporter.mission("end", header)]
            return [report.model_dump_json() for report in (*cracks, *missions)]

        assert run() == run()

    def test_reports_are_counted_and_mission_ids_differ(self, header: FlightHeader, row: Row) -> None:
        reporter = Reporter(header)
        assert [reporter.crack(row(0), media_time_ns=None).seq for _ in range(3)] == [1, 2, 3]
        ids = {reporter.mission(event, header).id for event in ("start", "report", "end")}
        assert len(ids) == 3
        assert all(uuid.UUID(id_).version == 5 for id_ in ids)

    def test_counts_are_the_records(self, header: FlightHeader) -> None:
        reporter = Reporter(header)
        for report in (reporter.mission("end", header), reporter.state("running", header)):
            assert (report.frames, report.skipped, report.cracks) == (7, 1, 3)

    def test_a_rendered_flight_is_a_replay(self, header: FlightHeader, row: Row) -> None:
        rendered = header.model_copy(update={"mode": "rendered"})
        assert Reporter(rendered).crack(row(0), media_time_ns=None).mode == "replay"

    def test_a_flight_that_no_agent_has_seen_has_nothing_to_report(self, header: FlightHeader) -> None:
        with pytest.raises(ValueError, match="names no bundle, runtime or variant"):
            Reporter(header.model_copy(update={"bundle": None}))


class TestLive:
    def test_times_are_the_clocks(self, live: FlightHeader, row: Row) -> None:
        ticks = count(1_700_000_000_000, 1000)
        reporter = Reporter(live, clock=lambda: Stamp(next(ticks), clock_synced=True, mono_ns=5))
        report = reporter.crack(row(0), media_time_ns=1)
        assert (report.ts, report.clock_synced, report.mono_ns) == (1_700_000_000_000, True, 5)
        assert reporter.state("running", live).time == "2023-11-14T22:13:21.000Z"

    def test_each_start_of_the_agent_is_a_boot_of_its_own(self, live: FlightHeader, row: Row) -> None:
        boots = {Reporter(live).crack(row(0), media_time_ns=None).boot_id for _ in range(2)}
        assert len(boots) == 2

    def test_the_clock_is_this_computers(self) -> None:
        first, second = clock_stamp(), clock_stamp()
        assert first.mono_ns is not None
        assert second.mono_ns is not None
        assert first.mono_ns < second.mono_ns
        assert first.ts_ms <= second.ts_ms


@pytest.mark.parametrize("ts_ms", [0, -1, 1, 253_370_764_800_000])
def test_a_time_reads_back_as_its_milliseconds(ts_ms: int) -> None:
    moment = datetime.fromisoformat(rfc3339(ts_ms).replace("Z", "+00:00"))
    assert (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds() * 1000 == pytest.approx(ts_ms, abs=0.4)


def test_a_run_that_publishes_nothing_waits_for_nothing(header: FlightHeader) -> None:
    publisher = NullPublisher()
    publisher.publish(Reporter(header).mission("start", header))
    assert publisher.flush(0) == 0
    publisher.close()
    assert publisher.status.problem == "mqtt.host is not set: nothing is published"
