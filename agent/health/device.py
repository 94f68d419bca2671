"""How a running device does, as `state` tells it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

from agent.capture.cameras import Cameras
from agent.capture.status import CameraStatus
from agent.health.governor import Governor


class DeviceState:
    """Cameras, heat, power and room, put into words and fields.

    Args:
        cameras: of the service.
        governor: of its pace.
        not_kept: how many pictures the record had no room for.
    """

    def __init__(
        self,
        cameras: Cameras,
        governor: Governor,
        *,
        not_kept: Callable[[], int] = lambda: 0,
    ) -> None:
        self._cameras = cameras
        self._governor = governor
        self._not_kept = not_kept
        self._rate_from = (time.monotonic(), 0)

    @property
    def cameras(self) -> tuple[CameraStatus, ...]:
        """How each camera does."""
        return self._cameras.status()

    def word(self) -> Literal["running", "paused", "degraded"]:
        """Return the state in one word."""
        if self._cameras.paused or self._cameras.limit.stopped:
            return "paused"
        ill = any(status.problem for status in self._cameras.status())
        return "degraded" if ill or self._cameras.limit.reason or self._not_kept() else "running"

    def gist(self) -> object:
        """Return what is told at once when it changes; counts and readings can wait."""
        states = tuple((status.state, status.problem) for status in self._cameras.status())
        return self.word(), states, self._governor.step

    def frames_per_second(self, frames: int) -> float | None:
        """Return how fast frames were inferred since the last call; None the first time.

        Args:
            frames: of this run so far.
        """
        now = time.monotonic()
        (since, before), self._rate_from = self._rate_from, (now, frames)
        return round((frames - before) / (now - since), 3) if frames >= before > 0 and now > since else None

    def fields(self) -> dict[str, Any]:
        """Return the optional fields of `StateReport`."""
        statuses = self._cameras.status()
        readings = self._governor.readings
        return {
            "cameras": tuple(status.name for status in statuses),
            "camera_states": tuple(status.state for status in statuses),
            "camera_problems": tuple(status.problem or "" for status in statuses),
            "camera_fps": tuple(status.fps for status in statuses),
            "pictures": sum(status.arrived for status in statuses),
            "pictures_dropped": sum(status.dropped for status in statuses),
            "pictures_repeated": sum(status.repeated for status in statuses),
            "pictures_damaged": sum(status.damaged for status in statuses),
            "pictures_poor": sum(status.skipped for status in statuses),
            "pictures_not_kept": self._not_kept(),
            "camera_losses": sum(status.losses for status in statuses),
            "pace": self._governor.step,
            "pace_reason": self._cameras.limit.reason,
            "temperature_c": readings.hottest_c,
            "power_w": readings.board_w,
        }
