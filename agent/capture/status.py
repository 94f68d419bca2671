"""What is known about a camera at a moment: for `state`, metrics, the page and the watchdog."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

CameraState = Literal["opening", "live", "lost", "ended", "hung"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """Every picture that arrived is in one of `taken`, `dropped`, `repeated`, `damaged`, or is the one that waits."""

    name: str
    kind: str  # rtsp, v4l2, csi, gst, rendered or files
    state: CameraState = "opening"
    problem: str | None = None  # why it is not live, in words for the user
    arrived: int = 0
    taken: int = 0  # went on to the networks, or was skipped for its quality
    skipped: int = 0  # of those taken: blurred, black or white
    dropped: int = 0  # a newer one came before the networks were free
    repeated: int = 0  # the same picture again, bit for bit
    damaged: int = 0  # could not be decoded
    losses: int = 0  # times that it was live and was lost
    failed: int = 0  # attempts to open it that gave no picture
    stalls: int = 0  # of both: no picture came
    freezes: int = 0  # of both: the same picture came all the time
    reopened: int = 0  # times that it was live again after a loss
    hangs: int = 0  # times that its driver did not come back and was left behind
    format_changes: int = 0  # the size of its pictures became another one
    width: int = 0  # of the newest picture, px
    height: int = 0
    fps: float | None = None  # at which pictures arrive
    age_s: float | None = None  # since the newest arrived

    @property
    def waiting(self) -> int:
        """1 if a picture waits for the networks."""
        return self.arrived - self.taken - self.dropped - self.repeated - self.damaged


def counted(status: CameraStatus, **by: int) -> CameraStatus:
    """Return the status with counts raised."""
    return replace(status, **{name: getattr(status, name) + step for name, step in by.items()})
