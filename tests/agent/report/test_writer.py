from __future__ import annotations

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from agent.contract.flight import CrackRow
from agent.contract.frame import UNKNOWN_SCALE, Scale
from agent.errors import InputError, OutputError
from agent.record import FlightRecorder, crack_row, frame_row, read_flight
from agent.report import ReportWriter, report_again
from agent.report.gallery import Gallery, Picture
from tests.support import flights

LIMIT = 20_000_000  # bytes


class Page(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.pictures: list[str] = []
        self.addresses: list[str] = []
        self.attributes: set[str] = set()
        self.policy = ""
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(content)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag not in {"meta", "img", "rect", "line", "circle", "link"}:
            self.open.append(tag)
        found = dict(attrs)
        if tag == "img":
            self.pictures.append(found["src"] or "")
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "action", "srcset", "data"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def _run(
    folder: Path,
    names: list[str | None],
    *,
    scale: Scale = flights.HALF_MM,
    probabilities: bool = False,
    video: bool = False,
    **header: object,
) -> Page:
    with FlightRecorder.open(folder, flights.header(**header)) as recorder:
        report = ReportWriter(folder, probabilities=probabilities, video=video)
        for index, name in enumerate(names):
            picture = flights.frame(index, name, scale=scale)
            cracks = [
                crack_row(crack, picture, number=number, mission_id="m")
                for number, crack in enumerate(flights.cracks_of(scale=scale))
            ]
            file = recorder.keep_frame(picture, evidence=True)
            row = frame_row(picture, cracks=len(cracks), file=file)
            recorder.add(row, cracks)
            report.add(row, cracks, image_rgb=picture.image_rgb, probability=picture.image_rgb[:, :, 0])
        recorder.add(flights.skipped(len(names), reason=flights.HOSTILE))
    page = report.finish(read_flight(folder))
    return Page(page.read_text(encoding="utf-8"))


def test_a_run_leaves_all_its_reports(tmp_path: Path) -> None:
    _run(tmp_path, [None, "clip/000001"], probabilities=True)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        "coverage.geojson",
        "cracks.csv",
        "cracks.geojson",
        "cracks.jsonl",
        "flight.json",
        "frames.jsonl",
        "overlays/clip/000001.jpg",
        "overlays/photo0.jpg",
        "probabilities/clip/000001.png",
        "probabilities/photo0.png",
        "report.html",
        "tracks.jsonl",
    ]


def test_equal_runs_give_equal_reports(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _run(tmp_path / name, [None, None], probabilities=True, video=True)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 13
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_masks_at_hand_and_masks_unrolled_from_the_rows_give_equal_pictures(tmp_path: Path) -> None:
    row, cracks = flights.rows(0)
    masks = [crack.mask for crack in flights.cracks_of()]
    for name, given in (("given", masks), ("unrolled", None)):
        flights.write_flight(tmp_path / name, 0)
        ReportWriter(tmp_path / name).add(row, cracks, image_rgb=flights.frame(0).image_rgb, masks=given)
    one, other = ((tmp_path / name / "overlays/photo0.jpg").read_bytes() for name in ("given", "unrolled"))
    assert one == other


def test_photos_have_an_overlay_and_of_a_video_the_frames_with_cracks(tmp_path: Path) -> None:
    flights.write_flight(tmp_path, 0)
    report = ReportWriter(tmp_path)
    photo = frame_row(flights.frame(0), cracks=0).model_copy(update={"media_time_ns": None})
    report.add(photo, [], image_rgb=flights.frame(0).image_rgb)
    dated = frame_row(flights.frame(1), cracks=0)  # photos that tell when they were taken are photos still
    report.add(dated, [], image_rgb=flights.frame(1).image_rgb)
    film = frame_row(flights.frame(2, "clip/000001"), cracks=0).model_copy(update={"source": "clip.mp4"})
    report.add(film, [], image_rgb=flights.frame(2).image_rgb)
    assert sorted(path.name for path in (tmp_path / "overlays").iterdir()) == ["photo0.jpg", "photo1.jpg"]


class TestProbabilities:
    def test_a_map_is_16_bit_and_65535_is_certain(self, tmp_path: Path) -> None:
        flights.write_flight(tmp_path, 0)
        probability = np.arange(256, dtype=np.uint8).reshape(16, 16)
        image = np.zeros((16, 16, 3), np.uint8)
        ReportWriter(tmp_path, probabilities=True).add(flights.rows(0)[0], [], image_rgb=image, probability=probability)
        read = cv2.imread(str(tmp_path / "probabilities/photo0.png"), cv2.IMREAD_UNCHANGED)
        assert read is not None
        assert read.dtype == np.dtype(np.uint16)
        assert read.shape == (16, 16)
        assert read[15, 15] == 65535
        assert np.allclose(read / 65535, probability / 255, atol=1e-9)

    def test_two_frames_of_one_name_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="two frames are named 'a'"):
            _run(tmp_path, ["a", "a"], probabilities=True)


class TestPage:
    def test_it_is_whole_and_asks_nothing_of_the_network(self, tmp_path: Path) -> None:
        page = _run(tmp_path, [None, None])
        assert page.open == []
        assert {"script", "iframe", "object", "form", "link"}.isdisjoint(page.tags)
        assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in page.addresses)
        assert not any(name.startswith("on") or name == "style" for name in page.attributes)
        for picture in page.pictures:
            content = base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"), validate=True)
            assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None
        assert len(page.pictures) == 2 * 4  # of each crack its frame and a close view

    def test_its_policy_allows_only_its_own_style_and_pictures(self, tmp_path: Path) -> None:
        page = _run(tmp_path, [None])
        content = (tmp_path / "report.html").read_text(encoding="utf-8")
        style = re.search(r"<style>(.*?)</style>", content, re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
        assert page.policy == (
            f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        )

    def test_its_figures_are_the_records(self, tmp_path: Path) -> None:
        page = _run(tmp_path, [None, None, None])
        cracks = list(read_flight(tmp_path).cracks())
        metres = sum(crack.length_mm or 0 for crack in cracks) / 1000
        assert "Frames 3 3 with cracks" in page.text
        assert "Skipped 1 why" in page.text
        assert f"Cracks {len(cracks)}" in page.text
        assert f"Total length {metres:.2f} m" in page.text
        assert "Not gradable: 3 (narrower than the blur)" in page.text
        assert "detect.segmenter_threshold 0.5" in page.text
        assert "cd" * 32 in page.text
        assert all(crack.crack_id[:6] in page.text for crack in cracks)

    def test_an_unknown_scale_gives_no_millimetres(self, tmp_path: Path) -> None:
        page = _run(tmp_path, [None], scale=UNKNOWN_SCALE)
        assert "The scale is unknown in 1 of 1 frame: there" in page.text
        assert re.search(r"\d mm", page.text) is None
        assert "3.00 px" in page.text

    def test_hostile_names_are_text(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        with FlightRecorder.open(
            folder,
            flights.header(
                mission_id=flights.HOSTILE, device="x" * 10_000, settings={flights.HOSTILE: flights.HOSTILE}
            ),
        ) as recorder:
            recorder.add(*flights.rows(0, flights.HOSTILE))
            recorder.add(flights.skipped(1, name=flights.HOSTILE, reason=flights.HOSTILE))
        content = report_again(folder, tmp_path / "out").page.read_text(encoding="utf-8")
        page = Page(content)
        assert page.open == []
        assert "img" not in page.tags
        assert "<img src=x onerror=alert(1)>\"'&\\u{a}\\u{202e}gnp.exe\\u{d83d} =cmd" in page.text
        assert "\u202e" not in content
        assert "… (10000 characters)" in page.text

    def test_a_long_flight_stays_below_the_limit_and_says_what_it_leaves_out(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        noise = np.random.default_rng(0).integers(0, 256, (720, 960, 3), np.uint8)  # JPEG's worst case
        frame, cracks = flights.rows(0)
        with FlightRecorder.open(folder, flights.header()) as recorder:
            report = ReportWriter(folder)
            for index in range(1200):
                row = frame.model_copy(
                    update={"index": index, "name": f"n{index}", "height": noise.shape[0], "width": noise.shape[1]}
                )
                seen = [
                    c.model_copy(update={"id": f"{index}{c.id}", "crack_id": f"{index}{c.crack_id}", "frame": index})
                    for c in cracks
                ]
                recorder.add(row, seen)
                if index < 24:
                    report.add(row, seen, image_rgb=noise)
        path = report.finish(read_flight(folder))
        page = Page(path.read_text(encoding="utf-8"))
        shown, sheets = map(int, re.findall(r"(\d+) of (\d+) sheets have pictures", page.text)[0])
        assert len(page.pictures) == 2 * shown
        assert 10 < shown < 48
        assert sheets == 300
        assert "The 300 worst of 2400 cracks have a sheet." in page.text
        assert "The 2000 worst; 400 more stand in cracks.csv. The worst first. The first 300 have a sheet" in page.text
        assert LIMIT / 2 < path.stat().st_size < LIMIT

    def test_a_stopped_run_says_so(self, tmp_path: Path) -> None:
        flights.write_flight(tmp_path / "run", 2)
        recorder = FlightRecorder.open(tmp_path / "stopped", flights.header())
        recorder.add(*flights.rows(0))
        recorder.close(complete=False)
        assert (
            "stopped before its end" not in Page(report_again(tmp_path / "run", tmp_path / "a").page.read_text()).text
        )
        assert (
            "stopped before its end" in Page(report_again(tmp_path / "stopped", tmp_path / "b").page.read_text()).text
        )

    def test_a_flight_without_a_crack_or_a_frame_is_a_page_too(self, tmp_path: Path) -> None:
        page = _run(tmp_path, [])
        assert "No crack was found" in page.text
        assert page.open == []


class TestAgain:
    def test_with_all_frames_kept_the_report_is_the_same(self, tmp_path: Path) -> None:
        _run(tmp_path / "run", [None, "clip/1"], frames_kept="all")
        report_again(tmp_path / "run", tmp_path / "again")
        for file in ("report.html", "cracks.csv", "cracks.geojson", "overlays/photo0.jpg", "overlays/clip/1.jpg"):
            assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file

    def test_without_frames_it_says_that_pictures_are_missing(self, tmp_path: Path) -> None:
        flights.write_flight(tmp_path / "run", 3)
        page = Page(report_again(tmp_path / "run", tmp_path / "again").page.read_text(encoding="utf-8"))
        assert page.pictures == []
        assert "None has pictures: none were kept or given; this record kept no frames." in page.text

    def test_without_frames_the_runs_overlays_are_shown(self, tmp_path: Path) -> None:
        _run(tmp_path / "run", [None, "clip/1"])
        again = report_again(tmp_path / "run", tmp_path / "again").page
        page = Page(again.read_text(encoding="utf-8"))
        assert len(page.pictures) == 2 * 4
        for file in ("overlays/photo0.jpg", "overlays/clip/1.jpg"):
            assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file
        first = base64.b64decode(page.pictures[0].removeprefix("data:image/jpeg;base64,"))
        picture = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (200, 320, 3)  # the frame, without the overlay's strip

    def test_a_report_that_is_there_is_replaced_only_when_asked(self, tmp_path: Path) -> None:
        flights.write_flight(tmp_path, 1)
        (tmp_path / "report.html").write_text("mine")
        with pytest.raises(OutputError, match=r"already holds report\.html; .*--overwrite"):
            report_again(tmp_path, tmp_path)
        assert (tmp_path / "report.html").read_text() == "mine"
        report_again(tmp_path, tmp_path, overwrite=True)
        assert (tmp_path / "report.html").read_text() != "mine"

    def test_a_kept_picture_of_another_size_is_not_drawn_on(self, tmp_path: Path) -> None:
        _run(tmp_path / "run", [None], frames_kept="all")
        cv2.imwrite(str(tmp_path / "run/frames/photo0.png"), np.zeros((9, 9, 3), np.uint8))
        shutil.rmtree(tmp_path / "run/overlays")
        assert Page(report_again(tmp_path / "run", tmp_path / "again").page.read_text(encoding="utf-8")).pictures == []


class TestVideo:
    def test_it_plays_in_the_pace_of_the_flight(self, tmp_path: Path) -> None:
        _run(tmp_path, ["clip/0", "clip/1", "clip/2"], video=True)
        path = tmp_path / "overlay.mp4"
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = list(container.decode(stream))
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width % 2, stream.height % 2) == (0, 0)
        assert [frame.time for frame in frames] == pytest.approx([0, 1, 2])  # three files, so a second each
        content = path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")  # it starts before it has come whole

    def test_frames_of_one_video_keep_their_distance(self, tmp_path: Path) -> None:
        flights.write_flight(tmp_path, 0)
        with ReportWriter(tmp_path, video=True) as report:
            for index in range(4):
                row = flights.rows(index)[0].model_copy(update={"source": "clip.mp4"})
                image = flights.frame(index, width=321, height=199 + 60 * index).image_rgb
                report.add(row, [], image_rgb=image)
        with av.open(str(tmp_path / "overlay.mp4")) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert times == pytest.approx([0, 0.04, 0.08, 0.12])

    def test_without_a_frame_there_is_no_video(self, tmp_path: Path) -> None:
        _run(tmp_path, [], video=True)
        assert not list(tmp_path.glob("*overlay*"))
        assert not list(tmp_path.glob(".crackscout*"))


class TestGallery:
    def test_it_keeps_the_worst_within_its_budget(self) -> None:
        gallery = Gallery(budget=10_000_000, most=3)
        for turn, width in enumerate([1.0, 5.0, 3.0, 4.0, 5.0]):
            _put(gallery, str(turn), width)
        assert [one.crack.crack_id for one in gallery] == ["1", "4", "3"]
        assert not gallery.wants(_crack("5", 3.0))
        assert gallery.wants(_crack("5", 6.0))

    def test_of_a_crack_the_clearest_pictures_stay(self) -> None:
        gallery = Gallery(budget=10_000_000, most=3)
        for length in (10.0, 30.0, 20.0):
            _put(gallery, "a", 2.0, length_px=length)
        found = gallery.of(["z", "a"])
        assert found is not None
        assert found.crack.length_px == 30.0
        assert gallery.of(["z"]) is None

    def test_its_budget_is_of_bytes(self) -> None:
        gallery = Gallery(budget=2000, most=100)
        for turn in range(9):
            _put(gallery, str(turn), 1.0 + turn)
        assert [one.crack.crack_id for one in gallery] == ["8", "7"]
        assert sum(one.size for one in gallery) <= 2000

    def test_a_picture_larger_than_the_budget_is_not_kept(self) -> None:
        gallery = Gallery(budget=100, most=3)
        _put(gallery, "a", 1.0)
        assert list(gallery) == []


def _crack(crack_id: str, width_px: float, **changed: object) -> CrackRow:
    return flights.rows(0)[1][0].model_copy(
        update={"crack_id": crack_id, "width_px": width_px, "width_mm": width_px / 2, **changed}
    )


def _put(gallery: Gallery, crack_id: str, width_px: float, **changed: object) -> None:
    picture = Picture(b"x" * 500, 8, 8)
    gallery.put(_crack(crack_id, width_px, **changed), lambda: picture, lambda: picture)
