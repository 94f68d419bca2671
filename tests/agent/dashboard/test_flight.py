"""The page's numbers are the record's, while it is written, afterwards, and over restarts of the agent."""

from __future__ import annotations

import hashlib
import itertools
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.contract.flight import CrackRow, FrameRow, TrackRow
from agent.dashboard.cursor import Cursor
from agent.dashboard.flight import FlightView
from agent.dashboard.library import Library
from agent.record import FlightRecorder, read_flight
from tests.support.flights import HOSTILE, header, rows, skipped, write_flight
from tests.support.page import Stream, page_on, track

Step = tuple[FrameRow, list[CrackRow], list[TrackRow]]


def flown(frames: int = 6) -> list[Step]:
    """Return a flight: two cracks a frame; each second frame's become part of those before, one was a false alarm."""
    steps: list[Step] = []
    for index in range(frames):
        frame, (first, second) = rows(index)
        events = [track(first, "new"), track(second, "new")]
        if index % 2:
            _, (old, gone) = rows(index - 1)
            grown = track(
                old, "merge", revision=1, frame=index, parents=(first.crack_id,), length_px=900.0, length_mm=450.0
            )
            part = track(first, "retracted", revision=1, parents=(old.crack_id,))
            events += [part, track(gone, "retracted", revision=1, frame=index), grown]  # the last line stays as it is
        steps.append((frame, [first, second], events))
    return steps


def told(record: Path) -> dict[str, Any]:
    """Return what the record says, by the reader that the reports use."""
    return {crack.crack_id: (frame, crack) for frame, crack in read_flight(record).whole_cracks()}


def same(listed: list[dict[str, Any]], record: Path) -> None:
    want = told(record)
    assert {crack["crack_id"] for crack in listed} == set(want)
    for crack in listed:
        frame, row = want[crack["crack_id"]]
        assert crack["frame_name"] == frame.name
        for name in (
            "revision",
            "width_mm",
            "width_px",
            "length_mm",
            "length_px",
            "severity",
            "gradable",
            "sightings",
            "kind",
        ):
            assert crack[name] == getattr(row, name), name


def heard_of(stream: Stream, frames: int) -> None:
    """Wait until the reader was told of so many frames; of none, until it is told anything."""
    stream.wait_for(
        lambda: (
            bool(stream.events) and (not frames or any(news["frames"] == frames for _, news in stream.told("cracks")))
        )
    )


def test_a_recorded_flight_has_the_numbers_of_its_record(tmp_path: Path) -> None:
    with FlightRecorder.open(tmp_path / "flight", header()) as recorder:
        for frame, cracks, tracks in flown():
            recorder.add(frame, cracks, tracks)
        recorder.add(skipped(6))
    with page_on(tmp_path / "flight") as page:
        same(page.ask(page.at("/cracks")).json["cracks"], tmp_path / "flight")
        flight = page.ask(page.at("")).json
    assert (flight["frames"], flight["skipped"], flight["reasons"]) == (6, 1, {"truncated JPEG": 1})
    assert flight["header"]["cracks"] == len(told(tmp_path / "flight")) == 6  # 12 of 6 frames, 3 merged, 3 retracted


def test_a_record_of_before_cracks_were_followed_shows_each_sighting(tmp_path: Path) -> None:
    write_flight(tmp_path / "flight", 3)
    view = FlightView(tmp_path / "flight")
    view.refresh()
    same(view.cracks()[0], tmp_path / "flight")
    assert len(view.cracks()[0]) == 6


def test_at_every_moment_of_a_flight_the_page_says_what_the_record_says(tmp_path: Path) -> None:
    view = None
    with FlightRecorder.open(tmp_path / "flight", header()) as recorder:
        for frame, cracks, tracks in flown():
            recorder.add(frame, cracks, tracks)
            view = view or FlightView(tmp_path / "flight")
            view.refresh()
            same(view.cracks()[0], tmp_path / "flight")


def test_a_line_that_is_being_written_waits_until_it_is_whole(tmp_path: Path) -> None:
    write_flight(tmp_path / "flight", 2)
    whole = (tmp_path / "flight/frames.jsonl").read_bytes()
    (tmp_path / "flight/frames.jsonl").write_bytes(whole[:-20])
    view = FlightView(tmp_path / "flight")
    view.refresh()
    assert view.frames.skipped == 0
    (tmp_path / "flight/frames.jsonl").write_bytes(whole)
    view.refresh()
    assert (view.frames.inferred, view.frames.skipped, view.faults) == (2, 1, 0)


def test_damaged_lines_are_counted_and_the_rest_is_shown(tmp_path: Path) -> None:
    write_flight(tmp_path / "flight", 3)
    path = tmp_path / "flight/frames.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"not JSON\n", b'{"index": -1}\n', lines[3]]))
    with page_on(tmp_path / "flight") as page:
        answer = page.ask(page.at("/cracks")).json
    assert answer["faults"] == 2
    assert (answer["frames"], answer["skipped"], len(answer["cracks"])) == (3, 1, 6)


@pytest.mark.parametrize("cuts", [(1, 3), (2, 5), (3, 4)])
def test_a_reader_that_comes_back_to_a_restarted_agent_gets_the_rest_and_nothing_twice(
    tmp_path: Path, cuts: tuple[int, int]
) -> None:
    steps = flown()
    have: dict[str, dict[str, Any]] = {}
    last_id: str | None = None
    counts: list[int] = []
    recorder = FlightRecorder.open(tmp_path / "flight", header())
    port = 0
    for begin, end in itertools.pairwise((0, *cuts, len(steps))):
        for step in steps[begin : end - 1]:
            recorder.add(*step)
        with page_on(tmp_path / "flight", port=port) as page:
            port = page.port
            with closing(Stream(page, f"/api/events?flight={page.key}", last_event_id=last_id)) as stream:
                heard_of(stream, end - 1 if end - 1 > begin else 0)
                recorder.add(*steps[end - 1])  # while somebody listens
                heard_of(stream, end)
                for _, news in stream.told("cracks"):
                    changed = {crack["crack_id"]: crack for crack in news["cracks"]}
                    for crack_id, crack in changed.items():
                        assert have.get(crack_id, {}).get("revision", -1) < crack["revision"], "told twice"
                    have |= changed
                    for gone in news["removed"]:
                        have.pop(gone, None)
                    counts.append(news["frames"])
                last_id = stream.last_id
        same(list(have.values()), tmp_path / "flight")
    recorder.close(complete=True)
    assert counts == sorted(counts)
    same(list(have.values()), tmp_path / "flight")


def test_an_id_of_another_flight_or_of_nobody_begins_at_the_start(tmp_path: Path) -> None:
    write_flight(tmp_path / "flight", 2)
    with page_on(tmp_path / "flight") as page:
        for id_ in ("0" * 16 + "~2.0.0", "nonsense", "~~", "\u00e9"):
            with closing(
                Stream(page, f"/api/events?flight={page.key}", last_event_id=id_.encode().decode("latin-1"))
            ) as stream:
                stream.wait_for(lambda stream=stream: bool(stream.told("cracks")))  # type: ignore[misc]
                assert len(stream.told("cracks")[0][1]["cracks"]) == 4


def test_a_cursor_is_read_back() -> None:
    cursor = Cursor("0123456789abcdef", 3, 7, 1)
    assert Cursor.parse(str(cursor)) == cursor
    assert Cursor.parse(str(cursor) + "\n") is None


def test_only_cracks_carry_an_id_so_that_a_reader_resumes_from_the_record(tmp_path: Path) -> None:
    write_flight(tmp_path / "flight", 2)
    with page_on(tmp_path / "flight") as page, closing(Stream(page, f"/api/events?flight={page.key}")) as stream:
        stream.wait_for(lambda: bool(stream.told("state")) and bool(stream.told("flight")))
        assert {name for name, id_, _ in stream.events if id_ is not None} == {"cracks"}


def test_the_newest_flight_of_a_folder_is_told_when_it_begins(tmp_path: Path) -> None:
    write_flight(tmp_path / "flights/one", 1, mission_id="one")
    library = Library(tmp_path / "flights", single=False)
    with page_on(tmp_path, library=library) as page, closing(Stream(page, f"/api/events?flight={page.key}")) as stream:
        first = page.key
        stream.wait_for(lambda: bool(stream.told("flight")))
        write_flight(tmp_path / "flights/two", 2, mission_id="two")
        stream.wait_for(lambda: stream.told("flight")[-1][1]["key"] not in {None, first})
        assert stream.told("flight")[-1][1]["key"] == hashlib.sha256(b"two").hexdigest()[:16]
        flights = page.ask("/api/overview").json["flights"]
    assert [flight["mission"] for flight in flights] == ["two", "one"]


def test_hostile_names_come_as_the_text_that_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "flight"
    named = {"mission_id": HOSTILE + "x" * 10_000, "device": HOSTILE, "structure": "</script><script>alert(1)</script>"}
    frame, cracks = rows(0)
    evil = [row.model_copy(update={"camera": HOSTILE, "not_gradable_reason": HOSTILE}) for row in cracks]
    with FlightRecorder.open(folder, header(**named)) as recorder:
        recorder.add(frame.model_copy(update={"name": "n" * 10_000, "camera": HOSTILE}), evil)
        recorder.add(skipped(1, reason=HOSTILE))
    with page_on(folder) as page:
        answers = [page.ask(page.at("")), page.ask(page.at("/cracks")), page.ask("/api/overview")]
        assert [answer.status for answer in answers] == [200] * 3
        assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
        flight, listed, overview = (answer.json for answer in answers)
        assert flight["header"]["mission_id"] == named["mission_id"]
        assert overview["flights"][0]["structure"] == named["structure"]
        assert {crack["camera"] for crack in listed["cracks"]} == {HOSTILE}
        assert flight["reasons"] == {HOSTILE: 1}
        with closing(Stream(page, f"/api/events?flight={page.key}")) as stream:
            stream.wait_for(lambda: bool(stream.told("cracks")))
            assert len(stream.told("cracks")[0][1]["cracks"]) == 2
            assert stream.told("cracks")[0][1]["cracks"][0]["camera"] == HOSTILE
        crack = listed["cracks"][0]["crack_id"]
        assert page.ask(page.at(f"/crack?id={crack}")).status == 200
        assert page.ask(page.at(f"/crack.jpg?id={crack}")).status == 404  # a name of 10 kB is no file


def test_a_folder_without_flights_is_no_error(tmp_path: Path) -> None:
    with page_on(tmp_path, library=Library(tmp_path / "nowhere", single=False)) as page:
        overview = page.ask("/api/overview").json
        assert (overview["flights"], overview["current"]) == ([], None)
        with closing(Stream(page, "/api/events")) as stream:
            stream.wait_for(lambda: bool(stream.told("state")))
