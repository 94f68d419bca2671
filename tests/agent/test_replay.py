"""`crack-agent replay` from photographs to reports, on networks that are formulas."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.contract.arrays import UInt8
from agent.record import read_flight
from tests.support.bundles import expected_probability
from tests.support.commands import call, crack, variables
from tests.support.needs import missing
from tests.support.pictures import read, read_unchanged


def wall(seed: int, *, cracked: bool = True, height: int = 200, width: int = 300) -> UInt8:
    """A light wall with a dark line of 120 x 3 px, or without."""
    picture = np.random.default_rng(seed).integers(190, 200, (height, width, 3)).astype(np.uint8)
    if cracked:
        picture[100:103, 40:160] = 60
    return picture


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos: cracked, clean, cracked."""
    folder = tmp_path_factory.mktemp("photos")
    for index, cracked in enumerate([True, False, True], 1):
        cv2.imwrite(str(folder / f"{index}.png"), wall(index, cracked=cracked))
    return folder


@pytest.fixture(scope="module")
def replayed(photos: Path, tiny_bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("replay") / "out"
    done = crack(
        "crack-agent", "replay", photos, "--out", out, "--bundle", tiny_bundle_folder, "--mm-per-px", 0.5,
        "--save-probabilities", "--video", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (out / "summary.json").write_text(done.stdout)
    return out


def test_the_folder_becomes_a_record_with_its_reports(replayed: Path) -> None:
    expected = {
        "flight.json", "frames.jsonl", "cracks.jsonl", "cracks.geojson", "cracks.csv", "report.html", "overlays",
        "probabilities", "overlay.mp4", "summary.json", "tracks.jsonl", "coverage.json", "coverage.geojson",
    }  # fmt: skip
    assert {path.name for path in replayed.iterdir()} <= expected | {"overlay.webm"}
    assert {path.name for path in (replayed / "overlays").iterdir()} == {"1.jpg", "2.jpg", "3.jpg"}


def test_the_cracks_are_those_that_were_drawn(replayed: Path) -> None:
    record = read_flight(replayed)
    assert record.header.complete
    assert (record.header.frames, record.header.cracks) == (3, 2)
    assert [row.cracks for row in record.frames()] == [1, 0, 1]
    for crack_row in record.cracks():
        assert crack_row.length_px == pytest.approx(120, rel=0.06)
        assert crack_row.length_mm == pytest.approx(crack_row.length_px * 0.5, rel=1e-3)
        assert crack_row.width_px == pytest.approx(3, abs=0.5)
        assert crack_row.orientation_deg is not None
        assert (crack_row.orientation_deg + 90) % 180 == pytest.approx(90, abs=2)
        assert crack_row.bbox_x == pytest.approx(40, abs=3)
        assert crack_row.bbox_y == pytest.approx(100, abs=3)


def test_the_tables_tell_what_the_record_holds(replayed: Path) -> None:
    cracks = list(read_flight(replayed).cracks())
    features = json.loads((replayed / "cracks.geojson").read_text())["features"]
    with (replayed / "cracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [feature["geometry"] for feature in features] == [None, None]
    assert len(rows) == len(features) == len(cracks) == 2


def test_probabilities_have_16_bits_and_are_the_networks(replayed: Path, photos: Path) -> None:
    saved = read_unchanged(replayed / "probabilities" / "1.png")
    assert saved.dtype == np.uint16
    assert saved.shape == (200, 300)
    want = expected_probability(read(photos / "1.png"))
    segmented = np.asarray(saved > 0)  # the gate let no other tile through
    assert segmented[100:103, 45:155].all()
    assert np.abs(saved / 65535 - want / 255)[segmented].max() <= 1 / 255 + 1e-9


def test_the_summary_counts_frames_cracks_stages_and_memory(replayed: Path) -> None:
    summary = json.loads((replayed / "summary.json").read_text())
    assert (summary["frames"], summary["cracks"], summary["skipped"]) == (3, 2, 0)
    assert set(summary["stage_seconds"]) == {"decode", "detect", "measure", "track", "record", "report"}
    assert 0 < summary["run_seconds"] <= summary["stage_seconds"]["detect"] + 0.1
    assert summary["peak_memory_mb"] > 0


def test_the_same_replay_twice_gives_the_same_bytes(
    replayed: Path, photos: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    elsewhere = shutil.copytree(photos, tmp_path / photos.name)
    again = tmp_path / "again"
    done = crack(
        "crack-agent", "replay", elsewhere, "--out", again, "--bundle", tiny_bundle_folder, "--mm-per-px", 0.5,
        "--save-probabilities", "--video",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    def hashes(folder: Path) -> dict[str, str]:
        names = [
            "flight.json",
            "frames.jsonl",
            "cracks.jsonl",
            "tracks.jsonl",
            "coverage.json",
            "cracks.geojson",
            "cracks.csv",
            "report.html",
        ]
        paths = [*(folder / name for name in names), *(folder / "probabilities").iterdir()]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    assert hashes(again) == hashes(replayed)


def test_a_record_whose_frames_were_kept_replays_to_the_same_cracks(
    photos: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    common = ("--bundle", tiny_bundle_folder)
    first = crack("crack-agent", "replay", photos, "--out", tmp_path / "a", *common, CRACKSCOUT_RECORD__FRAMES="all")
    second = crack("crack-agent", "replay", tmp_path / "a", "--out", tmp_path / "b", *common)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    found = [
        [
            (row.frame, row.bbox_x, row.bbox_y, row.length_px, row.width_px)
            for row in read_flight(tmp_path / name).cracks()
        ]
        for name in ("a", "b")
    ]
    assert found[0] == found[1] != []
    assert (tmp_path / "a" / "cracks.jsonl").read_bytes() == (tmp_path / "b" / "cracks.jsonl").read_bytes()
    assert (tmp_path / "a" / "frames" / "1.png").read_bytes() == (photos / "1.png").read_bytes()


def replay(*arguments: object, bundle: Path) -> subprocess.CompletedProcess[str]:
    return crack("crack-agent", "replay", *arguments, "--bundle", bundle)


def assert_refused(done: subprocess.CompletedProcess[str], told: str) -> None:
    """Exit code 2 and one line on stderr that says `told`."""
    assert done.returncode == 2, done
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_an_out_that_already_holds_a_run_is_refused_and_left_alone(
    replayed: Path, photos: Path, tiny_bundle_folder: Path
) -> None:
    before = (replayed / "cracks.jsonl").read_bytes()
    assert_refused(replay(photos, "--out", replayed, bundle=tiny_bundle_folder), "--overwrite")
    assert (replayed / "cracks.jsonl").read_bytes() == before


def test_overwrite_replaces_the_run_and_nothing_else(photos: Path, tiny_bundle_folder: Path, tmp_path: Path) -> None:
    assert replay(photos / "1.png", "--out", tmp_path / "o", bundle=tiny_bundle_folder).returncode == 0
    (tmp_path / "o" / "notes.txt").write_text("mine")
    done = replay(photos / "2.png", "--out", tmp_path / "o", "--overwrite", bundle=tiny_bundle_folder)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o" / "notes.txt").read_text() == "mine"
    assert [path.name for path in (tmp_path / "o" / "overlays").iterdir()] == ["2.jpg"]


def test_bad_photos_are_counted_and_named_and_the_rest_goes_on(
    photos: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(photos, tmp_path / "mixed")
    jpeg = cv2.imencode(".jpg", wall(5))[1].tobytes()
    (folder / "4.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "5.jpg").write_text("text")
    cv2.imwrite(str(folder / "6.png"), wall(6)[:, :, 0])
    cv2.imwrite(str(folder / "7.png"), wall(7).astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "8.png"), np.dstack([wall(8), np.full((200, 300), 128, np.uint8)]))
    cv2.imwrite(str(folder / "9.png"), wall(9, height=1, width=1, cracked=False))
    done = replay(folder, "--out", tmp_path / "o", "--json", bundle=tiny_bundle_folder)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["frames"], summary["skipped"], summary["cracks"]) == (7, 2, 5)
    rows = {row.name: row for row in read_flight(tmp_path / "o").frames()}
    assert rows["4"].reason is not None
    assert "cut short" in rows["4"].reason
    assert rows["5"].status == "skipped"
    assert rows["9"].status == "inferred"
    assert [rows[name].cracks for name in ("6", "7", "8")] == [1, 1, 1]
    assert "cut short" in (tmp_path / "o" / "report.html").read_text()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(lambda folder: folder.mkdir() or folder, "no photos", id="an empty folder"),
        pytest.param(lambda folder: folder / "absent", "no such file", id="nothing there"),
        pytest.param(
            lambda folder: folder.with_suffix(".mp4").write_text("text") and folder.with_suffix(".mp4"),
            "not a video",
            id="a text file named mp4",
        ),
    ],
)
def test_a_source_that_is_none_is_one_clear_line(
    make: Callable[[Path], Path], told: str, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    source = make(tmp_path / "source")
    assert_refused(replay(source, "--out", tmp_path / "o", bundle=tiny_bundle_folder), told)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("mm_per_px", ["0", "-1", "nan", "inf"])
def test_a_scale_that_is_none_is_refused(
    photos: Path, tiny_bundle_folder: Path, tmp_path: Path, mm_per_px: str
) -> None:
    done = replay(photos, "--out", tmp_path / "o", "--mm-per-px", mm_per_px, bundle=tiny_bundle_folder)
    assert_refused(done, "positive number")


def test_a_bundle_with_one_flipped_byte_is_refused(photos: Path, tiny_bundle_folder: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(tiny_bundle_folder, tmp_path / "bundle")
    content = bytearray((bundle / "segmenter.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "segmenter.onnx").write_bytes(content)
    assert_refused(replay(photos, "--out", tmp_path / "o", bundle=bundle), "copy the bundle again")


def test_a_bundle_of_a_future_schema_is_refused(photos: Path, tiny_bundle_folder: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(tiny_bundle_folder, tmp_path / "bundle")
    manifest = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(manifest.replace("bundle/1", "bundle/7"))
    assert_refused(replay(photos, "--out", tmp_path / "o", bundle=bundle), "'bundle/7'")


def test_an_out_that_cannot_be_written_is_refused(photos: Path, tiny_bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert_refused(replay(photos, "--out", tmp_path / "file", bundle=tiny_bundle_folder), "is a file")
    assert_refused(replay(photos, "--out", tmp_path / "file" / "o", bundle=tiny_bundle_folder), "cannot be written")
    assert_refused(replay(photos, "--out", "/proc/o", bundle=tiny_bundle_folder), "/proc/o")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        missing("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_is_a_fault_of_the_run_and_what_was_written_stays(
    photos: Path, tiny_bundle_folder: Path, small_disk: Path
) -> None:
    many = small_disk.parent / "many"
    many.mkdir()
    for index in range(12):
        shutil.copy(photos / "1.png", many / f"{index}.png")
    done = replay(many, "--out", small_disk / "o", "--save-probabilities", bundle=tiny_bundle_folder)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    record = read_flight(small_disk / "o")
    assert not record.header.complete
    assert 0 < len(list(record.frames())) < 12


def test_unknown_settings_are_told_with_their_place(photos: Path, tiny_bundle_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "device.yaml"
    config.write_text("version: 1\nmqtt:\n  qso: 1\n")
    done = replay(photos, "--out", tmp_path / "o", "--config", config, bundle=tiny_bundle_folder)
    assert_refused(done, "device.yaml:3:3: mqtt.qso: not a setting; did you mean 'qos'?")


def test_equal_stems_are_refused(photos: Path, tiny_bundle_folder: Path, tmp_path: Path) -> None:
    done = replay(photos, photos / "1.png", "--out", tmp_path / "o", bundle=tiny_bundle_folder)
    assert_refused(done, "'1'")


@pytest.mark.parametrize("inside", [".", "frames"])
def test_what_a_run_reads_is_never_overwritten_by_it(
    photos: Path, tiny_bundle_folder: Path, tmp_path: Path, inside: str
) -> None:
    record = tmp_path / "record"
    crack(
        "crack-agent",
        "replay",
        photos,
        "--out",
        record,
        "--bundle",
        tiny_bundle_folder,
        CRACKSCOUT_RECORD__FRAMES="all",
    )
    done = replay(record / inside, "--out", record, "--overwrite", bundle=tiny_bundle_folder)
    assert_refused(done, "a source of this run, lies in it")
    assert len(list((record / "frames").iterdir())) == 3


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_a_valid_partial_record(tiny_bundle_folder: Path, tmp_path: Path, stop: int) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    picture = cv2.imencode(".png", wall(0, height=1000, width=1500))[1].tobytes()
    for index in range(400):
        (folder / f"{index}.png").write_bytes(picture)
    out = tmp_path / "o"
    words = call("crack-agent", "replay", folder, "--out", out, "--bundle", tiny_bundle_folder)
    process = subprocess.Popen(words, env=variables(), stderr=subprocess.PIPE, text=True)
    frames = out / "frames.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (frames.exists() and frames.read_bytes().count(b"\n") >= 3):
        time.sleep(0.02)
    os.kill(process.pid, stop)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what was written so far is kept" in stderr
    assert "Traceback" not in stderr
    record = read_flight(out)
    assert not record.header.complete
    assert 3 <= record.header.frames < 400
    assert len(list(record.sightings())) == record.header.frames
    assert (out / "report.html").exists()


def test_a_video_is_replayed_with_its_times(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    import av

    with av.open(tmp_path / "clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 304, 200, "yuv420p", 4_000_000
        for index in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(wall(index, width=304), format="rgb24")))
        container.mux(stream.encode(None))
    done = replay(tmp_path / "clip.mp4", "--out", tmp_path / "o", "--save-probabilities", bundle=tiny_bundle_folder)
    assert done.returncode == 0, done.stderr
    rows = list(read_flight(tmp_path / "o").frames())
    assert [row.media_time_ns for row in rows] == [0, 100_000_000, 200_000_000, 300_000_000]
    assert (tmp_path / "o" / "probabilities" / "clip" / "000003.png").exists()
    assert [row.cracks for row in rows] == [1, 1, 1, 1]


def test_a_run_does_not_read_what_it_writes(photos: Path, tiny_bundle_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photos, tmp_path / "photos")
    done = replay(folder, "--recursive", "--out", folder / "result", bundle=tiny_bundle_folder)
    assert_refused(done, "read with --recursive")


def test_a_run_that_cannot_begin_leaves_the_one_that_is_there(
    photos: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    assert replay(photos, "--out", tmp_path / "o", bundle=tiny_bundle_folder).returncode == 0
    before = (tmp_path / "o" / "cracks.csv").read_bytes()
    done = crack(
        "crack-agent", "replay", photos, "--out", tmp_path / "o", "--bundle", tiny_bundle_folder, "--overwrite",
        "--publish", CRACKSCOUT_MQTT__HOST="127.0.0.1", CRACKSCOUT_MQTT__PORT="9",
    )  # fmt: skip
    assert done.returncode == 1
    assert (tmp_path / "o" / "cracks.csv").read_bytes() == before


def test_a_panorama_longer_than_the_library_can_remap_is_measured(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    picture = wall(0, cracked=False, height=96, width=34_000)
    picture[40:46, 33_000:33_200] = 60
    picture[60:66, 100:300] = 60
    cv2.imwrite(str(tmp_path / "wide.png"), picture)
    done = replay(tmp_path / "wide.png", "--out", tmp_path / "o", bundle=tiny_bundle_folder)
    assert done.returncode == 0, done.stderr
    cracks = sorted(read_flight(tmp_path / "o").cracks(), key=lambda row: row.bbox_x)
    assert [row.bbox_x for row in cracks] == pytest.approx([100, 33_000], abs=4)
    assert [row.length_px for row in cracks] == pytest.approx([200, 200], rel=0.06)


def test_a_name_that_is_no_text_is_replayed_and_reported(
    photos: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    hostile = [os.fsdecode(b"bad\xff"), "line\nbreak", "<b>bold</b>", "=1+1", "\u202ertl"]
    for name in hostile:
        shutil.copy(photos / "1.png", folder / f"{name}.png".replace("/", "_"))
    done = replay(folder, "--out", tmp_path / "o", "--save-probabilities", "--video", bundle=tiny_bundle_folder)
    assert done.returncode == 0, done.stderr
    assert len(list(read_flight(tmp_path / "o").cracks())) == 5
    page = (tmp_path / "o" / "report.html").read_text()
    assert "<b>bold" not in page


def test_files_that_are_no_photos_are_counted_and_a_dangling_link_is_skipped(
    photos: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(photos, tmp_path / "mixed")
    (folder / "a.heic").write_text("x")
    (folder / "notes").write_text("x")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    done = replay(folder, "--out", tmp_path / "o", "--json", bundle=tiny_bundle_folder)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["frames"], summary["skipped"], summary["ignored"]) == (3, 1, {".heic": 1, "none": 1})
    (source,) = read_flight(tmp_path / "o").header.sources
    assert source.ignored == {".heic": 1, "none": 1}
