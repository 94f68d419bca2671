"""The outbox on a real disk, without a broker."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from agent.contract.flight import CrackRow, FlightHeader
from agent.contract.reports import GapReport
from agent.deliver import Evidence, Reporter, Topics
from agent.deliver.entry import KINDS, Entry
from agent.deliver.gaps import Gaps
from agent.deliver.messages import kept
from agent.deliver.outbox import Outbox
from agent.deliver.settings import DeliverySettings
from agent.errors import ConfigError

TOPICS = Topics("crackscout", "cart")
Open = Callable[..., Outbox]
Row = Callable[..., CrackRow]
Make = Callable[..., Entry]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_(*, deliver: bool = True, boot: str = "boot", **limits: Any) -> Outbox:
            settings = DeliverySettings.model_validate({"min_free_mb": 0, "ballast_mb": 0, **limits})
            outbox = Outbox(tmp_path / "box", settings, boot_id=boot, gaps=Gaps(TOPICS, boot), deliver=deliver)
            stack.callback(outbox.close)
            return outbox

        yield open_


@pytest.fixture
def crack(header: FlightHeader, row: Row) -> Make:
    reporter = Reporter(header)

    def make(number: int, **changes: Any) -> Entry:
        report = reporter.crack(row(number, **changes), media_time_ns=None)
        entry = kept(report, TOPICS)
        assert entry is not None
        return entry

    return make


def picture(number: int, size: int = 1000) -> Entry:
    entry = kept(Evidence(crack_id=f"c{number}", report_id=f"r{number}", jpeg=bytes(size)), TOPICS)
    assert entry is not None
    return entry


def pending(outbox: Outbox) -> list[str]:
    return [row.id for kind in KINDS for row in outbox.next_rows(kind, 0, 1_000_000)]


def gaps(outbox: Outbox) -> list[GapReport]:
    return [GapReport.model_validate_json(row.payload) for row in outbox.next_rows("gap", 0, 1000)]


def damage(outbox: Outbox, opened: Open, tmp_path: Path, how: Callable[[Path], None]) -> Outbox:
    """Leave the files as a process that was killed would, broken, and open them again."""
    outbox.close()
    how(tmp_path / "box" / "outbox.sqlite3")
    return opened(boot="next")


def test_what_is_committed_is_there_for_the_next_process(opened: Open, crack: Make) -> None:
    outbox = opened()
    outbox.append([crack(number) for number in range(5)])
    outbox.close()
    again = opened(boot="next")
    assert pending(again) == [f"sighting-{number}" for number in range(5)]
    assert again.pending == 5
    assert all(row.late for row in again.next_rows("crack", 0, 10)), "told by an earlier process"


def test_a_row_is_what_was_handed_in(opened: Open, crack: Make) -> None:
    outbox = opened()
    entry = crack(0)
    outbox.append([entry, picture(0)])
    (row,) = outbox.next_rows("crack", 0, 10)
    assert {name: getattr(row, name) for name in Entry.__slots__} == {
        name: getattr(entry, name) for name in Entry.__slots__
    }
    assert not row.late
    (evidence,) = outbox.next_rows("evidence", 0, 10)
    assert evidence.payload == bytes(1000)


def test_the_database_is_as_safe_as_promised(opened: Open, tmp_path: Path, crack: Make) -> None:
    outbox = opened(max_mb=3)
    outbox.append([crack(0)])
    database = sqlite3.connect(f"file:{tmp_path}/box/outbox.sqlite3?mode=ro", uri=True)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA auto_vacuum").fetchone() == (2,), "incremental"
    own = outbox._database
    assert own.execute("PRAGMA synchronous").fetchone() == (2,), "full"
    assert own.execute("PRAGMA max_page_count").fetchone() == (3_000_000 // 4096,)
    database.close()


def test_a_repeated_id_is_one_row(opened: Open, crack: Make) -> None:
    outbox = opened()
    outbox.append([crack(0)])
    outbox.append([crack(0), crack(1)])
    assert pending(outbox) == ["sighting-0", "sighting-1"]
    assert (outbox.pending, outbox.repeated) == (2, 1)


def test_acknowledged_rows_stay_until_they_are_asked_for_again(opened: Open, crack: Make) -> None:
    outbox = opened()
    rows = outbox.append([crack(number) for number in range(3)]).rows
    outbox.append([], acked=[rows[0].seq, rows[2].seq])
    assert pending(outbox) == ["sighting-1"]
    assert outbox.resend(3600) == 2
    assert pending(outbox) == ["sighting-0", "sighting-1", "sighting-2"]
    assert [row.late for row in outbox.next_rows("crack", 0, 10)] == [True, False, True]


def test_what_was_acknowledged_before_the_window_is_not_sent_again(opened: Open, crack: Make) -> None:
    outbox = opened()
    rows = outbox.append([crack(number) for number in range(2)]).rows
    outbox.append([], acked=[rows[0].seq])
    outbox._database.execute("UPDATE event SET acked_ms = acked_ms - 10000")
    outbox.append([], acked=[rows[1].seq])
    assert outbox.resend(5) == 1
    assert pending(outbox) == ["sighting-1"]
    assert outbox.resync(3600) == 1


def test_without_a_broker_rows_are_journal_only_until_a_resync(opened: Open, crack: Make) -> None:
    outbox = opened(deliver=False)
    outbox.append([crack(0), crack(1)])
    assert (pending(outbox), outbox.pending) == ([], 0)
    outbox.close()
    turned_on = opened()
    assert turned_on.resend(1e6) == 0
    assert turned_on.resync(1e6) == 2
    assert pending(turned_on) == ["sighting-0", "sighting-1"]


def test_classes_follow_severity(crack: Make) -> None:
    kinds = {severity: crack(0, severity=severity).kind for severity in
             ("none", "low", "moderate", "high", "severe", "ungraded")}  # fmt: skip
    assert kinds == {"none": "crack_low", "low": "crack_low", "moderate": "crack", "high": "crack_high",
                     "severe": "crack_high", "ungraded": "crack"}  # fmt: skip


class TestFull:
    """Accounts: whatever was committed is pending or told by a gap."""

    @staticmethod
    def fill(outbox: Outbox, crack: Make, count: int, severity: str, first: int = 0) -> int:
        """Commit reports one frame after the other; return how many were taken."""
        reason = "x" * 2000  # a report of a page or so
        taken = 0
        for number in range(first, first + count, 10):
            frame = [crack(n, severity=severity, not_gradable_reason=reason) for n in range(number, number + 10)]
            taken += 10 - outbox.append(frame).refused
        return taken

    def test_delivered_ones_go_first(self, opened: Open, crack: Make) -> None:
        outbox = opened(max_mb=2)
        self.fill(outbox, crack, 200, "moderate")
        outbox.append([], acked=[row.seq for row in outbox.next_rows("crack", 0, 200)])
        assert self.fill(outbox, crack, 200, "moderate", first=1000) == 200
        assert gaps(outbox) == []
        assert len(pending(outbox)) == 200

    def test_then_the_oldest_evidence_with_its_file(self, opened: Open, crack: Make, tmp_path: Path) -> None:
        outbox = opened(max_mb=3)
        for number in range(20):
            outbox.append([picture(number, 120_000)])
        assert self.fill(outbox, crack, 100, "moderate") == 100
        left = [row.id for row in outbox.next_rows("evidence", 0, 100)]
        assert left == [f"r{number}-evidence" for number in range(20 - len(left), 20)]
        assert {path.name for path in (tmp_path / "box" / "evidence").iterdir()} == {f"{name}.jpg" for name in left}
        (gap,) = gaps(outbox)
        assert (gap.reason, gap.class_, gap.count) == ("full", "evidence", 20 - len(left))
        assert set(gap.ids) == {f"r{number}-evidence" for number in range(20 - len(left))}
        assert outbox.dropped == {"evidence": 20 - len(left)}

    def test_then_the_oldest_low_cracks_then_new_reports_are_refused_and_a_mission_still_fits(
        self, opened: Open, crack: Make, header: FlightHeader
    ) -> None:
        outbox = opened(max_mb=2)
        low = self.fill(outbox, crack, 300, "low")
        assert low == 300
        taken = self.fill(outbox, crack, 1000, "moderate", first=1000)
        kept_low = [row.id for row in outbox.next_rows("crack_low", 0, 1000)]
        assert kept_low == [], "all low ones gave way before one was refused"
        assert 0 < taken < 1000
        told = {(gap.reason, gap.class_): gap.count for gap in gaps(outbox)}
        assert told == {("full", "crack_low"): 300, ("refused_full", "crack"): 1000 - taken}
        assert len(outbox.next_rows("crack", 0, 10_000)) == taken
        assert outbox.dropped == {"crack_low": 300, "crack": 1000 - taken}
        mission = kept(Reporter(header).mission("end", header), TOPICS)
        assert mission is not None
        assert outbox.append([mission]).refused == 0
        assert outbox.alarms

    def test_the_database_stays_below_its_cap(self, opened: Open, crack: Make, tmp_path: Path) -> None:
        outbox = opened(max_mb=2)
        self.fill(outbox, crack, 2000, "low")
        outbox.prune()
        assert (tmp_path / "box" / "outbox.sqlite3").stat().st_size <= 2_000_000
        (gap,) = gaps(outbox)
        assert (gap.count or 0) + len(outbox.next_rows("crack_low", 0, 10_000)) == 2000
        assert (gap.first_seq, len(gap.ids)) == (1, 50)

    def test_what_is_on_its_way_is_not_dropped(self, opened: Open, crack: Make) -> None:
        outbox = opened(max_mb=2)
        self.fill(outbox, crack, 10, "low")
        outbox.busy.add(1)
        self.fill(outbox, crack, 1000, "low", first=100)
        outbox.busy.clear()
        assert outbox.next_rows("crack_low", 0, 1)[0].seq == 1

    @pytest.mark.parametrize("severity", ["low", "moderate"], ids=["dropped", "refused"])
    def test_what_could_not_be_written_is_told_once_when_it_can(
        self, opened: Open, crack: Make, tmp_path: Path, severity: str
    ) -> None:
        """Room is made or refused in a transaction that fails, for whatever reason, and then again."""
        outbox = opened(max_mb=2)
        refused = 1000 - self.fill(outbox, crack, 1000, severity)
        assert len(gaps(outbox)) == 1
        no = "CREATE TRIGGER no BEFORE INSERT ON event WHEN NEW.class = 'gap' BEGIN SELECT RAISE(ABORT, 'no'); END"
        with closing(sqlite3.connect(tmp_path / "box" / "outbox.sqlite3", isolation_level=None)) as other:
            other.execute(no)
            for _ in range(3):
                with pytest.raises(sqlite3.IntegrityError):
                    self.fill(outbox, crack, 500, severity, first=5000)
            other.execute("DROP TRIGGER no")
            refused += 500 - self.fill(outbox, crack, 500, severity, first=8000)
            ((written,),) = other.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        told = gaps(outbox)
        in_gaps = sum(gap.count or 0 for gap in told)
        assert in_gaps == outbox.dropped.total()
        here = len(outbox.next_rows("crack_low", 0, 9999)) + len(outbox.next_rows("crack", 0, 9999))
        assert here + in_gaps == written - len(told) + refused

    def test_a_gap_that_is_sent_grows_no_more(self, opened: Open, crack: Make) -> None:
        outbox = opened(max_mb=2)
        self.fill(outbox, crack, 1000, "low")
        (first,) = gaps(outbox)
        self.fill(outbox, crack, 1000, "low", first=5000)
        again, second = gaps(outbox)
        assert again == first
        assert (first.count or 0) + (second.count or 0) + len(outbox.next_rows("crack_low", 0, 9999)) == 2000


def test_a_row_that_is_refused_for_good_is_told_by_a_gap_and_tried_on_resync(opened: Open, crack: Make) -> None:
    outbox = opened()
    (row,) = outbox.append([crack(7)]).rows
    outbox.bury(row, "Topic Name invalid")
    assert outbox.next_rows("crack", 0, 10) == []
    (gap,) = gaps(outbox)
    assert (gap.ids, gap.reason) == (("sighting-7",), "refused")
    assert "Topic Name invalid" in outbox.alarms[0]
    assert outbox.resync(60) == 1
    assert [found.id for found in outbox.next_rows("crack", 0, 10)] == ["sighting-7"]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scramble(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


class TestBroken:
    """The reports that still stand in the bytes of a broken database are told again."""

    @pytest.fixture
    def filled(self, opened: Open, crack: Make) -> Outbox:
        outbox = opened()
        outbox.append([crack(number) for number in range(100)])
        return outbox

    def test_a_smashed_header(self, filled: Outbox, opened: Open, tmp_path: Path) -> None:
        def smash(path: Path) -> None:
            with path.open("r+b") as file:
                file.write(b"\xff" * 100)

        again = damage(filled, opened, tmp_path, smash)
        assert [row.id for row in again.next_rows("crack", 0, 1000)] == [f"sighting-{n}" for n in range(100)]
        assert [gap.reason for gap in gaps(again)] == ["corrupt"]
        assert "100 reports were saved" in again.alarms[0]
        assert len(list((tmp_path / "box").glob("outbox.sqlite3.corrupt-*"))) == 1

    def test_a_truncated_file(self, filled: Outbox, opened: Open, tmp_path: Path) -> None:
        def truncate(path: Path) -> None:
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 2 // 4096 * 4096)

        again = damage(filled, opened, tmp_path, truncate)
        saved = {row.id for row in again.next_rows("crack", 0, 1000)}
        assert 10 < len(saved) < 100
        assert saved < {f"sighting-{n}" for n in range(100)}
        assert [(gap.reason, gap.count) for gap in gaps(again)] == [("corrupt", None)]

    def test_an_empty_file(self, filled: Outbox, opened: Open, tmp_path: Path) -> None:
        again = damage(filled, opened, tmp_path, empty)
        assert [gap.reason for gap in gaps(again)] == ["corrupt"]
        assert again.append([]).refused == 0

    def test_an_empty_file_beside_its_journal_gives_back_what_the_journal_has(
        self, opened: Open, crack: Make, tmp_path: Path
    ) -> None:
        outbox = opened()
        outbox.append([crack(number) for number in range(20)])
        path = tmp_path / "box" / "outbox.sqlite3"
        wal = Path(f"{path}-wal").read_bytes()

        def kill(path: Path) -> None:
            path.write_bytes(b"")
            Path(f"{path}-wal").write_bytes(wal)

        again = damage(outbox, opened, tmp_path, kill)
        assert [row.id for row in again.next_rows("crack", 0, 1000)] == [f"sighting-{n}" for n in range(20)]

    def test_random_bytes(self, filled: Outbox, opened: Open, tmp_path: Path) -> None:
        again = damage(filled, opened, tmp_path, scramble)
        assert [gap.reason for gap in gaps(again)] == ["corrupt"]

    def test_one_of_a_newer_version_is_set_aside_too(self, filled: Outbox, opened: Open, tmp_path: Path) -> None:
        def renew(path: Path) -> None:
            database = sqlite3.connect(path)
            database.execute("PRAGMA user_version = 9")
            database.close()

        again = damage(filled, opened, tmp_path, renew)
        assert len(again.next_rows("crack", 0, 1000)) == 100


def test_pictures_that_no_row_names_are_removed(opened: Open, tmp_path: Path) -> None:
    outbox = opened()
    outbox.append([picture(1)])
    outbox.close()
    (tmp_path / "box" / "evidence" / "stray.jpg").write_bytes(b"x")
    (tmp_path / "box" / "evidence" / "half.partial").write_bytes(b"x")
    opened()
    assert [path.name for path in (tmp_path / "box" / "evidence").iterdir()] == ["r1-evidence.jpg"]


def test_a_row_whose_picture_is_gone_holds_up_nobody(opened: Open, tmp_path: Path) -> None:
    outbox = opened()
    outbox.append([picture(1), picture(2)])
    (tmp_path / "box" / "evidence" / "r1-evidence.jpg").unlink()
    assert [row.id for row in outbox.next_rows("evidence", 0, 10)] == ["r2-evidence"]
    (gap,) = gaps(outbox)
    assert gap.ids == ("r1-evidence",)


def test_two_agents_cannot_share_an_outbox(opened: Open) -> None:
    opened()
    with pytest.raises(ConfigError, match="another agent uses this outbox; give each its own delivery"):
        opened()


def test_old_delivered_rows_are_pruned_and_unsent_ones_never(opened: Open, crack: Make) -> None:
    outbox = opened(keep_days=1)
    rows = outbox.append([crack(number) for number in range(3)]).rows
    outbox.append([], acked=[rows[0].seq, rows[1].seq])
    outbox._database.execute("UPDATE event SET acked_ms = acked_ms - 90000000 WHERE seq = 1")
    outbox._database.execute("UPDATE event SET created_ms = created_ms - 900000000")
    outbox.prune()
    assert outbox._database.execute("SELECT seq FROM event").fetchall() == [(2,), (3,)]


def test_ballast_is_laid_and_taken_again(opened: Open, tmp_path: Path) -> None:
    outbox = opened(ballast_mb=1)
    ballast = tmp_path / "box" / "ballast"
    assert ballast.stat().st_blocks * 512 >= 1_000_000, "real blocks, not a hole"
    ballast.unlink()
    outbox.prune()
    assert ballast.stat().st_size == 1_000_000


def test_backfill_is_said_of_cracks_only(opened: Open, header: FlightHeader) -> None:
    outbox = opened()
    mission = kept(Reporter(header).mission("start", header), TOPICS)
    assert mission is not None
    (row,) = outbox.append([mission]).rows
    assert row.told_late() == row.payload


def test_backfill_hits_the_field_and_no_text(opened: Open, crack: Make) -> None:
    outbox = opened()
    (row,) = outbox.append([crack(0, not_gradable_reason='"backfill":false')]).rows
    told = json.loads(row.told_late())
    assert told["backfill"] is True
    assert told["not_gradable_reason"] == '"backfill":false'
    assert {**told, "backfill": False} == json.loads(row.payload)
