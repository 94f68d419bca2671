"""From the settings of the cameras to the parts that watch them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from agent.capture.camera import Camera
from agent.capture.cameras import Cameras
from agent.capture.fallback import FallbackCamera
from agent.capture.feed import LiveFeed
from agent.capture.filefeed import FileFeed
from agent.capture.gstreamer import GstCamera, csi_pipeline, hardware_rtsp_pipeline
from agent.capture.pace import Pace
from agent.capture.rendered import RenderedCamera, scene_of
from agent.capture.rtsp import RtspCamera
from agent.capture.settings import CameraSettings, CaptureSettings
from agent.capture.sources import open_sources
from agent.capture.v4l2 import V4l2Camera
from agent.contract.flight import SourceRef
from agent.contract.frame import Scale


def open_cameras(
    cameras: Sequence[CameraSettings], capture: CaptureSettings, *, pace: Pace | None = None
) -> tuple[Cameras, tuple[SourceRef, ...]]:
    """Return the cameras, not yet started, and what a record says of each.

    A live camera that is not there is no error: it is waited for.

    Raises:
        InputError: a photo, folder, video or record that is not there.
        ConfigError: a rendered flight that there is not.
    """
    news = threading.Condition()
    feeds: list[LiveFeed | FileFeed] = []
    refs: list[SourceRef] = []
    scales = {
        camera.name: Scale(mm_per_px=camera.mm_per_px, source="setting")
        for camera in cameras
        if camera.mm_per_px is not None
    }
    files = [camera for camera in cameras if camera.kind == "files"]
    sources = dict(
        zip(
            [camera.name for camera in files],
            [
                source
                for camera in files
                for source in open_sources([Path(camera.source)], camera=camera.name, scale=scales.get(camera.name))
            ],
            strict=True,
        )
    )
    for camera in cameras:
        if camera.name in sources:
            feeds.append(FileFeed(camera.name, sources[camera.name]))
            refs.append(sources[camera.name].ref)
        else:
            live = make_camera(camera, capture)
            renew = partial(make_camera, camera, capture)
            feeds.append(LiveFeed(camera.name, kind=camera.kind, camera=live, settings=capture, news=news, renew=renew))
            refs.append(SourceRef(name=camera.shown, fingerprint=hashlib.sha256(camera.shown.encode()).hexdigest()))
    return Cameras(feeds, settings=capture, news=news, scales=scales, pace=pace), tuple(refs)


def make_camera(camera: CameraSettings, capture: CaptureSettings) -> Camera:
    """Return a live camera, not opened; none of kind `files`."""
    first_frame_s, stall_s = capture.first_frame_s, capture.stall_s
    size_px = None if camera.width_px is None or camera.height_px is None else (camera.width_px, camera.height_px)
    place = camera.source.partition(":")[2]
    match camera.kind:
        case "rtsp":
            software = RtspCamera(
                camera.source, transport=camera.transport, first_frame_s=first_frame_s, stall_s=stall_s
            )
            if camera.decode == "software":
                return software
            pipeline = hardware_rtsp_pipeline(camera.source, transport=camera.transport)
            return FallbackCamera(GstCamera(pipeline, first_frame_s=first_frame_s, stall_s=stall_s), software)
        case "v4l2":
            return V4l2Camera(
                Path(camera.source.removeprefix("v4l2://")),
                size_px=size_px,
                fps=camera.fps,
                mjpeg=camera.encoding == "mjpeg",
                first_frame_s=first_frame_s,
                stall_s=stall_s,
            )
        case "csi":
            pipeline = csi_pipeline(int(place.strip("/")), size_px=size_px, fps=camera.fps)
            return GstCamera(pipeline, first_frame_s=first_frame_s, stall_s=stall_s)
        case "gst":
            return GstCamera(place, first_frame_s=first_frame_s, stall_s=stall_s)
        case "rendered":
            return RenderedCamera(scene_of(camera.source))
        case "files":
            raise AssertionError("files are no live camera")
