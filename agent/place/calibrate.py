"""A lens from pictures of a checkerboard (Zhang, IEEE PAMI 22, 2000, as OpenCV has it)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from agent.capture.decode import decode_image
from agent.errors import InputError, OutputError

LEAST_PICTURES: Final = 4
WORST_ERROR_PX: Final = 2.0  # above it the board was not flat, or its corners were counted wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What the pictures told."""

    width: int
    height: int
    matrix: Any  # (3, 3), px
    distortion: Any  # (1, 5): k1, k2, p1, p2, k3
    error_px: float  # root mean square of the corners' distances from where the lens puts them
    used: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)  # pictures and why

    def as_text(self) -> str:
        """Return a few lines for a person."""
        lines = [f"{name}: left out, {why}" for name, why in self.left_out.items()]
        focal = f"{self.matrix[0, 0]:.1f} x {self.matrix[1, 1]:.1f} px"
        lines.append(f"{len(self.used)} pictures of {self.width}x{self.height} px: focal length {focal}")
        lines.append(f"corners within {self.error_px:.2f} px of where the lens puts them (root mean square)")
        return "\n".join(lines)


def calibrate(pictures: Sequence[Path], *, columns: int, rows: int, square_mm: float) -> Calibration:
    """Return the lens that took pictures of a checkerboard from several sides.

    Args:
        pictures: of one camera at one focal length; at least 4 in which the whole board is seen.
        columns: inner corners along the board's longer side, >= 3.
        rows: inner corners along the other, >= 3.
        square_mm: edge of a square, > 0; only distances would depend on it.

    Raises:
        InputError: too few pictures show the board, they differ in size, or the corners fit no lens.
    """
    found: list[Any] = []
    used: list[str] = []
    left_out: dict[str, str] = {}
    size: tuple[int, int] | None = None
    for path in pictures:
        try:
            image = decode_image(path.read_bytes())
        except (InputError, OSError) as exc:
            left_out[path.name] = str(exc)
            continue
        this = (image.shape[1], image.shape[0])
        if size is not None and this != size:
            raise InputError(
                f"{path}: {this[0]}x{this[1]} px, but those before {size[0]}x{size[1]}; calibrate them apart"
            )
        size = this
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        seen, corners = cv2.findChessboardCornersSB(
            grey, (columns, rows), flags=cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
        )
        if seen:
            found.append(np.asarray(corners, np.float32).reshape(-1, 1, 2))
            used.append(path.name)
        else:
            left_out[path.name] = f"no board with {columns} x {rows} inner corners in it"
    if size is None or len(found) < LEAST_PICTURES:
        raise InputError(
            f"{len(found)} of {len(pictures)} pictures show a board with {columns} x {rows} inner corners, "
            f"{LEAST_PICTURES} are needed; inner corners are one less than squares, and the whole board must be seen"
        )
    grid = np.zeros((rows * columns, 1, 3), np.float32)
    grid[:, 0, :2] = np.mgrid[:columns, :rows].T.reshape(-1, 2) * square_mm
    nothing: Any = None
    error, matrix, distortion, *_ = cv2.calibrateCamera([grid] * len(found), found, size, nothing, nothing)
    if not np.isfinite(error) or error > WORST_ERROR_PX:
        raise InputError(
            f"the corners lie {error:.1f} px off any lens, more than {WORST_ERROR_PX:g}; is the board flat and at rest?"
        )
    return Calibration(
        width=size[0],
        height=size[1],
        matrix=matrix,
        distortion=np.asarray(distortion).reshape(1, -1),
        error_px=float(error),
        used=tuple(used),
        left_out=left_out,
    )


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write a lens as OpenCV does, for `place.calibration`.

    Raises:
        OutputError: it cannot be written, or the suffix is none of .yaml, .yml, .xml and .json.
    """
    if path.suffix.lower() not in {".yaml", ".yml", ".xml", ".json"}:
        raise OutputError(f"{path}: OpenCV writes .yaml, .yml, .xml and .json")
    storage = cv2.FileStorage()
    try:
        opened = path.parent.is_dir() and storage.open(str(path), cv2.FILE_STORAGE_WRITE)
    except cv2.error:
        opened = False
    if not opened:
        raise OutputError(f"{path}: cannot be written; choose another place")
    storage.write("image_width", calibration.width)
    storage.write("image_height", calibration.height)
    storage.write("camera_matrix", np.asarray(calibration.matrix, np.float64))
    storage.write("distortion_coefficients", np.asarray(calibration.distortion, np.float64))
    storage.write("avg_reprojection_error", calibration.error_px)
    storage.release()
