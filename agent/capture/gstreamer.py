"""Anything that GStreamer reads: CSI cameras and hardware decoders of a Jetson, and pipelines of the user's own.

Needs the system's GStreamer and PyGObject (`gi`), which are imported when the first such camera is opened.
CSI and the hardware decoder were not yet run on a Jetson; their pipelines are tested as text, the rest on videotestsrc.
"""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

from agent.capture.camera import Damaged, Picture
from agent.contract.arrays import UInt8
from agent.errors import CameraError, CameraSilentError

INSTALL: Final = "apt-get install python3-gi gir1.2-gstreamer-1.0, in an environment with --system-site-packages"
_SINK: Final = "videoconvert ! video/x-raw,format=RGB ! appsink name=crackscout drop=true max-buffers=1 sync=false"
_SLICE_S: Final = 0.1  # how often the bus is looked at while there is no picture


class GstCamera:
    """A pipeline.

    Args:
        pipeline: the elements, without a sink; see `csi_pipeline`, `hardware_rtsp_pipeline`.
        first_frame_s: how long the first picture may take.
        stall_s: how long any later one may.
    """

    def __init__(self, pipeline: str, *, first_frame_s: float, stall_s: float) -> None:
        self._text = pipeline
        self._first_frame_s = first_frame_s
        self._stall_s = stall_s
        self._gst: Any = None
        self._pipeline: Any = None
        self._sink: Any = None
        self._patience_s = first_frame_s

    def open(self) -> None:
        """See `Camera.open`."""
        self.close()
        gst = self._gst = load_gst()
        try:
            self._pipeline = gst.parse_launch(f"{self._text} ! {_SINK}")
        except gst_error() as exc:
            raise CameraError(f"the GStreamer pipeline cannot be built: {getattr(exc, 'message', exc)}") from exc
        self._sink = self._pipeline.get_by_name("crackscout")
        if self._pipeline.set_state(gst.State.PLAYING) == gst.StateChangeReturn.FAILURE:
            why = self._fault() or "an element refuses to start"
            self.close()
            raise CameraError(f"the GStreamer pipeline does not start: {why}")
        self._patience_s = self._first_frame_s

    def read(self) -> Picture | Damaged | None:
        """See `Camera.read`."""
        if self._pipeline is None:
            raise CameraError("the GStreamer pipeline is not open")
        until = time.monotonic() + self._patience_s
        while True:
            sample = self._sink.emit("try-pull-sample", int(_SLICE_S * self._gst.SECOND))
            if sample is not None:
                self._patience_s = self._stall_s
                return self._picture(sample)
            if (fault := self._fault()) is not None:
                raise CameraError(f"the GStreamer pipeline stopped: {fault}")
            if self._sink.get_property("eos"):
                return None
            if time.monotonic() > until:
                raise CameraSilentError(f"the GStreamer pipeline gave no picture for {self._patience_s:g} s")

    def close(self) -> None:
        """See `Camera.close`."""
        if self._pipeline is not None:
            self._pipeline.set_state(self._gst.State.NULL)
            self._pipeline = self._sink = None

    def _picture(self, sample: Any) -> Picture | Damaged:  # noqa: ANN401 - GStreamer's
        structure = sample.get_caps().get_structure(0)
        width, height = structure.get_int("width")[1], structure.get_int("height")[1]
        buffer = sample.get_buffer()
        mapped, memory = buffer.map(self._gst.MapFlags.READ)
        if not mapped:
            return Damaged("the picture's memory cannot be read")
        try:
            return Picture(image_rgb=_unpadded(bytes(memory.data), height, width))
        except ValueError:
            return Damaged(f"{memory.size} bytes are no picture of {width} x {height} px")
        finally:
            buffer.unmap(memory)

    def _fault(self) -> str | None:
        message = self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR)
        if message is None:
            return None
        error, debug = message.parse_error()
        *_, detail = (debug or "").splitlines() or [""]
        return f"{message.src.get_name()}: {error.message} {detail}".strip()


def csi_pipeline(sensor: int, *, size_px: tuple[int, int] | None, fps: float | None) -> str:
    """Return the pipeline of a Jetson's CSI camera."""
    caps = ["video/x-raw(memory:NVMM)"]
    if size_px is not None:
        caps += [f"width={size_px[0]}", f"height={size_px[1]}"]
    if fps is not None:
        caps.append(f"framerate={round(fps)}/1")
    return f"nvarguscamerasrc sensor-id={sensor} ! {','.join(caps)} ! nvvidconv ! video/x-raw,format=BGRx"


def hardware_rtsp_pipeline(url: str, *, transport: str) -> str:
    """Return the pipeline that decodes a network camera's H.264 or H.265 on a Jetson's decoder.

    Raises:
        CameraError: the address holds a quote, with which it could add elements of its own.
    """
    if '"' in url or "\\" in url:
        raise CameraError("a quote or backslash in the camera's address; write it as %22 or %5C")
    source = f'rtspsrc location="{url}" protocols={transport} latency=100 drop-on-latency=true'
    return f"{source} ! parsebin ! nvv4l2decoder ! nvvidconv ! video/x-raw,format=BGRx"


def load_gst() -> Any:  # noqa: ANN401 - it has no types
    """Return GStreamer, ready.

    Raises:
        CameraError: it is not on this machine.
    """
    try:
        import gi  # noqa: PLC0415 - only where such a camera is set

        gi.require_version("Gst", "1.0")
        from gi.repository import Gst  # noqa: PLC0415
    except (ImportError, ValueError) as exc:
        raise CameraError(f"GStreamer is not to be had from this Python ({exc}); {INSTALL}") from exc
    Gst.init(None)
    return Gst


def gst_error() -> type[Exception]:
    """Return what GStreamer raises, once it is loaded."""
    from gi.repository import GLib  # noqa: PLC0415

    error: type[Exception] = GLib.Error
    return error


def _unpadded(content: bytes, height: int, width: int) -> UInt8:
    """Return (H, W, 3) of rows that GStreamer pads to four bytes.

    Raises:
        ValueError: too few bytes.
    """
    stride = -(-width * 3 // 4) * 4
    rows = np.frombuffer(content, np.uint8, count=height * stride).reshape(height, stride)
    return np.ascontiguousarray(rows[:, : width * 3]).reshape(height, width, 3)
