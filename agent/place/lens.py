"""What a camera's lens does: from pixels to rays, by a calibration, a camera table or plain figures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import yaml
from pydantic import Field

from agent.contract.arrays import Float64
from agent.contract.strict import Strict
from agent.errors import ConfigError

_UNDISTORT_ITERATED: Any = getattr(cv2, "undistortPointsIter", None)  # OpenCV 4's name for it
TABLE: Final = Path(__file__).with_name("cameras.yaml")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lens:
    """A pinhole with OpenCV's distortion, for pictures of one size.

    Focal lengths and the principal point are in px, pixel centres at integers.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int  # px, of the pictures that it holds for
    height: int
    distortion: tuple[float, ...] = ()  # k1, k2, p1, p2, k3, ... as OpenCV orders them; empty: none

    @classmethod
    def simple(cls, focal_px: float, width: int, height: int) -> Lens:
        """Return a lens without distortion whose axis meets the middle of the picture."""
        return cls(fx=focal_px, fy=focal_px, cx=(width - 1) / 2, cy=(height - 1) / 2, width=width, height=height)

    def rays(self, xy_px: Float64) -> Float64:
        """Return (N, 2): x / z and y / z of the rays at points (N, 2) of the picture, distortion undone."""
        matrix = np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)
        points = np.ascontiguousarray(xy_px, np.float64).reshape(-1, 1, 2)
        if not len(points):
            return np.empty((0, 2))
        lens = np.array(self.distortion or (0.0,) * 4, np.float64)
        # the iteration ends early on strong lenses if left to its default of five steps
        until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-10)
        if _UNDISTORT_ITERATED is not None:
            undone = _UNDISTORT_ITERATED(points, matrix, lens, None, None, until)
        else:
            undone = cv2.undistortPoints(points, matrix, lens, criteria=until)
        return np.asarray(undone, np.float64).reshape(-1, 2)

    def pixels(self, rays: Float64) -> Float64:
        """Return (N, 2): where rays (N, 2) meet the picture, px; NaN clearly outside: distortion folds back there."""
        share = np.linspace(0.0, 1.0, 9)
        x, y = (side.ravel() for side in np.meshgrid(share, share))
        edge = np.column_stack([x * self.width, y * self.height]) - 0.5
        reach = 1.02 * float(np.hypot(*self.rays(edge).T).max())
        inside = np.hypot(*rays.T) <= reach  # false where NaN
        found = np.full((len(rays), 2), np.nan)
        if inside.any():
            matrix = np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)
            points = np.column_stack([rays[inside], np.ones(int(inside.sum()))])
            lens = np.array(self.distortion or (0.0,) * 4, np.float64)
            found[inside] = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, lens)[0].reshape(-1, 2)
        return found

    def of_size(self, width: int, height: int) -> Lens:
        """Return the lens for pictures of another size: the same view, reduced or enlarged.

        Raises:
            ConfigError: another shape, so that the picture shows another part of the view.
        """
        factor = width / self.width
        if abs(self.height * factor - height) > max(2.0, 0.005 * height):
            raise ConfigError(
                f"the calibration is for pictures of {self.width}x{self.height} px, these have {width}x{height}: "
                "another shape; calibrate with pictures of this kind"
            )
        shift = (factor - 1) / 2  # pixel centres lie at integers
        return Lens(
            fx=self.fx * factor,
            fy=self.fy * factor,
            cx=self.cx * factor + shift,
            cy=self.cy * factor + shift,
            width=width,
            height=height,
            distortion=self.distortion,
        )


class CameraModel(Strict):
    """A line of the camera table."""

    names: tuple[str, ...] = Field(min_length=1, description="As EXIF's Model and as people call it; the first leads.")
    pixel_pitch_um: float = Field(gt=0, lt=50)
    width_px: int = Field(gt=0, description="Of a full-size photo.")
    focal_mm: float | None = Field(
        gt=0, description="Of its lens; null where lenses are exchanged: see EXIF, settings."
    )
    shutter: str = Field(pattern="^(rolling|global|mechanical)$")
    readout_ms: float | None = Field(gt=0, description="Of a rolling shutter, first line to last; null: not known.")
    source: str = Field(min_length=1)
    checked: bool = Field(description="Whether somebody compared the figures with the source.")


class _Table(Strict):
    version: int
    cameras: tuple[CameraModel, ...]


@cache
def camera_table() -> tuple[CameraModel, ...]:
    """Return the cameras that ship with the package."""
    return _Table.model_validate(yaml.safe_load(TABLE.read_text(encoding="utf-8"))).cameras


def find_camera(name: str) -> CameraModel | None:
    """Return the camera of this name, without regard to case, spaces and dashes; None if the table has none."""
    wanted = _plain(name)
    return next((camera for camera in camera_table() if wanted in map(_plain, camera.names)), None)


def read_calibration(path: Path) -> Lens:
    """Read what OpenCV's calibration, or `crack-agent calibrate`, wrote: YAML, XML or JSON.

    Raises:
        ConfigError: not such a file, or figures that are no lens.
    """
    storage = cv2.FileStorage()
    try:  # opened by itself, since a constructor that fails tells no cv2.error
        opened = path.is_file() and storage.open(str(path), cv2.FILE_STORAGE_READ)
    except cv2.error as exc:
        raise ConfigError(
            f"{path}: not a calibration that OpenCV can read ({exc.err}); make one with crack-agent calibrate"
        ) from exc
    if not opened:
        raise ConfigError(f"{path}: not a calibration that OpenCV can read; make one with crack-agent calibrate")
    try:
        matrix = storage.getNode("camera_matrix").mat()
        distortion = storage.getNode("distortion_coefficients").mat()
        size = [storage.getNode(name) for name in ("image_width", "image_height")]
        width, height = (0 if node.empty() else int(node.real()) for node in size)
    finally:
        storage.release()
    return _lens(path, matrix, distortion, width, height)


def _lens(path: Path, matrix: Any, distortion: Any, width: int, height: int) -> Lens:  # noqa: ANN401 - as OpenCV reads
    if matrix is None or np.shape(matrix) != (3, 3) or min(width, height) < 1:
        raise ConfigError(
            f"{path}: needs image_width, image_height, camera_matrix (3 x 3) and distortion_coefficients; "
            "make one with crack-agent calibrate"
        )
    values = np.asarray(matrix, np.float64)
    coefficients = () if distortion is None else tuple(map(float, np.ravel(distortion)))
    finite = np.isfinite(values).all() and np.isfinite(coefficients).all()
    if not finite or min(values[0, 0], values[1, 1]) <= 0 or len(coefficients) not in {0, 4, 5, 8, 12, 14}:
        raise ConfigError(f"{path}: camera_matrix or distortion_coefficients are those of no lens; calibrate again")
    return Lens(
        fx=float(values[0, 0]),
        fy=float(values[1, 1]),
        cx=float(values[0, 2]),
        cy=float(values[1, 2]),
        width=width,
        height=height,
        distortion=coefficients,
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.casefold())
