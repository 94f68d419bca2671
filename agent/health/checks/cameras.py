"""Each camera is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent.capture import open_sources
from agent.errors import CrackscoutError
from agent.health.checks.finding import Device, Finding


def check(device: Device) -> Iterator[Finding]:
    """See the module."""
    if not device.settings.cameras:
        yield Finding("cameras", "fail", "none", "name at least one under `cameras:`")
    for camera in device.settings.cameras:
        try:
            (source,) = open_sources([Path(camera.source)], camera=camera.name)
        except CrackscoutError as exc:
            yield Finding("cameras", "fail", f"{camera.name}: {exc}", "see its source in the settings")
            continue
        frames = "" if source.length is None else f", {source.length} pictures"
        yield Finding("cameras", "ok", f"{camera.name}: {camera.source}{frames}")
        if camera.mm_per_px is None:
            text = f"{camera.name}: mm_per_px is not set, so reports have no millimetres"
            yield Finding("cameras", "warn", text, "measure a pixel on the surface, or take telemetry with a distance")
