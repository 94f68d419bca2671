from __future__ import annotations

import hashlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from agent.capture import open_sources
from agent.capture.photos import natural_key
from agent.capture.source import Source
from agent.contract.arrays import UInt8
from agent.contract.frame import Frame, Scale, SkippedFrame
from agent.errors import InputError


def write_photo(path: Path, shade: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 30, 3), shade, np.uint8))
    return path


def write_video(path: Path, pictures: list[UInt8], rate: int = 10) -> Path:
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def only(path: Path, *, recursive: bool = False) -> Source:
    (source,) = open_sources([path], camera="cam", recursive=recursive)
    return source


def read(source: Source) -> list[Frame | SkippedFrame]:
    return list(source.frames(0))


def test_numbers_count_as_numbers() -> None:
    names = ["img10", "img2", "IMG1", "a/1", "a/10", "a/9", "b"]
    assert sorted(names, key=natural_key) == ["a/1", "a/9", "a/10", "b", "IMG1", "img2", "img10"]


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for name in ["10.jpg", "2.png", "1.JPG", "notes.txt", ".hidden.jpg", "deeper/3.jpg"]:
        write_photo(tmp_path / name) if not name.endswith(".txt") else (tmp_path / name).write_text("x")
    assert [frame.name for frame in read(only(tmp_path))] == ["1", "2", "10"]
    assert [frame.name for frame in read(only(tmp_path, recursive=True))] == ["1", "2", "10", "deeper/3"]


def test_a_frame_carries_the_camera_file_and_its_hash(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.png")
    (frame,) = read(only(path))
    assert isinstance(frame, Frame)
    assert frame.encoded == path.read_bytes()
    assert frame.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (frame.width, frame.height, frame.source, frame.camera) == (30, 20, "a.png", "cam")
    assert frame.scale.mm_per_px is None


def test_the_scale_given_is_every_frames(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png")
    (source,) = open_sources([tmp_path], camera="cam", scale=Scale(mm_per_px=0.5, source="setting"))
    assert [frame.scale.mm_per_px for frame in source.frames(0) if isinstance(frame, Frame)] == [0.5]


def test_a_broken_photo_is_skipped_with_its_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    whole = write_photo(tmp_path / "1.jpg").read_bytes()
    (tmp_path / "2.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "3.jpg").write_text("text")
    (tmp_path / "4.jpg").touch()
    write_photo(tmp_path / "5.jpg")
    frames = read(only(tmp_path))
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [type(frame) for frame in frames] == [Frame, SkippedFrame, SkippedFrame, SkippedFrame, Frame]
    reasons = [frame.reason for frame in frames if isinstance(frame, SkippedFrame)]
    assert "cut short" in reasons[0]
    assert "not a picture" in reasons[1]
    assert "empty" in reasons[2]


def test_an_unreadable_photo_is_skipped(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "1.jpg")
    source = only(tmp_path)
    path.unlink()
    (frame,) = read(source)
    assert isinstance(frame, SkippedFrame)
    assert frame.reason == "No such file or directory"


def test_an_empty_folder_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no photos.*\.jpg.*--recursive"):
        only(tmp_path)


@pytest.mark.parametrize(("name", "told"), [("absent.jpg", "no such file"), ("notes.txt", "give a photo")])
def test_what_is_no_source_says_what_is(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=told):
        only(tmp_path / name)


def test_equal_stems_are_refused(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "a.png")
    with pytest.raises(InputError, match="'a'"):
        only(tmp_path)


def test_a_video_gives_numbered_frames_with_the_times_of_the_media(tmp_path: Path) -> None:
    shades = [20, 120, 220]
    path = write_video(tmp_path / "flight.mp4", [np.full((32, 48, 3), shade, np.uint8) for shade in shades])
    source = only(path)
    frames = [frame for frame in source.frames(7) if isinstance(frame, Frame)]
    assert source.length == 3
    assert [frame.name for frame in frames] == ["flight/000000", "flight/000001", "flight/000002"]
    assert [frame.index for frame in frames] == [7, 8, 9]
    assert [frame.media_time_ns for frame in frames] == [0, 100_000_000, 200_000_000]
    assert [int(frame.image_rgb.mean()) for frame in frames] == pytest.approx(shades, abs=4)
    assert frames[0].sha256 == hashlib.sha256(frames[0].image_rgb.tobytes()).hexdigest()


def test_a_phone_video_is_turned_upright(shared_data: Path) -> None:
    """It was filmed upright: 720 wide, 1280 high, stored as 1280x720 with a display matrix."""
    first = next(iter(only(shared_data / "video" / "jiwichong_crack8.mp4").frames(0)))
    assert isinstance(first, Frame)
    assert (first.width, first.height) == (720, 1280)


def test_a_text_file_named_mp4_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("this is no video")
    with pytest.raises(InputError, match=r"a\.mp4: not a video"):
        only(tmp_path / "a.mp4")


def test_a_video_without_frames_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()
    with pytest.raises(InputError, match=r"a\.mkv"):
        read(only(path))


def test_a_sound_file_named_mp4_has_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no picture stream"):
        only(path)


def test_a_video_cut_short_gives_its_frames_up_to_the_cut(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = write_video(tmp_path / "whole.mkv", [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(20)])
    content = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])
    frames = read(only(tmp_path / "cut.mkv"))
    good = [frame for frame in frames if isinstance(frame, Frame)]
    assert 5 <= len(good) < 20
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    write_photo(tmp_path / "x" / "set" / "a.png")
    write_photo(tmp_path / "y" / "set" / "a.png")
    first, second = only(tmp_path / "x" / "set").ref, only(tmp_path / "y" / "set").ref
    assert first == second
    write_photo(tmp_path / "y" / "set" / "a.png", shade=101)
    assert only(tmp_path / "y" / "set").ref.fingerprint != first.fingerprint


def test_frames_that_build_on_a_damaged_one_are_skipped_until_the_next_whole_picture(tmp_path: Path) -> None:
    wall = np.random.default_rng(0).integers(90, 110, (64, 64, 3), np.uint8)
    pictures = [np.roll(wall, index, axis=1) for index in range(40)]  # alike, so that frames build on each other
    with av.open(tmp_path / "whole.mkv", "w") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"g": "10"})
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = 64, 64, "yuv420p", 4_000_000
        packets = [
            packet
            for picture in [*pictures, None]
            for packet in stream.encode(
                None if picture is None else av.VideoFrame.from_ndarray(picture, format="rgb24")
            )
        ]
        for index, packet in enumerate(packets):
            if index == 13:  # the fourth of the second group of ten
                broken = av.Packet(b"\0" * 40)
                broken.stream, broken.pts, broken.dts = packet.stream, packet.pts, packet.dts
                broken.time_base = packet.time_base
                container.mux(broken)
            else:
                container.mux(packet)
    frames = read(only(tmp_path / "whole.mkv"))
    skipped = [frame.index for frame in frames if isinstance(frame, SkippedFrame)]
    assert skipped == list(range(13, 13 + len(skipped)))
    assert len(skipped) >= 7
    assert sum(isinstance(frame, Frame) for frame in frames) >= 30


def test_a_colon_in_a_video_name_is_no_protocol(tmp_path: Path) -> None:
    path = write_video(tmp_path / "12:30.mp4", [np.full((32, 48, 3), 100, np.uint8)])
    assert len(read(only(path))) == 1
