"""Rendered flights: poses, truth and frames belong together, and no flight is held in memory."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from agent.capture.recorded import Recorded
from agent.contract.frame import Frame
from agent.errors import InputError, OutputError
from agent.record import read_flight
from agent.simulate.flight import RenderedFlight, frame_from_surface, render_flight, surface_from_frame
from agent.simulate.scene import SceneKind, SceneSettings
from agent.simulate.write import read_truth, write_flight


def small(**changes: Any) -> SceneSettings:
    options: dict[str, Any] = {
        "seconds": 2.0,
        "fps": 3.0,
        "width_px": 200,
        "height_px": 120,
        "cracks": 3,
        "speed_mm_s": 60.0,
        "width_mm": (0.4, 2.0),
    }
    return SceneSettings(**(options | changes))


def first(flight: RenderedFlight) -> Frame:
    return next(iter(flight)).frame


@pytest.mark.parametrize("kind", ["tunnel", "facade"])
def test_a_flight_has_the_frames_asked_for_with_times_and_scales(kind: SceneKind) -> None:
    flight = render_flight(small(kind=kind))
    frames = [rendered.frame for rendered in flight]
    assert len(frames) == len(flight) == 6
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.media_time_ns for frame in frames] == [round(i * 1e9 / 3) for i in range(6)]
    assert all((frame.height, frame.width) == (120, 200) for frame in frames)
    assert all(frame.scale.source == "rendered" and frame.pose is not None for frame in frames)
    assert len({frame.sha256 for frame in frames}) == 6


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    pairs = zip(render_flight(small()), render_flight(small()), strict=True)
    assert all(a.frame.encoded == b.frame.encoded and np.array_equal(a.mask, b.mask) for a, b in pairs)
    assert first(render_flight(small())).sha256 != first(render_flight(small(seed=1))).sha256


def test_a_flight_can_be_taken_up_in_the_middle() -> None:
    flight = render_flight(small())
    whole = [rendered.frame.sha256 for rendered in flight]
    assert [rendered.frame.sha256 for rendered in flight.frames(4)] == whole[4:]


def test_a_point_of_a_crack_lies_on_the_mask_of_every_frame_that_sees_it() -> None:
    flight = render_flight(small(seconds=4.0, speed_mm_s=15.0))
    seen: dict[tuple[float, float], int] = {}
    for rendered in flight:
        pose, mm_per_px = rendered.frame.pose, rendered.frame.scale.mm_per_px
        assert pose is not None
        assert mm_per_px is not None
        for crack in flight.cracks:
            for x, y in crack.branches[0].line_xy[::20]:
                u, v = np.floor(frame_from_surface(pose, mm_per_px) @ (x, y, 1) + 0.5).astype(int)
                if 0 <= u < 200 and 0 <= v < 120:
                    assert rendered.mask[v, u]
                    seen[x, y] = seen.get((x, y), 0) + 1
    assert sum(count >= 2 for count in seen.values()) > 10


def test_the_wall_moves_with_the_pose() -> None:
    """One frame, laid over the next by their poses alone, shows the same wall."""
    flight = render_flight(small(noise=0.0, jpeg_quality=None, cracks=3, speed_mm_s=60.0))
    a, b = (rendered.frame for rendered in itertools.islice(flight, 2))
    assert a.pose
    assert b.pose
    assert a.scale.mm_per_px
    assert b.scale.mm_per_px
    to_surface = np.vstack([surface_from_frame(b.pose, b.scale.mm_per_px), [0, 0, 1]])
    a_from_b = frame_from_surface(a.pose, a.scale.mm_per_px) @ to_surface
    laid = cv2.warpAffine(a.image_rgb, a_from_b, (200, 120), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    part = np.s_[10:110, 10:140]
    as_posed = np.corrcoef(laid[part].ravel(), b.image_rgb[part].ravel())[0, 1]
    unmoved = np.corrcoef(a.image_rgb[part].ravel(), b.image_rgb[part].ravel())[0, 1]
    assert as_posed > 0.9
    assert as_posed > unmoved + 0.2


def test_to_the_surface_and_back_is_where_it_was() -> None:
    pose, scale = render_flight(small()).view(2)
    assert scale.mm_per_px is not None
    there = np.vstack([surface_from_frame(pose, scale.mm_per_px), [0, 0, 1]])
    back = np.vstack([frame_from_surface(pose, scale.mm_per_px), [0, 0, 1]])
    np.testing.assert_allclose(back @ there, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(there @ (-0.5, -0.5, 1), (pose.x_mm, pose.y_mm, 1))


def test_the_truth_mask_is_darker_than_the_wall() -> None:
    for rendered in render_flight(small(width_mm=(2.0, 4.0), mm_per_px=0.5, kind="facade")):
        grey = rendered.frame.image_rgb.mean(axis=2)
        core, near = rendered.coverage > 0.95, cv2.dilate(rendered.mask.astype(np.uint8), np.ones((13, 13))) > 0
        beside = near & ~(cv2.dilate(rendered.mask.astype(np.uint8), np.ones((7, 7))) > 0)
        if core.sum() > 50:
            assert grey[core].mean() < 0.8 * grey[beside].mean()


@pytest.mark.parametrize("kind", ["tunnel", "facade"])
def test_every_crack_lies_on_the_wall_and_has_its_width(kind: SceneKind) -> None:
    flight = render_flight(SceneSettings(kind=kind, seed=5))
    assert len(flight.cracks) == 8
    medians = sorted(float(np.median(crack.branches[0].width)) for crack in flight.cracks)
    assert 0.15 < medians[0] < 0.6
    assert 2.5 < medians[-1] < 9
    for crack in flight.cracks:
        left, top, right, bottom = crack.bounds
        assert left >= 0
        assert top >= 0
        assert right <= flight.wall_mm[0]
        assert bottom <= flight.wall_mm[1]


def test_a_wall_without_cracks_has_empty_masks() -> None:
    assert not any(rendered.mask.any() for rendered in render_flight(small(cracks=0)))


def test_a_long_flight_needs_no_more_memory_than_a_short_one() -> None:
    def peak(seconds: float) -> int:
        tracemalloc.start()
        for _ in render_flight(
            small(seconds=seconds, fps=1.0, speed_mm_s=1000.0, height_px=64, width_mm=(0.4, 1), cracks=0)
        ):
            pass
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(1.0)  # whatever is loaded on the first call
    assert peak(20.0) < 1.3 * peak(5.0)  # 20 m and 5 m of wall: as many panels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "bridge"}, "tunnel"),
        ({"seconds": 0.1, "fps": 1.0}, "not one frame"),
        ({"width_mm": (3.0, 1.0)}, "smaller one first"),
        ({"width_mm": (0.3, 50.0)}, "tenth of the frame's height"),
        ({"mm_per_px": 0.0}, "greater than or equal to 0.02"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        small(**changes)


class TestWrittenFlight:
    @pytest.mark.parametrize("jpeg_quality", [92, None])
    def test_the_folder_is_a_flight_record_that_gives_the_same_frames_again(
        self, tmp_path: Path, jpeg_quality: int | None
    ) -> None:
        flight = render_flight(small(jpeg_quality=jpeg_quality))
        assert write_flight(flight, tmp_path / "out") == 6
        header = read_flight(tmp_path / "out").header
        assert (header.mode, header.complete, header.frames) == ("rendered", True, 6)
        assert SceneSettings(**header.settings) == flight.settings
        for rendered, read in zip(flight, Recorded(tmp_path / "out").frames(0), strict=True):
            assert isinstance(read, Frame)
            np.testing.assert_array_equal(read.image_rgb, rendered.frame.image_rgb)
            assert (read.pose, read.scale, read.sha256, read.media_time_ns) == (
                rendered.frame.pose,
                rendered.frame.scale,
                rendered.frame.sha256,
                rendered.frame.media_time_ns,
            )

    def test_the_truth_lies_beside_it(self, tmp_path: Path) -> None:
        flight = render_flight(small())
        write_flight(flight, tmp_path)
        truth = read_truth(tmp_path)
        assert json.loads((tmp_path / "truth/cracks.json").read_bytes())["schema"] == "truth/1"
        assert [crack.id for crack in truth.cracks] == [0, 1, 2]
        for told, crack in zip(truth.cracks, flight.cracks, strict=True):
            assert told.length_mm == pytest.approx(crack.length, abs=1e-3)
            assert told.width_p50_mm <= told.width_p95_mm <= told.width_max_mm
            np.testing.assert_allclose(told.branches[0].line_mm, crack.branches[0].line_xy, atol=6e-4)
            np.testing.assert_allclose(told.branches[0].width_mm, crack.branches[0].width, atol=6e-4)
        for rendered in flight:
            mask = cv2.imread(str(tmp_path / f"truth/masks/{rendered.frame.name}.png"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(mask, rendered.mask * 255)

    def test_a_folder_with_something_in_it_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(OutputError, match="not empty"):
            write_flight(render_flight(small()), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    def test_overwriting_leaves_nothing_of_a_longer_flight(self, tmp_path: Path) -> None:
        write_flight(render_flight(small()), tmp_path)
        write_flight(render_flight(small(seconds=1.0)), tmp_path, overwrite=True)
        assert len(list((tmp_path / "truth/masks").iterdir())) == 3
        assert len(list((tmp_path / "frames").iterdir())) == 3

    def test_progress_counts_the_frames(self, tmp_path: Path) -> None:
        told: list[int] = []
        write_flight(render_flight(small(seconds=1.0)), tmp_path, progress=told.append)
        assert told == [1, 2, 3]

    def test_a_missing_truth_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"cracks\.json"):
            read_truth(tmp_path)
