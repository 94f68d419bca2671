"""Network cameras over RTSP, decoded in software by PyAV."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import av
import av.error
import numpy as np

from agent.capture.camera import Damaged, Picture
from agent.errors import CameraError, CameraSilentError


class RtspCamera:
    """A stream.

    Args:
        url: with user and password if the camera wants them; they appear in no message.
        transport: tcp or udp.
        first_frame_s: how long connecting, and then the first picture, may take.
        stall_s: how long any later picture may take.
    """

    def __init__(self, url: str, *, transport: str = "tcp", first_frame_s: float, stall_s: float) -> None:
        self._url = url
        self._host = urlsplit(url).hostname or ""
        self._transport = transport
        self._first_frame_s = first_frame_s
        self._stall_s = stall_s
        self._container: av.container.InputContainer | None = None
        self._pictures: Iterator[Picture | Damaged] = iter(())

    def open(self) -> None:
        """See `Camera.open`."""
        self.close()
        try:
            socket.getaddrinfo(self._host, None)
        except (OSError, UnicodeError) as exc:
            raise CameraError(f"{self._host}: this host's name is not known; look at the name and at DNS") from exc
        try:
            container = av.open(
                self._url,
                format="rtsp",
                options={
                    "rtsp_transport": self._transport,
                    "fflags": "nobuffer",
                    "flags": "low_delay",
                    "fpsprobesize": "0",
                },
                timeout=(self._first_frame_s, self._stall_s),
            )
        except av.error.HTTPUnauthorizedError as exc:
            raise CameraError(f"{self._host}: refuses the user or password; look at them in the source") from exc
        except av.error.HTTPNotFoundError as exc:
            raise CameraError(f"{self._host}: has no stream of this name; look at the path in the source") from exc
        except (av.error.FFmpegError, OSError) as exc:
            raise CameraError(f"{self._host}: cannot be connected to ({_words(exc)})") from exc
        if not container.streams.video:
            container.close()
            raise CameraError(f"{self._host}: sends no pictures under this name; look at the path in the source")
        self._container = container
        self._pictures = _decode(container)

    def read(self) -> Picture | Damaged | None:
        """See `Camera.read`. A stream has no natural end."""
        try:
            picture = next(self._pictures, None)
        except av.error.ExitError as exc:  # PyAV's own interruption
            raise CameraSilentError(f"{self._host}: no picture for {self._stall_s:g} s") from exc
        except (av.error.FFmpegError, OSError) as exc:
            raise CameraError(f"{self._host}: {_words(exc)}") from exc
        if picture is None:
            raise CameraError(f"{self._host}: ended the stream")
        return picture

    def close(self) -> None:
        """See `Camera.close`."""
        self._pictures = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None


def _decode(container: av.container.InputContainer) -> Iterator[Picture | Damaged]:
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1  # the network needs the others
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError as exc:
            yield Damaged(f"the picture cannot be decoded ({exc.strerror})")
            continue
        for frame in frames:
            if frame.is_corrupt:
                yield Damaged("the picture builds on data that did not arrive")
            else:
                yield Picture(image_rgb=np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))


def _words(exc: Exception) -> str:
    if isinstance(exc, av.error.ExitError):
        return "no answer in time"
    return getattr(exc, "strerror", None) or type(exc).__name__
