"""Each camera is there and gives a picture. One that the service holds open now may refuse a second reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent.capture import open_sources
from agent.capture.camera import Damaged
from agent.capture.open_cameras import make_camera
from agent.capture.settings import CameraSettings, CaptureSettings
from agent.errors import CameraError, CrackscoutError
from agent.health.checks.finding import Device, Finding


def check(device: Device) -> Iterator[Finding]:
    """See the module."""
    if not device.settings.cameras:
        yield Finding("cameras", "fail", "none", "name at least one under `cameras:`")
    for camera in device.settings.cameras:
        yield _files(camera) if camera.kind == "files" else _live(camera, device.settings.capture)
        if camera.mm_per_px is None and camera.kind != "rendered":
            text = f"{camera.name}: mm_per_px is not set, so reports have no millimetres"
            yield Finding("cameras", "warn", text, "measure a pixel on the surface, or take telemetry with a distance")


def _files(camera: CameraSettings) -> Finding:
    try:
        (source,) = open_sources([Path(camera.source)], camera=camera.name)
    except CrackscoutError as exc:
        return Finding("cameras", "fail", f"{camera.name}: {exc}", "see its source in the settings")
    pictures = "" if source.length is None else f", {source.length} pictures"
    return Finding("cameras", "ok", f"{camera.name}: {camera.shown}{pictures}")


def _live(camera: CameraSettings, capture: CaptureSettings) -> Finding:
    """Open it and wait for a picture, no longer than the service would."""
    live = make_camera(camera, capture)
    try:
        live.open()
        picture = live.read()
    except CameraError as exc:
        fix = "see its source in the settings, its cable and power; stop the service if that holds it open"
        return Finding("cameras", "fail", f"{camera.name}: {exc}", fix)
    finally:
        live.close()
    if picture is None or isinstance(picture, Damaged):
        reason = picture.reason if picture else "it ended at once"
        return Finding("cameras", "warn", f"{camera.name}: {camera.shown} gave no picture: {reason}", "look at it")
    height, width = picture.image_rgb.shape[:2]
    return Finding("cameras", "ok", f"{camera.name}: {camera.shown} gives {width} x {height} px")
