"""Sources of frames: one file per kind.

Files are read by a `Source`, in order and without loss. Live cameras are a `Camera` each, kept alive by a `LiveFeed` of
its own, because a camera that hangs must hold up nobody else; `Cameras` schedules all of them on one network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.lazy import names_from

if TYPE_CHECKING:
    from agent.capture.cameras import Cameras
    from agent.capture.sources import open_sources
    from agent.capture.status import CameraStatus

__all__ = ["CameraStatus", "Cameras", "open_sources"]

__getattr__ = names_from(
    __name__,
    {
        "CameraStatus": "status",
        "Cameras": "cameras",
        "open_sources": "sources",
    },
)
