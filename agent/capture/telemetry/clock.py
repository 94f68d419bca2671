"""Telemetry's clock against the media's: the offset at which the carrier moves when the picture moves.

How far the picture shifts from frame to frame (phase correlation) is laid against how fast the carrier goes by its
telemetry, speed over ground, chainage and turning together; of all offsets the one with the highest correlation is it.
A flight at one speed tells none: there is nothing to lay against each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import cv2
import numpy as np

from agent.capture.telemetry.track import Track
from agent.contract.arrays import Float64
from agent.contract.frame import Frame, SkippedFrame
from agent.errors import InputError
from agent.place.earth import distance_m

STEP_S: Final = 0.1  # of the common grid
SMALL_PX: Final = 160  # longer edge of the pictures that are compared
LEAST_OVERLAP_S: Final = 3.0
LEAST_CORRELATION: Final = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """What was found."""

    seconds: float  # telemetry's clock minus the media's
    correlation: float  # of the two motions at this offset, [-1, 1]

    @property
    def believable(self) -> bool:
        """Whether the motions fit well enough to rely on it."""
        return self.correlation >= LEAST_CORRELATION

    def as_text(self) -> str:
        """Return a line for a person."""
        doubt = "" if self.believable else f"; below {LEAST_CORRELATION:g}: do not rely on it"
        return f"place.telemetry.clock_offset_s: {self.seconds:.2f} (correlation {self.correlation:.2f}{doubt})"


def estimate_offset(frames: Iterable[Frame | SkippedFrame], track: Track) -> ClockOffset:
    """Return telemetry's clock minus the media's.

    Args:
        frames: of a video, with media times.
        track: its telemetry.

    Raises:
        InputError: less than some seconds of either, or one of them does not move.
    """
    seen, media_start = _on_grid(*_picture_motion(frames))
    told, track_start = _on_grid(*_carrier_motion(track))
    shortest = math.ceil(LEAST_OVERLAP_S / STEP_S)
    if min(len(seen), len(told)) < shortest:
        raise InputError(
            f"less than {LEAST_OVERLAP_S:g} s of motion in the video or the telemetry: no offset to be told"
        )
    if np.ptp(seen) < 1e-6 or np.ptp(told) < 1e-6:
        raise InputError("the video or the telemetry moves at one speed throughout: no offset to be told")
    least = max(shortest, min(len(seen), len(told)) // 2)
    best = max(
        ((_correlation(seen, told, lag), lag) for lag in range(least - len(seen), len(told) - least + 1)),
        key=lambda one: one[0],
    )
    return ClockOffset(seconds=round(track_start + best[1] * STEP_S - media_start, 3), correlation=round(best[0], 4))


def _correlation(seen: Float64, told: Float64, lag: int) -> float:
    """Correlate the motions with the first picture at place `lag` of the telemetry."""
    start, end = max(0, lag), min(len(told), lag + len(seen))
    one, other = seen[start - lag : end - lag], told[start:end]
    one, other = one - one.mean(), other - other.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size > 1e-9 else -1.0


def _picture_motion(frames: Iterable[Frame | SkippedFrame]) -> tuple[list[float], list[float]]:
    """Return times, s, and how fast the picture shifts, shares of its longer edge per s."""
    times, speeds = [], []
    before: tuple[float, Float64] | None = None
    for frame in frames:
        if isinstance(frame, SkippedFrame) or frame.media_time_ns is None:
            continue
        factor = SMALL_PX / max(frame.height, frame.width)
        small = cv2.resize(frame.image_rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float64)
        now = frame.media_time_ns / 1e9
        if before is not None and before[1].shape == grey.shape and now > before[0]:
            window = cv2.createHanningWindow((grey.shape[1], grey.shape[0]), cv2.CV_64F)
            (x, y), _ = cv2.phaseCorrelate(before[1], grey, window)
            times.append((now + before[0]) / 2)
            speeds.append(math.hypot(x, y) / SMALL_PX / (now - before[0]))
        before = now, grey
    return times, speeds


def _carrier_motion(track: Track) -> tuple[list[float], list[float]]:
    """Return times, s, and how fast the carrier goes: m/s over ground and in a tunnel, a degree/s as a tenth of it."""
    times, speeds = [], []
    for one, other in pairwise(track.samples):
        seconds = (other.time_ns - one.time_ns) / 1e9
        if not 0 < seconds <= track.max_gap_ns / 1e9:
            continue
        way = 0.0
        if one.lat is not None and one.lon is not None and other.lat is not None and other.lon is not None:
            way += distance_m((one.lat, one.lon), (other.lat, other.lon))
        if one.chainage_m is not None and other.chainage_m is not None:
            way += abs(other.chainage_m - one.chainage_m)
        for name in ("yaw_deg", "pitch_deg"):
            a, b = getattr(one, name), getattr(other, name)
            if a is not None and b is not None:
                way += 0.1 * abs((b - a + 180) % 360 - 180)
        times.append((one.time_ns + other.time_ns) / 2e9)
        speeds.append(way / seconds)
    return times, speeds


def _on_grid(times: list[float], values: list[float]) -> tuple[Float64, float]:
    """Return values at even steps, smoothed over half a second, and when they begin, s."""
    if len(times) < 2:
        return np.empty(0), 0.0
    grid = np.arange(times[0], times[-1] + 1e-9, STEP_S)
    even = np.interp(grid, times, values)
    width = min(5, len(even))
    return np.convolve(even, np.ones(width) / width, mode="same"), times[0]
