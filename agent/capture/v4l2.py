"""Cameras on USB or a frame grabber, through Video4Linux. Not yet run on a camera: tested on a stand-in kernel."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from agent.capture.camera import Damaged, Picture
from agent.capture.decode import decode_image
from agent.errors import CameraError, CameraSilentError, InputError

_FOURCC: Final = {"mjpeg": "MJPG"}


class V4l2Camera:
    """A video device.

    Args:
        device: `/dev/video0`, or a link to it under `/dev/v4l`.
        size_px: width and height to ask for; the driver takes the nearest it has.
        fps: frames a second to ask for.
        mjpeg: take the camera's JPEG as it is, so that the record keeps the very bytes.
        first_frame_s: how long the first picture may take.
        stall_s: how long any later one may.
    """

    def __init__(
        self,
        device: Path,
        *,
        size_px: tuple[int, int] | None = None,
        fps: float | None = None,
        mjpeg: bool = False,
        first_frame_s: float,
        stall_s: float,
    ) -> None:
        self._device = device
        self._size_px = size_px
        self._fps = fps
        self._mjpeg = mjpeg
        self._first_frame_s = first_frame_s
        self._stall_s = stall_s
        self._capture: cv2.VideoCapture | None = None
        self._patience_s = first_frame_s

    def open(self) -> None:
        """See `Camera.open`."""
        self.close()
        _must_be_a_device(self._device)
        asked = [cv2.CAP_PROP_BUFFERSIZE, 2]  # old pictures are of no use
        if self._mjpeg:
            asked += [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*_FOURCC["mjpeg"]), cv2.CAP_PROP_CONVERT_RGB, 0]
        if self._size_px is not None:
            width, height = self._size_px
            asked += [cv2.CAP_PROP_FRAME_WIDTH, width, cv2.CAP_PROP_FRAME_HEIGHT, height]
        if self._fps is not None:
            asked += [cv2.CAP_PROP_FPS, round(self._fps)]
        capture = cv2.VideoCapture(str(self._device), cv2.CAP_V4L2)
        for name, value in zip(asked[::2], asked[1::2], strict=True):
            capture.set(name, value)  # what a driver cannot do it leaves as it was
        if not capture.isOpened():
            capture.release()
            raise CameraError(
                f"{self._device}: is no camera that gives pictures, or another program has it; "
                "v4l2-ctl --list-devices names those that do"
            )
        self._capture = capture
        self._patience_s = self._first_frame_s

    def read(self) -> Picture | Damaged | None:
        """See `Camera.read`."""
        capture = self._capture
        if capture is None:
            raise CameraError(f"{self._device}: is not open")
        if not self._device.exists():
            raise CameraError(f"{self._device}: is gone; plug it in again")
        try:
            ready, _ = cv2.VideoCapture.waitAny([capture], int(self._patience_s * 1e9))
            got, raw = capture.read() if ready else (False, None)
        except cv2.error as exc:
            raise CameraError(f"{self._device}: stopped giving pictures ({exc.err})") from exc
        if not ready:
            raise CameraSilentError(f"{self._device}: no picture for {self._patience_s:g} s")
        if not got or raw is None:
            raise CameraError(f"{self._device}: stopped giving pictures; is it still plugged in?")
        self._patience_s = self._stall_s
        if not self._mjpeg or raw.ndim == 3:
            return Picture(image_rgb=np.asarray(cv2.cvtColor(raw, cv2.COLOR_BGR2RGB), np.uint8))
        encoded = raw.tobytes()
        try:
            return Picture(image_rgb=decode_image(encoded), encoded=encoded, suffix=".jpg")
        except InputError as exc:
            return Damaged(str(exc))

    def close(self) -> None:
        """See `Camera.close`."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _must_be_a_device(path: Path) -> None:
    """Say what is there instead, which OpenCV does not."""
    try:
        mode = path.stat().st_mode
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError as exc:
        told = {
            errno.ENOENT: "no such device; is the camera plugged in?",
            errno.EACCES: "may not be opened; add this user to the group video",
            errno.EBUSY: "another program has it",
        }.get(exc.errno or 0, f"cannot be opened ({exc.strerror})")
        raise CameraError(f"{path}: {told}") from exc
    if not stat.S_ISCHR(mode):
        raise CameraError(f"{path}: is a file or folder, no camera; give a device such as /dev/video0")
