"""MAVLink: logs (.tlog, .bin) and a live link, through pymavlink (the extra `mavlink`).

pymavlink speaks MAVLink 1 unless MAVLINK20=1 is set before it is imported, and then CAMERA_IMAGE_CAPTURED and the
gimbal's messages are missing.
"""

from __future__ import annotations

import math
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from agent.capture.telemetry.sample import Sample, checked
from agent.capture.telemetry.track import Track
from agent.capture.telemetry.vehicle import Vehicle
from agent.contract.frame import ScaleMethod
from agent.errors import ConfigError, InputError

SUFFIXES: Final = frozenset({".tlog", ".bin"})
MESSAGES: Final = ("GLOBAL_POSITION_INT", "MOUNT_ORIENTATION", "GIMBAL_DEVICE_ATTITUDE_STATUS", "DISTANCE_SENSOR",
                   "RANGEFINDER", "CAMERA_FEEDBACK", "POS", "RFND")  # fmt: skip
LEAST_BYTES: Final = 32  # of a log with one message
LIVE_SECONDS: Final = 30.0  # of a live link that are kept

_FORWARD: Final = frozenset({0, 100})  # orientations of a distance sensor: forward, custom (a gimbal's)


def read_mavlink(path: Path, faults: Counter[str]) -> list[Sample]:
    """Return the samples of a log, times in UTC as the log has them.

    Args:
        path: a telemetry log or a data flash log.
        faults: grows by what is left out.

    Raises:
        ConfigError: pymavlink is not installed.
        InputError: not a log, or none of its messages tells a place, an attitude or a distance.
    """
    connect = _pymavlink()
    if path.stat().st_size < LEAST_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes are no MAVLink log")
    try:
        log = connect(str(path), dialect="ardupilotmega")
        try:
            samples = list(_samples(_messages(log), faults))
        finally:
            getattr(log, "close", int)()  # readers of data flash logs have none
    except (OSError, ValueError, AttributeError, IndexError, KeyError) as exc:
        raise InputError(f"{path}: not a MAVLink log that can be read ({exc})") from exc
    if not samples:
        raise InputError(f"{path}: no MAVLink message that tells a place, the camera's attitude or a distance")
    return samples


class MavlinkLive:
    """Listens to a live link and keeps the last half minute.

    Args:
        url: as pymavlink has it: `udpin:0.0.0.0:14550`, `tcp:127.0.0.1:5760`, `/dev/ttyTHS1`.

    Raises:
        ConfigError: pymavlink is not installed, or the link cannot be opened.
    """

    def __init__(self, url: str) -> None:
        connect = _pymavlink()
        self._connect = partial(connect, url, dialect="ardupilotmega", autoreconnect=True)
        try:
            self._link = self._connect()
        except (OSError, ValueError, IndexError) as exc:
            raise ConfigError(f"{url}: the MAVLink link cannot be opened ({exc})") from exc
        self._samples: deque[Sample] = deque()
        self.faults: Counter[str] = Counter()
        self.vehicle = Vehicle(self.faults)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="mavlink", daemon=True)
        self._thread.start()

    def track(self, *, max_gap_s: float = 2.0) -> Track:
        """Return what was heard in the last half minute; times are those of this computer's clock, UTC.

        Args:
            max_gap_s: see `Track`.
        """
        with self._lock:
            heard = list(self._samples)
        return Track.of(heard, max_gap_s=max_gap_s, faults=Counter(self.faults))

    def close(self) -> None:
        """Stop listening."""
        self._ending.set()
        self._thread.join(timeout=5)
        with suppress(OSError, AttributeError):  # it was lost before
            self._link.close()

    def _listen(self) -> None:
        while not self._ending.is_set():
            try:
                message = self._link.recv_match(type=["HEARTBEAT", *MESSAGES], blocking=True, timeout=0.2)
            except (OSError, ValueError, AttributeError, TypeError):  # the last three: its socket is gone
                self.faults["the MAVLink link failed"] += 1
                self._reopen()
                continue
            if message is None:
                continue
            self.vehicle.hear(message)
            for sample in _samples(iter([message]), self.faults):
                with self._lock:
                    self._samples.append(sample)
                    while sample.time_ns - self._samples[0].time_ns > LIVE_SECONDS * 1e9:
                        self._samples.popleft()

    def _reopen(self) -> None:
        self._ending.wait(1.0)
        with suppress(OSError, ValueError, AttributeError):
            self._link.close()
        with suppress(OSError):  # the next attempt to receive fails again, and is counted
            self._link = self._connect()


def _pymavlink() -> Callable[..., Any]:
    os.environ.setdefault("MAVLINK20", "1")
    try:
        from pymavlink import mavutil  # noqa: PLC0415 - an extra, and read by its own import
    except ImportError as exc:
        raise ConfigError('MAVLink needs pymavlink: pip install "crackscout[mavlink]"') from exc
    connect: Callable[..., Any] = mavutil.mavlink_connection
    return connect


def _messages(log: Any) -> Iterator[Any]:  # noqa: ANN401 - pymavlink has no types
    while (message := log.recv_match(type=list(MESSAGES))) is not None:
        yield message


def _samples(messages: Iterator[Any], faults: Counter[str]) -> Iterator[Sample]:
    for message in messages:
        values, method = _values(message)
        if values:
            yield checked(round(message._timestamp * 1e9), values, faults, method=method)  # noqa: SLF001 - its API


def _values(message: Any) -> tuple[dict[str, float], ScaleMethod | None]:  # noqa: ANN401, PLR0911 - a message each
    kind = message.get_type()
    if kind == "GLOBAL_POSITION_INT":
        return {"lat": message.lat / 1e7, "lon": message.lon / 1e7, "alt_m": message.alt / 1000}, None
    if kind == "CAMERA_FEEDBACK":
        place = {"lat": message.lat / 1e7, "lon": message.lng / 1e7, "alt_m": message.alt_msl}
        return {**place, "yaw_deg": message.yaw, "pitch_deg": message.pitch, "roll_deg": message.roll}, None
    if kind == "POS":
        return {"lat": message.Lat, "lon": message.Lng, "alt_m": message.Alt}, None
    if kind == "MOUNT_ORIENTATION":
        yaw = getattr(message, "yaw_absolute", math.nan)
        known = {} if math.isnan(yaw) else {"yaw_deg": yaw}
        return {"pitch_deg": message.pitch, "roll_deg": message.roll, **known}, None
    if kind == "GIMBAL_DEVICE_ATTITUDE_STATUS":
        return _euler(message.q), None
    if kind == "DISTANCE_SENSOR" and message.orientation in _FORWARD:
        within = message.min_distance <= message.current_distance <= message.max_distance
        return ({"distance_m": message.current_distance / 100} if within else {}), "lidar"
    if kind in {"RANGEFINDER", "RFND"}:
        return {"distance_m": message.distance if kind == "RANGEFINDER" else message.Dist}, "lidar"
    return {}, None


def _euler(q: list[float]) -> dict[str, float]:
    """Return yaw, pitch and roll of a quaternion w, x, y, z, in the order Z, Y, X."""
    w, x, y, z = q
    return {
        "yaw_deg": math.degrees(math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))),
        "pitch_deg": math.degrees(math.asin(max(-1.0, min(1.0, 2 * (w * y - z * x))))),
        "roll_deg": math.degrees(math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))),
    }
