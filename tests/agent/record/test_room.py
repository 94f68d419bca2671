"""Records stay within their bounds, oldest first, and nothing is removed that must stay."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.record import FlightRecorder, read_flight
from agent.record.room import GB, Room
from agent.record.settings import RecordSettings
from tests.support.cameras import wait_until
from tests.support.flights import frame, header, rows, write_flight

NOW = 1_800_000_000.0
HOUR = 3600.0


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    """Missions `a` to `d`, ended 4, 3, 2 and 1 days ago."""
    for days, name in zip((4, 3, 2, 1), "abcd", strict=True):
        ended(tmp_path / "flights" / name, days * 24 * HOUR)
    return tmp_path / "flights"


def ended(folder: Path, ago_s: float) -> Path:
    write_flight(folder, 3)
    touch(folder, ago_s)
    return folder


def touch(folder: Path, ago_s: float) -> None:
    for name in ("flight.json", "frames.jsonl"):
        os.utime(folder / name, (NOW - ago_s, NOW - ago_s))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def looked(
    flights: Path, *, synced: bool = True, spared: Callable[[Path], bool] = lambda _: False, **bounds: object
) -> Room:
    settings = RecordSettings.model_validate({"dir": flights, "min_free_gb": 0, "max_age_days": None, **bounds})
    room = Room(settings, running=flights / "now", spared=spared, clock=lambda: NOW, clock_synced=lambda: synced)
    room.look()
    return room


def left(flights: Path) -> str:
    return "".join(sorted(path.name for path in flights.iterdir()))


def test_within_the_bounds_nothing_is_removed(flights: Path) -> None:
    room = looked(flights, max_gb=1, max_age_days=5)
    assert left(flights) == "abcd"
    assert room.enough


def test_the_oldest_go_until_the_rest_fits(flights: Path) -> None:
    total = size(flights)
    room = looked(flights, max_gb=(total - size(flights / "a") - 1) / GB)
    assert left(flights) == "cd"
    assert room.removed == 2
    assert room.enough


def test_too_old_ones_go_whatever_their_size(flights: Path) -> None:
    looked(flights, max_age_days=2.5)
    assert left(flights) == "cd"


def test_a_clock_that_nobody_has_set_removes_nothing_for_its_age(flights: Path) -> None:
    looked(flights, max_age_days=0.5, synced=False)
    assert left(flights) == "abcd"


def test_what_still_has_to_be_delivered_is_spared_and_the_next_goes(flights: Path) -> None:
    room = looked(flights, max_age_days=2.5, spared=lambda folder: folder.name == "a")
    assert left(flights) == "acd"
    assert (room.spared, room.removed) == (1, 1)


def test_the_running_mission_is_never_removed_and_its_size_counts(flights: Path) -> None:
    ended(flights / "now", 9 * 24 * HOUR)
    (flights / "now" / "frames").mkdir()
    (flights / "now" / "frames" / "0.png").write_bytes(bytes(200_000))
    room = looked(flights, max_gb=100_000 / GB, max_age_days=1.5)
    assert left(flights) == "now"
    assert not room.enough


def test_another_process_may_still_write_what_is_not_closed_and_was_touched_lately(flights: Path) -> None:
    for name, ago in (("x", HOUR / 2), ("y", 2 * HOUR)):
        recorder = FlightRecorder.open(flights / name, header())
        recorder.add(*rows(0))
        recorder.close(complete=False)
        touch(flights / name, ago)
    looked(flights, max_gb=1 / GB)
    assert left(flights) == "x"


def test_only_what_a_run_wrote_is_removed(flights: Path, tmp_path: Path) -> None:
    (flights / "a" / "notes.txt").write_text("mine")
    (flights / "holiday").mkdir()
    (flights / "holiday" / "beach.jpg").write_bytes(b"x")
    elsewhere = ended(tmp_path / "elsewhere", 99 * 24 * HOUR)
    (flights / "link").symlink_to(elsewhere)
    looked(flights, max_gb=1 / GB)
    assert {path.name for path in flights.iterdir()} == {"a", "holiday", "link"}
    assert [path.name for path in (flights / "a").iterdir()] == ["notes.txt"]
    assert read_flight(elsewhere).header.frames == 3


def test_an_altered_record_is_left_alone_and_the_next_goes(flights: Path, caplog: pytest.LogCaptureFixture) -> None:
    (flights / "a" / "frames.jsonl").write_text("{}\n")
    touch(flights / "a", 4 * 24 * HOUR)
    looked(flights, max_gb=1 / GB)
    assert left(flights) == "a"
    assert "cannot be removed" in caplog.text


def test_a_disk_that_fills_up_counts_like_a_bound(flights: Path) -> None:
    room = looked(flights, max_gb=1, min_free_gb=100_000)
    assert left(flights) == ""
    assert not room.enough


def test_without_room_pictures_are_counted_and_rows_go_on(flights: Path) -> None:
    room = looked(flights, max_gb=1 / GB)
    room.enough = False
    with FlightRecorder.open(flights / "now", header(frames_kept="all"), room=room) as recorder:
        for index in range(3):
            assert recorder.keep_frame(frame(index), evidence=True) is None
            recorder.add(*rows(index))
    assert room.not_kept == 3
    assert read_flight(flights / "now").header.frames == 3


def test_it_looks_by_itself_while_a_mission_runs(flights: Path) -> None:
    settings = RecordSettings(dir=flights, min_free_gb=0, max_gb=size(flights) / GB, max_age_days=None)
    with Room(settings, running=flights / "now", clock=lambda: NOW, look_every_s=0.05) as room:
        assert left(flights) == "abcd"
        (flights / "now").mkdir()
        (flights / "now" / "frames.jsonl").write_bytes(b"x" * 1000)
        wait_until(lambda: room.removed, told=lambda: left(flights))
    assert left(flights) == "bcdnow"


def test_no_folder_yet_is_no_fault(tmp_path: Path) -> None:
    room = Room(RecordSettings(dir=tmp_path / "none", min_free_gb=0), running=tmp_path / "none" / "now")
    room.look()
    assert room.enough


def test_a_mission_goes_with_its_reviews_and_is_not_old_while_it_is_reviewed(flights: Path) -> None:
    for name in "ab":
        (flights / name / "reviews.jsonl").write_text("")
    os.utime(flights / "a" / "reviews.jsonl", (NOW - HOUR, NOW - HOUR))
    os.utime(flights / "b" / "reviews.jsonl", (NOW - 80 * HOUR, NOW - 80 * HOUR))
    looked(flights, max_age_days=2)
    assert left(flights) == "acd"
