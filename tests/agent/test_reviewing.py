"""Reviews as they are told: in flight, afterwards, and after a kill between keeping and telling."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from agent.contract.reports import CrackReport
from agent.deliver import Report
from agent.deliver.commands import CommandError, Review
from agent.errors import DeliveryError
from agent.record import FlightRecorder
from agent.record.reviews import Reviews, read_reviews
from agent.reviewing import Reviewing
from tests.support import flights

FIRST, SECOND = (flights.rows(index)[1][0].crack_id for index in range(2))


class Journal:
    """Keeps what is told, as an outbox does; `away`, it takes nothing."""

    def __init__(self) -> None:
        self.told: list[CrackReport] = []
        self.away = False

    def publish(self, *reports: Report) -> None:
        if self.away:
            raise DeliveryError("nothing is delivered yet")
        self.told += [report for report in reports if isinstance(report, CrackReport)]

    def payload(self, id_: str) -> bytes | None:
        known = [report.model_dump_json().encode() for report in self.told if report.id == id_]
        return known[-1] if known else None


@pytest.fixture
def records(tmp_path: Path) -> Path:
    for name in ("older", "newer"):
        with FlightRecorder.open(tmp_path / name, flights.header(mode="live")) as recorder:
            if name == "older":
                recorder.add(*flights.rows(0))
                recorder.add(*flights.rows(1))
                recorder.end_tracks(
                    [flights.event(FIRST, 0, "new"), flights.event(FIRST, 1, "final"), flights.event(SECOND, 0, "new")]
                )
    return tmp_path


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def reviewing(records: Path, journal: Journal) -> Reviewing:
    taken = Reviewing(journal)
    taken.look_in(records)
    return taken


def test_a_review_of_an_ended_flight_is_kept_with_it_and_told_once(
    reviewing: Reviewing, journal: Journal, records: Path
) -> None:
    row = reviewing.review(Review(crack_id=FIRST, verdict="rejected", reviewer="B", note="a shadow"))
    assert read_reviews(records / "older") == [row]
    (told,) = journal.told
    assert (told.crack_id, told.revision, told.event, told.mode) == (FIRST, 2, "final", "live")
    assert (told.review, told.reviewer, told.review_note, told.review_id) == ("rejected", "B", "a shadow", row.id)
    assert (told.ts, told.mission_id) == (row.ts, flights.MISSION)
    assert (told.length_px, told.camera) == (501.0, "cam0")
    again = Reviewing(journal)
    again.look_in(records)
    again.tell_missed()
    assert len(journal.told) == 1


def test_an_undo_is_told_as_a_revision_without_the_verdict(reviewing: Reviewing, journal: Journal) -> None:
    row = reviewing.review(Review(crack_id=FIRST, verdict="rejected"))
    reviewing.review(Review(crack_id=FIRST, undo=row.id))
    assert [(told.revision, told.review) for told in journal.told] == [(2, "rejected"), (3, None)]
    assert len({told.id for told in journal.told}) == 2


def test_a_merge_is_told_of_both(reviewing: Reviewing, journal: Journal) -> None:
    row = reviewing.review(Review(crack_id=SECOND, merge_into=FIRST))
    gone, survivor = journal.told
    assert (gone.crack_id, gone.event, gone.parents, gone.revision) == (SECOND, "retracted", (FIRST,), 1)
    assert (survivor.crack_id, survivor.event, survivor.parents, survivor.revision) == (FIRST, "merge", (SECOND,), 2)
    assert gone.id != survivor.id
    reviewing.review(Review(crack_id=SECOND, undo=row.id))
    back, left = journal.told[2:]
    assert (back.crack_id, back.event, back.parents, back.revision) == (SECOND, "update", (), 2)
    assert (left.crack_id, left.event, left.parents, left.revision) == (FIRST, "final", (), 3)


def test_what_was_kept_and_not_told_is_told_when_there_is_a_way(
    reviewing: Reviewing, journal: Journal, records: Path
) -> None:
    reviewing.review(Review(crack_id=FIRST, note="told"))
    journal.away = True
    with pytest.raises(DeliveryError):
        reviewing.review(Review(crack_id=FIRST, verdict="confirmed"))
    reviewing.tell_missed()
    journal.away = False
    reviewing.tell_missed()
    reviewing.tell_missed()
    assert [(told.revision, told.review, told.review_note) for told in journal.told] == [
        (2, None, "told"), (3, "confirmed", "told"),
    ]  # fmt: skip
    assert journal.told[1].review_id == read_reviews(records / "older")[1].id


def test_what_was_said_long_ago_is_not_told_again(records: Path, journal: Journal) -> None:
    """The outbox forgets what was delivered long ago."""
    Reviews(records / "older").verdict(FIRST, "confirmed")
    reviews = records / "older" / "reviews.jsonl"
    line = json.loads(reviews.read_text())
    reviews.write_text(json.dumps({**line, "ts": line["ts"] - 90_000_000}) + "\n")
    reviewing = Reviewing(journal)
    reviewing.look_in(records)
    reviewing.tell_missed()
    assert not journal.told
    os.utime(reviews, (time.time() - 90_000, time.time() - 90_000))
    reviewing.tell_missed()
    assert not journal.told


def test_the_picture_of_the_last_report_stays_with_the_crack(reviewing: Reviewing, journal: Journal) -> None:
    row = reviewing.review(Review(crack_id=FIRST, note="x"))
    last = flights.event(FIRST, 1).id
    journal.told = [journal.told[0].model_copy(update={"id": last, "evidence_sha256": "ab" * 32})]
    reviewing.review(Review(crack_id=FIRST, undo=row.id))
    assert journal.told[-1].evidence_sha256 == "ab" * 32


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"crack_id": "nobody", "verdict": "confirmed"}, "no flight record of this device has it"),
        ({"crack_id": FIRST, "merge_into": "nobody"}, "none of this id"),
        ({"crack_id": FIRST, "undo": "nothing"}, "no review"),
    ],
)
def test_what_does_not_fit_is_out_of_range_and_not_told(
    reviewing: Reviewing, journal: Journal, args: dict[str, str], why: str
) -> None:
    with pytest.raises(CommandError, match=why) as raised:
        reviewing.review(Review.model_validate(args))
    assert raised.value.code == "out_of_range"
    assert not journal.told


@pytest.mark.parametrize("args", [{}, {"verdict": "confirmed", "undo": "x"}, {"merge_into": "a", "undo": "x"}])
def test_a_review_says_one_thing(args: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="one of verdict, merge_into and undo"):
        Review.model_validate({"crack_id": FIRST, **args})
