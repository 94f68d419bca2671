"""MAVLink by pymavlink's own writer: a log, and a live link over a real socket."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.capture.telemetry import open_telemetry
from agent.capture.telemetry.mavlink import MavlinkLive
from agent.errors import InputError
from agent.place.settings import PlaceSettings
from tests.support.told import told

os.environ.setdefault("MAVLINK20", "1")
pytest.importorskip("pymavlink", reason="the extra mavlink is not installed")
from pymavlink.dialects.v20 import ardupilotmega

START_US = 1_714_979_289_000_000


def messages(link: Any, second: int) -> list[Any]:
    return [
        link.global_position_int_encode(
            second * 1000, 525_000_000 + second * 100, 134_000_000, 91_500, 10_000, 0, 0, 0, 9000
        ),
        link.mount_orientation_encode(second * 1000, 0.0, -45.0, 0.0, 90.0),
        link.distance_sensor_encode(second * 1000, 20, 4000, 450 + second, 0, 0, 0, 0),
        link.distance_sensor_encode(second * 1000, 20, 4000, 99, 0, 1, 25, 0),  # looks down: not the camera's
        link.heartbeat_encode(2, 3, 0, 0, 4),
    ]


def tlog(path: Path, write: Callable[[Any, int], list[Any]] = messages, seconds: int = 3) -> Path:
    link = ardupilotmega.MAVLink(None)
    with path.open("wb") as file:
        for second in range(seconds):
            for message in write(link, second):
                file.write(struct.pack(">Q", START_US + second * 1_000_000) + message.pack(link))
    return path


def test_a_log_tells_place_attitude_and_distance_on_utc(tmp_path: Path) -> None:
    track = open_telemetry(tlog(tmp_path / "flight.tlog"), PlaceSettings())
    here = track.at((START_US + 500_000) * 1000)
    assert here is not None
    assert told(here.lat, here.lon, here.alt_m) == (pytest.approx(52.500005), pytest.approx(13.4), pytest.approx(91.5))
    assert here.attitude_deg == (90, -45, 0)
    assert told(here.distance_m, here.method) == (pytest.approx(4.505), "lidar")


def test_a_gimbal_s_quaternion_becomes_angles(tmp_path: Path) -> None:
    def level_then_down(link: Any, _: int) -> list[Any]:
        half = 2**-0.5
        return [link.gimbal_device_attitude_status_encode(0, 0, 0, 0, [half, 0, -half, 0], 0, 0, 0, 0)]

    here = open_telemetry(tlog(tmp_path / "a.tlog", level_then_down), PlaceSettings()).at(START_US * 1000)
    assert here is not None
    assert here.pitch_deg == pytest.approx(-90, abs=0.1)


@pytest.mark.parametrize("content", [b"", b"no log at all", b"\0" * 500])
def test_what_is_no_log_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "flight.tlog"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"flight\.tlog"):
        open_telemetry(path, PlaceSettings())


def test_a_log_that_ends_in_mid_message_gives_what_came_before(tmp_path: Path) -> None:
    path = tlog(tmp_path / "flight.tlog")
    path.write_bytes(path.read_bytes()[:-90])
    assert len(open_telemetry(path, PlaceSettings()).samples) >= 2


def test_a_live_link_is_heard() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    live = MavlinkLive(f"udpin:127.0.0.1:{port}")
    try:
        link = ardupilotmega.MAVLink(None)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            deadline = time.monotonic() + 30
            here = None
            while (here is None or here.lat is None or here.distance_m is None) and time.monotonic() < deadline:
                for message in messages(link, 1):
                    sender.sendto(message.pack(link), ("127.0.0.1", port))
                time.sleep(0.05)
                here = live.track(max_gap_s=60).at(time.time_ns())
        assert here is not None
        assert told(here.lat, here.distance_m) == (pytest.approx(52.50001), pytest.approx(4.51))
    finally:
        live.close()
