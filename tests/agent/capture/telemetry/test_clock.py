from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from agent.capture.telemetry import Sample, Track
from agent.capture.telemetry.clock import estimate_offset
from agent.contract.frame import Frame
from agent.errors import InputError


def speed(seconds: float) -> float:
    """A cart that starts, slows down, stops and goes on, m/s."""
    return max(0.0, 1 + math.sin(seconds * 0.9) + 0.5 * math.sin(seconds * 2.3)) if seconds < 14 else 0.0


def way(seconds: float) -> float:
    return sum(speed(0.01 * step) for step in range(round(seconds * 100))) * 0.01


def frames(seconds: float) -> Iterator[Frame]:
    """A wall that passes by at 80 px a metre, 10 pictures a second."""
    wall = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (120, 4000), np.uint8), (0, 0), 2)
    for index in range(round(seconds * 10)):
        at = round(80 * way(index / 10))
        image = np.asarray(np.repeat(wall[:, at : at + 160, None], 3, axis=2), np.uint8)
        yield Frame(
            index=index,
            name=str(index),
            source="v",
            camera="c",
            image_rgb=image,
            sha256="",
            media_time_ns=index * 10**8,
        )


def telemetry(offset_s: float, *, steady: bool = False) -> Track:
    times = [second / 5 for second in range(100)]
    return Track.of(
        [Sample(time_ns=round((time + offset_s) * 1e9), chainage_m=time if steady else way(time)) for time in times]
    )


@pytest.mark.parametrize("offset", [0.0, 1000.0, -7.4, 2.3])
def test_the_offset_is_where_both_motions_fit(offset: float) -> None:
    found = estimate_offset(frames(16), telemetry(offset))
    assert found.seconds == pytest.approx(offset, abs=0.15)
    assert found.believable


@pytest.mark.parametrize("seconds", [0, 1])
def test_too_little_of_either_tells_none(seconds: float) -> None:
    with pytest.raises(InputError, match="less than"):
        estimate_offset(frames(seconds), telemetry(0))


def test_a_carrier_at_one_speed_tells_none() -> None:
    with pytest.raises(InputError, match="at one speed"):
        estimate_offset(frames(16), Track.of([Sample(time_ns=t * 10**8, lat=1, lon=2) for t in range(100)]))
