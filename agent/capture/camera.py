"""What a live camera is: something that is opened, read until it fails, closed, and opened again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.contract.arrays import UInt8
from agent.contract.frame import Pose, Scale


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A picture as the camera gave it."""

    image_rgb: UInt8  # (H, W, 3)
    encoded: bytes | None = None  # the camera's own file, from which `image_rgb` was decoded
    suffix: str = ".png"  # of `encoded`
    scale: Scale | None = None  # where the camera itself knows it
    pose: Pose | None = None  # likewise


@dataclass(frozen=True, slots=True)
class Damaged:
    """In the place of a picture that arrived but cannot be decoded."""

    reason: str


class Camera(Protocol):
    """One connection at a time, used by one thread.

    No call may block for longer than the time that the camera was given for it: a camera that hangs is as bad as one
    that is gone.
    """

    def open(self) -> None:
        """Connect.

        Raises:
            CameraError: it cannot be opened; the message says why and what to look at, and never holds a password.
        """
        ...

    def read(self) -> Picture | Damaged | None:
        """Wait for the next picture. None: there will be no more, by nature and not by a fault.

        Raises:
            CameraError: the camera is lost, or silent for too long.
        """
        ...

    def close(self) -> None:
        """Let go of the device or connection; never fails, and a second call does nothing."""
        ...
