from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.errors import InputError
from agent.record import read_flight
from tests.support import flights


def test_a_folder_without_a_record_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}: no flight record here"):
        read_flight(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("{", "not JSON", id="half a file"),
        pytest.param("[]", "schema None", id="another kind of file"),
        pytest.param('{"schema": "flight/9"}', "schema 'flight/9', but this version reads 'flight/1'", id="the future"),
        pytest.param('{"schema": "flight/1"}', "mission_id: Field required", id="incomplete"),
    ],
)
def test_a_header_that_cannot_be_read_is_a_clear_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "flight.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_flight(tmp_path)


@pytest.mark.parametrize("file", ["frames.jsonl", "cracks.jsonl"])
def test_a_torn_last_line_is_counted_and_left_out(tmp_path: Path, file: str) -> None:
    flights.write_flight(tmp_path, 2)
    with (tmp_path / file).open("ab") as lines:
        lines.write(b'{"index":3,"na')
    record = read_flight(tmp_path)
    assert record.torn_lines == 1
    assert len(list(record.frames())) == 3
    assert len(list(record.cracks())) == 4


def test_cracks_whose_frame_was_not_finished_are_counted_and_left_out(tmp_path: Path) -> None:
    flights.write_flight(tmp_path, 2)
    frames = (tmp_path / "frames.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "frames.jsonl").write_bytes(frames[0] + frames[1][:-9])
    record = read_flight(tmp_path)
    assert [crack.frame for crack in record.cracks()] == [0, 0]
    assert record.torn_lines == 3  # a frame and its two cracks
    assert (record.header.frames, record.header.skipped, record.header.cracks) == (1, 0, 2)


def test_a_broken_line_in_the_middle_names_its_place(tmp_path: Path) -> None:
    flights.write_flight(tmp_path, 2)
    lines = (tmp_path / "cracks.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cracks.jsonl").write_bytes(lines[0] + b"{}\n" + b"".join(lines[2:]))
    with pytest.raises(InputError, match=r"cracks\.jsonl:2: id: Field required"):
        list(read_flight(tmp_path).cracks())


def test_a_missing_crack_is_an_error_and_never_another_frames_crack(tmp_path: Path) -> None:
    flights.write_flight(tmp_path, 2)
    lines = (tmp_path / "cracks.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cracks.jsonl").write_bytes(b"".join(lines[1:]))
    with pytest.raises(InputError, match="frame 0 should have 2 cracks here, got cracks of frames"):
        list(read_flight(tmp_path).sightings())


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    flights.write_flight(tmp_path, 3)
    sightings = read_flight(tmp_path).sightings()
    frame, cracks = next(sightings)
    assert frame.index == 0
    assert json.loads(cracks[0].model_dump_json())["frame"] == 0
