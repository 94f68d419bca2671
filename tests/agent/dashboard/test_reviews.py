"""Confirm, reject, merge, comment, undo: written down with who and when, and never over what the agent found."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.flights import HOSTILE
from tests.support.page import Reader, Stream, page_on


def lines(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (record / "reviews.jsonl").read_text().splitlines()]


def test_a_verdict_is_kept_with_who_and_when_and_told_to_everybody(page: Reader, record: Path) -> None:
    before = (record / "cracks.jsonl").read_bytes()
    crack = next(iter(page.cracks()))
    with closing(Stream(page, f"/api/events?flight={page.key}")) as other:
        other.wait_for(lambda: bool(other.told("cracks")))
        answer = page.review(crack_id=crack, verdict="confirmed", reviewer="A. Bosch")
        assert answer.status == 200
        other.wait_for(lambda: len(other.told("cracks")) > 1)
        (told,) = other.told("cracks")[-1][1]["cracks"]
    assert (told["crack_id"], told["review"]["verdict"], told["review"]["reviewer"]) == (crack, "confirmed", "A. Bosch")
    (line,) = lines(record)
    assert (line["crack_id"], line["verdict"], line["reviewer"]) == (crack, "confirmed", "A. Bosch")
    assert abs(line["ts"] / 1000 - time.time()) < 600
    assert (record / "cracks.jsonl").read_bytes() == before


def test_undo_takes_back_the_last_word_and_leaves_the_one_before(page: Reader, record: Path) -> None:
    crack = next(iter(page.cracks()))
    page.review(crack_id=crack, verdict="confirmed")
    second = page.review(crack_id=crack, verdict="rejected").json["review"]["id"]
    assert page.cracks()[crack]["review"]["verdict"] == "rejected"
    assert page.review(crack_id=crack, undo=second).status == 200
    assert page.cracks()[crack]["review"]["verdict"] == "confirmed"
    assert len(lines(record)) == 3  # nothing is removed
    assert page.review(crack_id=crack, undo=second).status == 422  # once


def test_merges_and_comments_are_kept_and_undone(page: Reader) -> None:
    one, two, three, _ = page.cracks()
    merge = page.review(crack_id=one, merge_into=two).json["review"]["id"]
    assert page.cracks()[one]["review"]["merged_into"] == two
    assert page.review(crack_id=two, merge_into=three).status == 200
    assert page.review(crack_id=three, merge_into=one).status == 422  # a circle
    assert page.review(crack_id=one, undo=merge).status == 200
    assert page.cracks()[one]["review"] is None
    note = page.review(crack_id=one, note="wet edge").json["review"]["id"]
    assert page.cracks()[one]["review"]["notes"] == 1
    assert page.ask(page.at(f"/crack?id={one}")).json["reviews"][-1]["note"] == "wet edge"
    page.review(crack_id=one, undo=note)
    assert page.cracks()[one]["review"] is None


@pytest.mark.parametrize(
    "said",
    [
        {}, {"verdict": "confirmed"}, {"crack_id": "nobody", "verdict": "confirmed"}, {"crack_id": "../x", "note": "x"},
        {"verdict": "good"}, {"note": ""}, {"note": "x" * 2001}, {"verdict": "confirmed", "merge_into": "a"},
        {"undo": "nothing"}, {"merge_into": "nobody"}, {"reviewer": "a\nb", "verdict": "confirmed"},
        {"verdict": "confirmed", "more": 1},
    ],
)  # fmt: skip
def test_what_says_nothing_is_refused_with_a_reason(page: Reader, record: Path, said: dict[str, Any]) -> None:
    whole = (
        said
        if "crack_id" in said or not said or said == {"verdict": "confirmed"}
        else {"crack_id": next(iter(page.cracks())), **said}
    )
    answer = page.review(**whole)
    assert answer.status == 422
    assert answer.json["error"]
    path = record / "reviews.jsonl"
    assert not path.exists() or path.read_bytes() == b""


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff\xfe", b"null", b'{"crack_id":' + b"[" * 9000])
def test_what_is_no_object_is_refused(page: Reader, body: bytes) -> None:
    assert page.ask(page.at("/reviews"), method="POST", body=body).status == 422


def test_a_crack_is_not_merged_with_itself(page: Reader) -> None:
    crack = next(iter(page.cracks()))
    assert page.review(crack_id=crack, merge_into=crack).status == 422


def test_hostile_comments_are_text(page: Reader) -> None:
    crack = next(iter(page.cracks()))
    said = "<script>alert(1)</script>\n\u202e'\""
    assert page.review(crack_id=crack, note=said, reviewer="<b>me</b>").status == 200
    row = page.ask(page.at(f"/crack?id={crack}")).json["reviews"][0]
    assert (row["note"], row["reviewer"]) == (said, "<b>me</b>")


def test_a_line_by_command_is_read_and_a_damaged_one_is_counted(page: Reader, record: Path) -> None:
    one, two, *_ = page.cracks()
    by_command = {
        "ts": 1_700_000_000_000,
        "crack_id": one,
        "verdict": "rejected",
        "note": None,
        "reviewer": HOSTILE[:20],
    }
    (record / "reviews.jsonl").write_text(json.dumps(by_command) + "\nnot JSON\n")
    assert page.cracks()[one]["review"]["verdict"] == "rejected"
    assert page.ask(page.at("")).json["faults"] == 1
    answer = page.review(crack_id=two, verdict="unsure")  # nothing is added to what cannot be read
    assert answer.status == 422
    assert "reviews.jsonl:2" in answer.json["error"]


def test_reviews_outlive_a_restart(record: Path) -> None:
    with page_on(record) as page:
        crack = next(iter(page.cracks()))
        page.review(crack_id=crack, verdict="confirmed")
    with page_on(record) as page:
        assert page.cracks()[crack]["review"]["verdict"] == "confirmed"


def test_a_record_that_cannot_be_written_says_so(record: Path) -> None:
    (record / "reviews.jsonl").symlink_to("/nowhere/reviews.jsonl")
    with page_on(record) as page:
        answer = page.review(crack_id=next(iter(page.cracks())), verdict="confirmed")
        assert answer.status == 500
        assert "reviews.jsonl" in answer.json["error"]
