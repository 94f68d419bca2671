from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.contract.flight import FlightHeader
from agent.errors import InputError, OutputError
from agent.record import FlightRecorder, read_flight
from tests.support import flights

ROOT = Path(__file__).parents[3]


def test_what_was_recorded_is_read_again(tmp_path: Path) -> None:
    first, second = flights.rows(0), flights.rows(1)
    with FlightRecorder.open(tmp_path / "run", flights.header()) as recorder:
        recorder.add(*first)
        recorder.add(flights.skipped(2))
        recorder.add(*second)
    record = read_flight(tmp_path / "run")
    assert record.header == flights.header(complete=True, frames=2, skipped=1, cracks=4, sightings=4)
    assert [row.index for row in record.frames()] == [0, 2, 1]
    assert [row.reason for row in record.frames()] == [None, "truncated JPEG", None]
    assert record.torn_lines == 0
    got = list(record.cracks())
    assert [crack.id for crack in got] == [crack.id for crack in [*first[1], *second[1]]]
    assert got[0].mask == first[1][0].mask
    assert got[0].length_px == pytest.approx(first[1][0].length_px, abs=5e-4)


def test_the_header_is_there_from_the_start_and_says_that_the_run_goes_on(tmp_path: Path) -> None:
    recorder = FlightRecorder.open(tmp_path, flights.header(complete=True, frames=99))
    assert FlightHeader.model_validate_json((tmp_path / "flight.json").read_bytes()) == flights.header()
    assert recorder.close(complete=False).complete is False
    assert read_flight(tmp_path).header.complete is False


def test_an_exception_in_the_block_leaves_an_incomplete_record(tmp_path: Path) -> None:
    recorder = FlightRecorder.open(tmp_path, flights.header())
    with pytest.raises(KeyboardInterrupt), recorder:  # noqa: PT012 - both belong to the run that is stopped
        recorder.add(*flights.rows(0))
        raise KeyboardInterrupt
    assert read_flight(tmp_path).header == flights.header(complete=False, frames=1, cracks=2, sightings=2)


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        flights.write_flight(tmp_path / name, 3)
    for file in ("flight.json", "frames.jsonl", "cracks.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_lines_are_compact_and_rounded_and_the_scale_is_not_coarsened(tmp_path: Path) -> None:
    frame, cracks = flights.rows(0)
    frame = frame.model_copy(update={"cracks": 1, "scale_mm_px": 0.0001234567})
    crack = cracks[0].model_copy(update={"length_px": 10.00049999, "orientation_deg": -0.0001})
    with FlightRecorder.open(tmp_path, flights.header()) as recorder:
        recorder.add(frame, [crack])
    line = (tmp_path / "cracks.jsonl").read_text()
    assert '"length_px":10.0,' in line
    assert '"orientation_deg":0.0,' in line
    assert '"scale_mm_px":0.000123457' in (tmp_path / "frames.jsonl").read_text()
    assert list(json.loads(line)) == list(type(crack).model_fields)


def test_a_name_that_is_no_text_survives_as_it_was(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xff\n\"'")
    with FlightRecorder.open(tmp_path, flights.header()) as recorder:
        recorder.add(*flights.rows(0, name))
    assert [row.name for row in read_flight(tmp_path).frames()] == [name]


def test_cracks_of_another_frame_are_a_fault_of_the_caller(tmp_path: Path) -> None:
    frame, _ = flights.rows(0)
    _, others = flights.rows(1)
    with FlightRecorder.open(tmp_path, flights.header()) as recorder, pytest.raises(ValueError, match="frame 0 says 2"):
        recorder.add(frame, others)


def test_a_killed_run_leaves_every_finished_frame(tmp_path: Path) -> None:
    endless = textwrap.dedent("""
        import itertools, sys
        from pathlib import Path
        from agent.record import FlightRecorder
        from tests.support import flights
        recorder = FlightRecorder.open(Path(sys.argv[1]), flights.header())
        frame, cracks = flights.rows(0)
        for index in itertools.count():
            recorder.add(frame.model_copy(update={"index": index}),
                         [crack.model_copy(update={"frame": index}) for crack in cracks])
            print(index, flush=True)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", endless, str(tmp_path / "run")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout if line.endswith("\n")]
    record = read_flight(tmp_path / "run")
    sightings = list(record.sightings())
    assert len(sightings) >= len(said)
    assert [frame.index for frame, _ in sightings] == list(range(len(sightings)))
    assert all(len(cracks) == 2 for _, cracks in sightings)
    assert record.header.complete is False
    assert (record.header.frames, record.header.sightings, record.header.cracks) == (
        len(sightings), 2 * len(sightings), 2,
    )  # fmt: skip


def test_a_full_disk_is_one_clear_error_and_takes_back_the_half_written_frame(tmp_path: Path) -> None:
    # A limit on the size of files stands for the full disk: the kernel refuses in the middle of a write.
    until_full = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from agent.errors import OutputError
        from agent.record import FlightRecorder
        from tests.support import flights
        recorder = FlightRecorder.open(Path(sys.argv[1]), flights.header())
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        frame, cracks = flights.rows(0)
        kept = 0
        try:
            for index in range(100):
                recorder.add(frame.model_copy(update={"index": index}),
                             [crack.model_copy(update={"frame": index}) for crack in cracks])
                kept += 1
        except OutputError as exc:
            print(exc, file=sys.stderr)
        recorder.close(complete=False)
        print(kept)
    """)
    done = subprocess.run(
        [sys.executable, "-c", until_full, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "cracks.jsonl: cannot be written (File too large)" in done.stderr
    record = read_flight(tmp_path)
    assert record.torn_lines == 0
    assert 0 < int(done.stdout) == record.header.frames < 100
    assert (tmp_path / "cracks.jsonl").read_bytes().endswith(b"\n")


class TestFolders:
    def test_a_folder_that_holds_a_run_is_refused_and_nothing_is_changed(self, tmp_path: Path) -> None:
        flights.write_flight(tmp_path, 2)
        before = (tmp_path / "cracks.jsonl").read_bytes()
        with pytest.raises(OutputError, match=f"{tmp_path}: already holds a run; .*--overwrite"):
            FlightRecorder.open(tmp_path, flights.header())
        assert (tmp_path / "cracks.jsonl").read_bytes() == before

    def test_a_folder_with_other_things_in_it_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "holiday.jpg").touch()
        with pytest.raises(OutputError, match=r"is not empty; .*--overwrite"):
            FlightRecorder.open(tmp_path, flights.header())

    def test_overwriting_removes_what_the_run_wrote_and_nothing_else(self, tmp_path: Path) -> None:
        picture = flights.frame(0, "clip/000000")
        row, cracks = flights.rows(0, "clip/000000")
        with FlightRecorder.open(tmp_path, flights.header(frames_kept="all")) as recorder:
            file = recorder.keep_frame(picture, evidence=False)
            recorder.add(row.model_copy(update={"file": file}), cracks)
        ours = [
            tmp_path / "overlays/clip/000000.jpg",
            tmp_path / "probabilities/clip/000000.png",
            tmp_path / "report.html",
        ]
        foreign = [tmp_path / "notes.txt", tmp_path / "overlays/mine.jpg", tmp_path / "frames/clip/000001.png"]
        for path in [*ours, *foreign]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        FlightRecorder.open(tmp_path, flights.header(), overwrite=True).close(complete=True)
        assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(
            [*foreign, *(tmp_path / name for name in ("flight.json", "frames.jsonl", "cracks.jsonl", "tracks.jsonl"))]
        )
        assert not (tmp_path / "probabilities").exists()

    def test_overwriting_never_follows_a_record_out_of_its_folder(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        (outside / "clip").mkdir(parents=True)
        (outside / "clip/000000.jpg").touch()
        run = tmp_path / "run"
        with FlightRecorder.open(run, flights.header()) as recorder:
            recorder.add(*flights.rows(0, "clip/000000"))
        (run / "overlays").symlink_to(outside)
        FlightRecorder.open(run, flights.header(), overwrite=True).close(complete=True)
        assert (outside / "clip/000000.jpg").exists()
        with (run / "frames.jsonl").open("wb") as file:
            file.write(flights.rows(0, "../../outside/clip/000000")[0].model_dump_json().encode() + b"\n")
        with pytest.raises(OutputError, match="cannot tell which files"):
            FlightRecorder.open(run, flights.header(), overwrite=True)
        assert (outside / "clip/000000.jpg").exists()

    def test_overwriting_keeps_foreign_files_that_bear_our_names(self, tmp_path: Path) -> None:
        (tmp_path / "report.html").write_text("mine")
        with pytest.raises(OutputError, match=r"holds report\.html, which no run wrote"):
            FlightRecorder.open(tmp_path, flights.header(), overwrite=True)
        assert (tmp_path / "report.html").read_text() == "mine"

    def test_a_folder_of_photos_may_take_a_run_beside_them_when_asked(self, tmp_path: Path) -> None:
        (tmp_path / "holiday.jpg").touch()
        FlightRecorder.open(tmp_path, flights.header(), overwrite=True).close(complete=True)
        assert (tmp_path / "holiday.jpg").exists()
        assert read_flight(tmp_path).header.complete

    def test_a_file_in_place_of_the_folder_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "out"
        file.touch()
        with pytest.raises(OutputError, match="is a file"):
            FlightRecorder.open(file, flights.header())
        with pytest.raises(OutputError, match="Not a directory"):
            FlightRecorder.open(file / "run", flights.header())

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody may write to")
    def test_a_folder_that_cannot_be_written_to_is_refused(self) -> None:
        with pytest.raises(OutputError, match="/proc/run: cannot be written"):
            FlightRecorder.open(Path("/proc/run"), flights.header())


class TestKeptFrames:
    def test_the_cameras_own_bytes_are_passed_through(self, tmp_path: Path) -> None:
        done, encoded = cv2.imencode(".jpg", flights.frame(0).image_rgb)
        assert done
        picture = flights.with_encoded(flights.frame(0, "clip/a"), encoded.tobytes(), ".JPG")
        with FlightRecorder.open(tmp_path, flights.header(frames_kept="all")) as recorder:
            assert recorder.keep_frame(picture, evidence=False) == "frames/clip/a.JPG"
        assert (tmp_path / "frames/clip/a.JPG").read_bytes() == encoded.tobytes()
        assert [path.name for path in (tmp_path / "frames/clip").iterdir()] == ["a.JPG"]

    def test_a_decoded_frame_is_kept_without_loss(self, tmp_path: Path) -> None:
        picture = flights.frame(0)
        with FlightRecorder.open(tmp_path, flights.header(frames_kept="all")) as recorder:
            file = recorder.keep_frame(picture, evidence=False)
        assert file == "frames/photo0.png"
        read = cv2.imread(str(tmp_path / file), cv2.IMREAD_COLOR)
        assert read is not None
        assert np.array_equal(read[:, :, ::-1], picture.image_rgb)

    @pytest.mark.parametrize(
        ("kept", "evidence", "expected"),
        [("none", True, None), ("evidence", False, None), ("evidence", True, "frames/photo0.png")],
    )
    def test_as_many_are_kept_as_the_header_says(
        self,
        tmp_path: Path,
        kept: str,
        evidence: bool,  # noqa: FBT001 - a column of the table
        expected: str | None,
    ) -> None:
        recorder = FlightRecorder.open(tmp_path, flights.header(frames_kept=kept))
        assert recorder.keep_frame(flights.frame(0), evidence=evidence) == expected
        recorder.close(complete=True)

    @pytest.mark.parametrize("name", ["../x", "../../x", "a/../../x", "a\0b"])
    def test_a_name_never_leads_out_of_the_record(self, tmp_path: Path, name: str) -> None:
        with (
            FlightRecorder.open(tmp_path, flights.header(frames_kept="all")) as recorder,
            pytest.raises(InputError, match="would lie outside"),
        ):
            recorder.keep_frame(flights.frame(0, name), evidence=True)

    def test_equal_names_are_refused(self, tmp_path: Path) -> None:
        with FlightRecorder.open(tmp_path, flights.header(frames_kept="all")) as recorder:
            recorder.keep_frame(flights.frame(0), evidence=True)
            with pytest.raises(InputError, match="already kept"):
                recorder.keep_frame(flights.frame(0), evidence=True)
