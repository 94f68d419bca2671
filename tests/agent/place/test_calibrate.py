"""Calibration of a lens that is known, from rendered pictures of a board; OpenCV draws them, ray by ray."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.contract.arrays import UInt8
from agent.place.lens import read_calibration
from tests.support.commands import crack

MATRIX = np.array([[620.0, 0, 318], [0, 615, 243], [0, 0, 1]])
DISTORTION = np.array([-0.22, 0.06, 0.001, -0.001, 0.0])
# degrees of turning, and mm aside: into the corners, where lenses differ most
POSES = [
    (0, 0, 0, 0, 0), (25, 0, 0, -95, -70), (-25, 5, 5, 95, -70), (0, 28, -5, -95, 70), (5, -28, 0, 95, 70),
    (18, 18, 20, -60, 0), (-18, 20, -20, 60, 0), (0, 0, 2, -105, -78), (0, 0, -2, 105, 78), (0, 0, 3, 105, -78),
    (0, 0, -3, -105, 78),
]  # fmt: skip


def board(pose: tuple[float, ...]) -> UInt8:
    """A board of 10 x 7 squares of 20 mm, 420 mm away, turned about its middle, seen through the lens."""
    rows, columns = np.mgrid[:480, :640].astype(np.float64)
    points = np.stack([columns.ravel(), rows.ravel()], axis=1).reshape(-1, 1, 2)
    rays = cv2.undistortPoints(points, MATRIX, DISTORTION).reshape(-1, 2)
    rays = np.c_[rays, np.ones(len(rays))]
    turn = cv2.Rodrigues(np.radians(np.array(pose[:3], np.float64)))[0]
    normal, middle = turn[:, 2], np.array([*pose[3:], 420.0])
    met = rays * ((normal @ middle) / (rays @ normal))[:, None]
    xy = (met - middle) @ turn[:, :2] / 20 + (5, 3.5)
    inside = (xy > 0).all(axis=1) & (xy < (10, 7)).all(axis=1)
    black = inside & (np.floor(xy).sum(axis=1) % 2 == 0)
    grey = np.where(black, 30, 220).reshape(480, 640).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.8), np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    for number, pose in enumerate(POSES):
        cv2.imwrite(str(folder / f"{number}.png"), board(pose))
    cv2.imwrite(str(folder / "nothing.png"), np.full((480, 640), 128, np.uint8))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8")
    return folder


def test_a_lens_is_found_from_pictures_of_a_board_and_can_be_used(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "cam.yaml"
    done = crack("crack-agent", "calibrate", pictures, "--out", out, "--board", "9x6", "--square-mm", 20)
    assert done.returncode == 0, done.stderr
    assert "11 pictures of 640x480 px" in done.stdout
    assert "nothing.png: left out, no board" in done.stdout
    assert "broken.jpg: left out" in done.stdout
    lens = read_calibration(out)
    assert (lens.fx, lens.fy) == pytest.approx((620, 615), rel=0.01)
    assert (lens.cx, lens.cy) == pytest.approx((318, 243), abs=5)
    corners = np.array([[20.0, 20.0], [620.0, 20.0], [320.0, 460.0], [320.0, 240.0]])
    true = cv2.undistortPoints(corners.reshape(-1, 1, 2), MATRIX, DISTORTION).reshape(-1, 2)
    assert np.abs(lens.rays(corners) - true).max() < 0.01
    again = crack("crack-agent", "calibrate", pictures, "--out", out)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [(["--board", "10x7"], "0 of 13 pictures show a board with 10 x 7"), (["--board", "nine"], "--board nine")],
)
def test_what_cannot_be_calibrated_says_why(pictures: Path, tmp_path: Path, options: list[str], told: str) -> None:
    done = crack("crack-agent", "calibrate", pictures, "--out", tmp_path / "cam.yaml", *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr
    assert not (tmp_path / "cam.yaml").exists()


def test_the_camera_table_can_be_read() -> None:
    done = crack("crack-agent", "cameras")
    assert done.returncode == 0, done.stderr
    assert "ZenmuseP1" in done.stdout
    assert "not checked against its source" in done.stdout
