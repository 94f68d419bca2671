"""People's words on cracks: kept, folded, taken back, and numbered beside the agent's own revisions."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.contract.flight import REVIEWS_FILE, ReviewRow
from agent.errors import InputError
from agent.record import FlightRecorder
from agent.record.lookup import crack_now
from agent.record.reviews import LINES_MOST, Reviewed, Reviews, read_reviews
from tests.support import flights

FIRST, SECOND, THIRD = (flights.rows(index)[1][0].crack_id for index in range(3))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Three cracks that were told, the first of them four times, and others that nobody followed."""
    folder = tmp_path / "flight"
    with FlightRecorder.open(folder, flights.header()) as recorder:
        for index in range(3):
            recorder.add(*flights.rows(index))
        recorder.end_tracks(
            [*(flights.event(FIRST, number) for number in range(4)), flights.event(SECOND, 0), flights.event(THIRD, 0)]
        )
    return folder


def test_a_word_is_kept_with_who_and_when_and_read_again(record: Path) -> None:
    before = {name: (record / name).read_bytes() for name in ("cracks.jsonl", "tracks.jsonl", "flight.json")}
    row = Reviews(record).verdict(FIRST, "confirmed", reviewer="A. Nobody", note="seen by rope")
    (line,) = (record / REVIEWS_FILE).read_text().splitlines()
    written = json.loads(line)
    assert (written["crack_id"], written["verdict"], written["reviewer"]) == (FIRST, "confirmed", "A. Nobody")
    assert written["ts"] > 1_700_000_000_000
    assert read_reviews(record) == [row]
    assert Reviews(record).of(FIRST) == Reviewed((row,), (), "confirmed", "A. Nobody", "seen by rope", None)
    assert {name: (record / name).read_bytes() for name in before} == before


def test_the_last_verdict_counts_and_an_undo_brings_the_one_before_back(record: Path) -> None:
    reviews = Reviews(record)
    reviews.verdict(FIRST, "unsure", reviewer="A")
    second = reviews.verdict(FIRST, "rejected", reviewer="B")
    assert (reviews.of(FIRST).verdict, reviews.of(FIRST).reviewer) == ("rejected", "B")
    reviews.undo(str(second.id), reviewer="A")
    assert (reviews.of(FIRST).verdict, reviews.of(FIRST).reviewer) == ("unsure", "A")
    assert len(read_reviews(record)) == 3


def test_a_merge_makes_a_crack_part_of_another_until_it_is_taken_back(record: Path) -> None:
    reviews = Reviews(record)
    merge = reviews.merge(SECOND, into=FIRST)
    assert reviews.of(SECOND).merged_into == FIRST
    assert reviews.of(FIRST).merged == (SECOND,)
    reviews.undo(str(merge.id))
    assert reviews.of(SECOND) == reviews.of(FIRST) == Reviewed()


def test_a_comment_changes_no_verdict(record: Path) -> None:
    reviews = Reviews(record)
    reviews.verdict(FIRST, "confirmed")
    reviews.comment(FIRST, "ask the owner", reviewer="B")
    assert (reviews.of(FIRST).verdict, reviews.of(FIRST).note) == ("confirmed", "ask the owner")


def test_what_cannot_be_said_is_refused_and_leaves_no_line(record: Path) -> None:
    reviews = Reviews(record)
    with pytest.raises(InputError, match="'nobody': the record flight has none"):
        reviews.verdict("nobody", "confirmed")
    with pytest.raises(InputError, match="none of this id"):
        reviews.merge(FIRST, into="nobody")
    with pytest.raises(InputError, match="part of itself"):
        reviews.merge(FIRST, into=FIRST)
    with pytest.raises(InputError, match="no review"):
        reviews.undo("nothing")
    assert not read_reviews(record)
    reviews.merge(FIRST, into=SECOND)
    reviews.merge(SECOND, into=THIRD)
    with pytest.raises(InputError, match="part of it"):
        reviews.merge(THIRD, into=FIRST)
    row = reviews.comment(FIRST, "x")
    undo = reviews.undo(str(row.id))
    with pytest.raises(InputError, match="already"):
        reviews.undo(str(row.id))
    with pytest.raises(InputError, match="taken back"):
        reviews.undo(str(undo.id))
    assert len(read_reviews(record)) == 4


def test_a_folder_that_is_no_record_gets_no_reviews(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no flight record"):
        Reviews(tmp_path).verdict(FIRST, "confirmed")
    assert not list(tmp_path.iterdir())


def test_a_crack_that_nobody_followed_can_be_reviewed(record: Path) -> None:
    alone = flights.rows(1)[1][1].crack_id
    reviews = Reviews(record)
    row = reviews.verdict(alone, "rejected")
    assert row.after == {alone: 0}
    assert reviews.revision_of(row, alone) == 1


def test_every_report_has_a_revision_of_its_own_that_grows(record: Path) -> None:
    """The agent's revisions 4 and 5 come after a verdict and before a merge and a comment."""
    reviews = Reviews(record)
    assert reviews.revision(FIRST, 3)[0] == 3
    row = reviews.verdict(FIRST, "confirmed")
    told = [reviews.revision_of(row, FIRST)]
    with (record / "tracks.jsonl").open("a") as tracks:
        for revision in (4, 5):
            tracks.write(flights.event(FIRST, revision).model_dump_json() + "\n")
            tracks.flush()
            told.append(reviews.revision(FIRST, revision)[0])
    more = (reviews.merge(SECOND, into=FIRST), reviews.comment(FIRST, "x"))
    told += [reviews.revision_of(row, FIRST) for row in more]
    assert told == [4, 5, 6, 7, 8]
    assert reviews.revision(FIRST, 3)[0] == 3, "what was told before the reviews, told once more, is what it was"
    again = Reviews(record)
    assert [again.revision_of(row, FIRST) for row in again.rows] == [4, 7, 8]


def test_revisions_stay_apart_while_the_mission_goes_on(record: Path) -> None:
    """A thread tells the agent's revisions while another reviews: no two reports of the crack share one."""
    reviews = Reviews(record)
    told: list[int] = []
    said = threading.Event()

    def fly() -> None:
        with (record / "tracks.jsonl").open("ab", buffering=0) as tracks:
            for own in range(4, 304):
                tracks.write(flights.event(FIRST, own).model_dump_json().encode() + b"\n")
                told.append(reviews.revision(FIRST, own)[0])
        said.set()

    flight = threading.Thread(target=fly)
    flight.start()
    rows: list[ReviewRow] = []
    while not said.wait(0.001) or not rows:  # a person pauses; a lock held without a pause starves the flight
        rows.append(reviews.comment(FIRST, "x"))
    flight.join()
    everything = [*told, *(reviews.revision_of(row, FIRST) for row in rows)]
    assert len(set(everything)) == len(everything)
    assert sorted(told) == told
    assert max(everything) <= 303 + len(rows)


def test_processes_that_write_at_once_lose_nothing(record: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from agent.record.reviews import Reviews\n"
        "reviews = Reviews(Path(sys.argv[1]))\n"
        "for number in range(40): reviews.comment(sys.argv[2], f'{sys.argv[3]}-{number}')"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(record), FIRST, name], stderr=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    for writer in writers:
        _, error = writer.communicate(timeout=300)
        assert writer.returncode == 0, error
    notes = [row.note for row in read_reviews(record)]
    assert sorted(map(str, notes)) == sorted(f"{name}-{number}" for name, number in itertools.product("ab", range(40)))


def test_a_line_that_a_kill_left_unfinished_is_cut_off(record: Path) -> None:
    Reviews(record).comment(FIRST, "whole")
    with (record / REVIEWS_FILE).open("ab") as file:
        file.write(b'{"id":"1","ts":')
    reviews = Reviews(record)
    reviews.comment(FIRST, "next")
    assert [row.note for row in read_reviews(record)] == ["whole", "next"]


def test_nobody_fills_the_disk_with_reviews(record: Path) -> None:
    line = json.dumps({"id": "x", "ts": 1, "crack_id": FIRST, "note": "n"}) + "\n"
    (record / REVIEWS_FILE).write_text(line * (LINES_MOST - 1))
    reviews = Reviews(record)
    row = reviews.comment(FIRST, "the last")
    with pytest.raises(InputError, match=f"holds {LINES_MOST} reviews"):
        reviews.undo(str(row.id))
    assert len(read_reviews(record)) == LINES_MOST


def test_a_broken_line_in_the_middle_is_named(record: Path) -> None:
    Reviews(record).comment(FIRST, "whole")
    with (record / REVIEWS_FILE).open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(InputError, match=r"reviews\.jsonl:2"):
        Reviews(record)


def test_lines_of_before_they_had_an_id_still_count(record: Path) -> None:
    line = {"ts": 1, "crack_id": FIRST, "verdict": "confirmed", "note": "seen", "reviewer": "B"}
    (record / REVIEWS_FILE).write_text(json.dumps(line) + "\n")
    reviews = Reviews(record)
    assert (reviews.of(FIRST).verdict, reviews.revision(FIRST, 9)[0]) == ("confirmed", 9)


def test_half_characters_become_text_that_can_be_told(record: Path) -> None:
    row = Reviews(record).comment(FIRST, "a\ud800b")
    assert (row.note, read_reviews(record)[0].note) == ("a?b", "a?b")


def test_a_crack_is_found_as_it_was_told_last(record: Path) -> None:
    row = crack_now(record, FIRST)
    assert row is not None
    assert (row.crack_id, row.revision, row.event, row.length_px) == (FIRST, 3, "update", 503.0)
    assert row.branches == flights.rows(0)[1][0].branches
    assert crack_now(record, "nobody") is None


def test_a_run_that_replaces_another_keeps_what_people_said(record: Path) -> None:
    Reviews(record).verdict(FIRST, "confirmed")
    with FlightRecorder.open(record, flights.header(), overwrite=True) as recorder:
        recorder.add(*flights.rows(0))
    assert Reviews(record).of(FIRST).verdict == "confirmed"
