"""The overlay video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final, cast

import av
import av.error
import cv2
import numpy as np
from av.video.stream import VideoStream
from typing_extensions import Self

from agent.contract.arrays import UInt8
from agent.contract.flight import FrameRow
from agent.errors import OutputError
from agent.record.layout import PARTIAL_VIDEO, VIDEO_FILES, writing

EDGE_PX: Final = 1920
LONGEST_GAP_NS: Final = 2_000_000_000  # of a video; frames farther apart are shown one by one, as photos are
PHOTO_MS: Final = 1000
_MILLISECONDS: Final = Fraction(1, 1000)
# Encoder, container, its options. Fixed thread counts: the bytes must not depend on the machine's cores.
_FORMATS: Final[tuple[tuple[str, str, dict[str, str]], ...]] = (
    ("libx264", "mp4", {"preset": "veryfast", "crf": "23", "threads": "2"}),
    ("libvpx-vp9", "webm", {"crf": "33", "b:v": "0", "deadline": "realtime", "cpu-used": "6", "threads": "2"}),
)


class OverlayVideo:
    """Shows pictures in the pace of their media: H.264 in MP4, or VP9 in WebM where that encoder is missing.

    All pictures get the size of the first; others are fitted into it.

    Raises:
        OutputError: this build of FFmpeg has neither encoder, or the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        there = [entry for entry in _FORMATS if entry[0] in av.codecs_available]
        if not there:
            raise OutputError("--video: this build of FFmpeg has neither libx264 nor libvpx-vp9; install PyAV's wheel")
        codec, container, options = there[0]
        self._partial = folder / PARTIAL_VIDEO
        self._path = folder / next(name for name in VIDEO_FILES if name.endswith(f".{container}"))
        with _writing(self._path):
            self._container = av.open(
                str(self._partial),
                "w",
                format=container,
                options={"movflags": "+faststart", "fflags": "+bitexact"},
            )
        stream = self._container.add_stream(codec, rate=25, options={**options, "flags": "+bitexact"})
        self._stream = cast("VideoStream", stream)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = _MILLISECONDS
        self._last: FrameRow | None = None
        self._now_ms = 0

    def add(self, frame: FrameRow, picture: UInt8) -> None:
        """Append a picture.

        Args:
            frame: whose time and source set how long the one before is shown.
            picture: (H, W, 3) RGB.

        Raises:
            OutputError: the disk is full or gone.
        """
        if self._last is None:
            height, width = picture.shape[:2]
            self._stream.width, self._stream.height = width + width % 2, height + height % 2
        else:
            self._now_ms += _shown_ms(self._last, frame)
        self._last = frame
        image = av.VideoFrame.from_ndarray(_fitted(picture, self._stream.width, self._stream.height), format="rgb24")
        image.pts, image.time_base = self._now_ms, _MILLISECONDS
        with _writing(self._path):
            self._container.mux(self._stream.encode(image))

    def close(self) -> Path | None:
        """Finish the video and return where it lies, or None if it has no picture.

        Raises:
            OutputError: the disk is full or gone.
        """
        with _writing(self._path):
            if self._last is not None:
                self._container.mux(self._stream.encode())
            self._container.close()
            if self._last is None:
                self._partial.unlink(missing_ok=True)
                return None
            self._partial.replace(self._path)
        return self._path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what FFmpeg says about writing into an OutputError that names the video."""
    try:
        with writing(path):
            yield
    except av.error.FFmpegError as exc:
        raise OutputError(f"{path}: the video cannot be written ({exc.strerror}); run without --video") from exc


def _shown_ms(last: FrameRow, frame: FrameRow) -> int:
    """Return how long a picture is shown before the next comes."""
    if last.source != frame.source or last.media_time_ns is None or frame.media_time_ns is None:
        return PHOTO_MS
    gap = frame.media_time_ns - last.media_time_ns
    return max(1, round(gap / 1e6)) if 0 < gap <= LONGEST_GAP_NS else PHOTO_MS


def _fitted(picture: UInt8, width: int, height: int) -> UInt8:
    """Return the picture fitted into the given size; one that lacks but a pixel to an even edge is not resized."""
    rows, columns = picture.shape[:2]
    if not (0 <= width - columns <= 1 and 0 <= height - rows <= 1):
        zoom = min(width / columns, height / rows)
        size = max(1, min(width, round(columns * zoom))), max(1, min(height, round(rows * zoom)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        rows, columns = picture.shape[:2]
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas[top : top + rows, left : left + columns] = picture
    return canvas
