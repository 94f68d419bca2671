from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import ConfigError
from agent.place.lens import Lens, camera_table, find_camera, read_calibration


def write(path: Path, **changed: object) -> Path:
    values = {
        "image_width": 640,
        "image_height": 480,
        "camera_matrix": np.array([[800.0, 0, 320], [0, 805, 240], [0, 0, 1]]),
        "distortion_coefficients": np.array([[-0.3, 0.1, 0, 0, 0.0]]),
        **changed,
    }
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in values.items():
        if value is not None:
            storage.write(name, value)  # type: ignore[call-overload]
    storage.release()
    return path


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".xml", ".json"])
def test_a_calibration_is_read_as_opencv_wrote_it(tmp_path: Path, suffix: str) -> None:
    lens = read_calibration(write(tmp_path / f"cam{suffix}"))
    assert (lens.fx, lens.fy, lens.cx, lens.cy, lens.width, lens.height) == (800, 805, 320, 240, 640, 480)
    assert lens.distortion == (-0.3, 0.1, 0, 0, 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"camera_matrix": None},
        {"camera_matrix": np.eye(2)},
        {"camera_matrix": np.diag([-1.0, 1, 1])},
        {"camera_matrix": np.diag([np.nan, 1, 1])},
        {"image_width": None},
        {"distortion_coefficients": np.zeros((1, 3))},
    ],
)
def test_figures_of_no_lens_are_refused_by_the_file_s_name(tmp_path: Path, changed: dict[str, object]) -> None:
    path = write(tmp_path / "cam.yaml", **changed)
    with pytest.raises(ConfigError, match=r"cam\.yaml"):
        read_calibration(path)


@pytest.mark.parametrize("content", [b"", b"text", b"a: [1", b"\xff\xd8"])
def test_what_is_no_calibration_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cam.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cam\.yaml.*calibrate"):
        read_calibration(path)
    with pytest.raises(ConfigError, match="absent"):
        read_calibration(tmp_path / "absent.yaml")


def test_a_reduced_picture_keeps_its_rays() -> None:
    lens = Lens(fx=800, fy=805, cx=321, cy=239, width=640, height=480, distortion=(-0.3, 0.1, 0, 0))
    half = lens.of_size(320, 240)
    whole = lens.rays(np.array([[100.5, 60.5], [500.5, 400.5]]))  # the corner that four pixels share
    assert np.allclose(half.rays(np.array([[50.0, 30.0], [250.0, 200.0]])), whole, atol=1e-9)


def test_a_picture_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match="640x480 px, these have 1920x1080"):
        Lens.simple(800, 640, 480).of_size(1920, 1080)


def test_distortion_is_undone_to_the_edge_of_a_strong_lens() -> None:
    lens = Lens(fx=500, fy=500, cx=319.5, cy=239.5, width=640, height=480, distortion=(-0.25, 0.05, 0.001, 0.001, 0.0))
    rays = np.array([[0.0, 0.0], [0.55, 0.4], [-0.55, 0.4], [0.6, 0.0]])
    matrix = np.array([[500, 0, 319.5], [0, 500, 239.5], [0, 0, 1.0]])
    points = cv2.projectPoints(np.c_[rays, np.ones(4)], np.zeros(3), np.zeros(3), matrix, np.array(lens.distortion))[0]
    assert np.allclose(lens.rays(np.asarray(points, np.float64).reshape(-1, 2)), rays, atol=1e-6)


def test_the_table_s_cameras_give_the_published_ground_sampling_distances() -> None:
    published = {  # camera: (focal length, mm per px at 3 m)
        "ZenmuseP1": (35, 0.377), "zenmuse p1": (50, 0.264), "M3E": (None, 0.806), "IMX477": (16, 0.291),
        "imx264": (25, 0.414),
    }  # fmt: skip
    for name, (focal, gsd) in published.items():
        camera = find_camera(name)
        assert camera is not None, name
        focal_mm = focal or camera.focal_mm
        assert focal_mm is not None
        assert camera.pixel_pitch_um * 3000 / focal_mm / 1000 == pytest.approx(gsd, abs=6e-4)


def test_every_camera_names_its_source_and_is_named_once() -> None:
    names = [name.casefold() for camera in camera_table() for name in camera.names]
    assert len(names) == len(set(names))
    assert all(camera.source for camera in camera_table())
    assert find_camera("no such camera") is None
