"""Video files, decoded in software by PyAV."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.error
import numpy as np

from agent.capture.fingerprint import fingerprint
from agent.contract.arrays import UInt8
from agent.contract.flight import SourceRef
from agent.contract.frame import UNKNOWN_SCALE, Frame, Scale, SkippedFrame
from agent.errors import InputError

SUFFIXES: Final = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".ts", ".mpg", ".mpeg"})


class Video:
    """The frames of a video file, named <stem>/<number:06d>.

    Raises:
        InputError: not a video, or one without a picture stream.
    """

    def __init__(self, path: Path, *, camera: str, scale: Scale = UNKNOWN_SCALE) -> None:
        self._path = path
        self._camera = camera
        self._scale = scale
        with _open(path) as container:
            self._length = container.streams.video[0].frames or None
        self._ref = SourceRef(name=path.name, fingerprint=fingerprint([path], path.parent))

    @property
    def ref(self) -> SourceRef:
        """See `Source.ref`."""
        return self._ref

    @property
    def names(self) -> list[str]:
        """See `Source.names`."""
        return [self._path.stem]

    @property
    def length(self) -> int | None:
        """See `Source.length`."""
        return self._length

    def frames(self, start: int) -> Iterator[Frame | SkippedFrame]:
        """See `Source.frames`."""
        index = start
        for decoded in _decode(self._path):
            name = f"{self._path.stem}/{index - start:06d}"
            if isinstance(decoded, str):
                yield SkippedFrame(index=index, name=name, source=self._path.name, camera=self._camera, reason=decoded)
            else:
                yield self._frame(index, name, decoded)
            index += 1
        if index == start:
            raise InputError(f"{self._path}: a video without a single frame")

    def _frame(self, index: int, name: str, decoded: av.VideoFrame) -> Frame:
        image = _upright(decoded)
        return Frame(
            index=index,
            name=name,
            source=self._path.name,
            camera=self._camera,
            image_rgb=image,
            sha256=hashlib.sha256(image.data).hexdigest(),
            media_time_ns=_media_time_ns(decoded),
            scale=self._scale,
        )


def _open(path: Path) -> av.container.InputContainer:
    try:
        # as a file and nothing else: FFmpeg takes what stands before a colon for a protocol
        container = av.open(f"file:{path.absolute()}")
    except (av.error.FFmpegError, OSError) as exc:
        raise InputError(f"{path}: not a video that can be read ({exc.strerror})") from exc
    if not container.streams.video:
        container.close()
        raise InputError(f"{path}: no picture stream in this file")
    return container


def _decode(path: Path) -> Iterator[av.VideoFrame | str]:
    """Yield frames, and the reason in the place of one that cannot be decoded."""
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # more threads would not change the pictures, but the memory
        packets = container.demux(stream)
        damaged = False  # since a frame could not be decoded: what refers to it is wrong, though it decodes
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as exc:
                yield f"the file ends in a fault ({exc.strerror})"
                return
            try:
                frames = packet.decode()
            except av.error.FFmpegError as exc:
                damaged = True
                yield f"the frame cannot be decoded ({exc.strerror})"
                continue
            for frame in frames:
                damaged = damaged and not frame.key_frame
                yield "the frame builds on one that cannot be decoded" if damaged else frame


def _media_time_ns(frame: av.VideoFrame) -> int | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return int(Fraction(frame.pts) * Fraction(frame.time_base) * 1_000_000_000)


def _upright(frame: av.VideoFrame) -> UInt8:
    """Return the picture as RGB, turned as the container says (phones film sideways)."""
    image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90)) if frame.rotation else image
