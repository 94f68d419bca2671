"""What the autopilot of a live MAVLink link says of its vehicle: whether it is armed, and where it heads.

The first vehicle whose autopilot is heard is followed; ground stations, cameras and gimbals send heartbeats too, but
fly nothing. See https://mavlink.io/en/messages/common.html#HEARTBEAT.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

SILENCE_S: Final = 5.0  # heartbeats come once a second

_GROUND_STATION: Final = 6  # MAV_TYPE_GCS
_NO_AUTOPILOT: Final = 8  # MAV_AUTOPILOT_INVALID
_SAFETY_ARMED: Final = 128  # MAV_MODE_FLAG_SAFETY_ARMED, of base_mode
_NO_HEADING: Final = 65_535  # cdeg

logger = logging.getLogger(__name__)


class Vehicle:
    """Shared by the link's thread, which hears, and others, which look.

    Args:
        faults: grows by each loss of the link, and by heartbeats of vehicles that are not followed.
        clock: monotonic, s.
    """

    def __init__(self, faults: Counter[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._faults = faults
        self._clock = clock
        self._lock = threading.Lock()
        self._system: int | None = None
        self._heard_at = 0.0
        self._lost = False
        self._armed: bool | None = None
        self._heading_deg: float | None = None

    @property
    def armed(self) -> bool | None:
        """What the latest heartbeat said, however long ago; None before the first."""
        return self._armed

    @property
    def heading_deg(self) -> float | None:
        """Of the airframe, from north, clockwise, 0 to 360; None where it is not known."""
        return self._heading_deg

    def is_lost(self) -> bool:
        """Whether a vehicle was heard and has been silent for `SILENCE_S`; each such time is counted once."""
        with self._lock:
            silent = self._system is not None and self._clock() - self._heard_at > SILENCE_S
            if silent and not self._lost:
                self._lost = True
                self._faults["the vehicle's heartbeats ceased"] += 1
                logger.warning("MAVLink: no heartbeat for %g s; what goes on goes on", SILENCE_S)
            return silent

    def hear(self, message: Any) -> None:  # noqa: ANN401 - pymavlink has no types
        """Take note of a message of any kind."""
        kind = message.get_type()
        if kind == "HEARTBEAT":
            self._beat(message)
        elif kind == "GLOBAL_POSITION_INT" and message.get_srcSystem() == self._system:
            self._heading_deg = None if message.hdg == _NO_HEADING else message.hdg / 100

    def _beat(self, message: Any) -> None:  # noqa: ANN401
        if message.type == _GROUND_STATION or message.autopilot == _NO_AUTOPILOT:
            return
        self.is_lost()  # a silence that nobody looked at counts too
        with self._lock:
            if self._system is None:
                self._system = message.get_srcSystem()
            elif self._system != message.get_srcSystem():
                self._faults["heartbeats of another vehicle: not followed"] += 1
                return
            if self._lost:
                logger.info("MAVLink: the vehicle is heard again")
            self._lost, self._heard_at = False, self._clock()
            self._armed = bool(message.base_mode & _SAFETY_ARMED)
