"""The vehicle that carries the cameras, over its MAVLink link: missions while it is armed, and where it is."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final, Protocol

from agent.capture.telemetry.links import MavlinkLinks
from agent.capture.telemetry.mavlink import MavlinkLive
from agent.errors import ConfigError, CrackscoutError
from agent.settings import Settings

POLL_S: Final = 0.1
AGAIN_S: Final = 10.0  # before a mission that could not begin is tried again

logger = logging.getLogger(__name__)


def mavlink_urls(settings: Settings) -> list[str]:
    """Return the addresses of the links that the settings name, the vehicle's first, each once."""
    places = [settings.place, *(camera.place for camera in settings.cameras if camera.place is not None)]
    return list(dict.fromkeys(place.telemetry.mavlink for place in places if place.telemetry.mavlink is not None))


def take_vehicle(settings: Settings, links: MavlinkLinks) -> MavlinkLive:
    """Return the link whose vehicle is armed and disarmed: the device's own, else the one of its cameras.

    Raises:
        ConfigError: no link is named, cameras name several, pymavlink is not installed, or it cannot be opened.
    """
    urls = mavlink_urls(settings)
    if not urls:
        raise ConfigError(
            "mission.start: arming needs the vehicle's MAVLink link; set place.telemetry.mavlink, for instance to "
            "udpin:0.0.0.0:14550"
        )
    if settings.place.telemetry.mavlink is None and len(urls) > 1:
        raise ConfigError(
            f"mission.start: arming of which vehicle? cameras name {', '.join(urls)}; set place.telemetry.mavlink"
        )
    return links.take(urls[0])


def vehicle_now(link: MavlinkLive) -> dict[str, Any] | None:
    """Return the fields of a `TelemetryReport` as the link has told them lately; None if it has told nothing."""
    sample = link.track().at(time.time_ns())
    vehicle = link.vehicle
    is_lost = vehicle.is_lost()
    fields = {
        "lat": sample and sample.lat,
        "lon": sample and sample.lon,
        "alt_m": sample and sample.alt_m,
        "standoff_m": sample and sample.distance_m,
        "heading_deg": None if is_lost else vehicle.heading_deg,
        "armed": None if is_lost else vehicle.armed,
    }
    return fields if any(value is not None for value in fields.values()) else None


class Starts(Protocol):
    """What begins and ends missions; see `agent.control.Control`."""

    def armed(self) -> None:
        """Begin one, unless one goes on; raises a CrackscoutError."""
        ...

    def disarmed(self) -> bool:
        """End it; return whether it is over; raises a CrackscoutError."""
        ...


class ArmingWatch:
    """Begins a mission when the vehicle is armed and ends it when it is disarmed, in a thread of its own.

    What counts is the change: a mission that a command began goes on until the vehicle is disarmed the next time, and
    one that a command ended stays ended until it is armed again. A vehicle that is armed when it is first heard starts
    one: the agent may have been restarted in flight. While no heartbeats come, nothing changes.

    Args:
        missions: what begins and ends them.
    """

    def __init__(self, missions: Starts) -> None:
        self._missions = missions
        self._link: MavlinkLive | None = None
        self._ending = threading.Event()  # of the thread that watches now
        self._thread: threading.Thread | None = None
        self._known = False  # whether the vehicle was armed when it was last acted on

    def follow(self, link: MavlinkLive | None) -> None:
        """Watch this link from now on; None: none. May be called by what `missions` calls, in the watch's thread."""
        if link is self._link:
            return
        self._ending.set()
        self._link, self._known = link, False
        if link is not None:
            self._ending = threading.Event()
            self._thread = threading.Thread(target=self._watch, args=(link, self._ending), name="arming", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Watch no more."""
        self.follow(None)
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _watch(self, link: MavlinkLive, ending: threading.Event) -> None:
        while not ending.wait(POLL_S):
            link.vehicle.is_lost()  # counts
            armed = link.vehicle.armed
            if armed is None or armed == self._known:
                continue
            try:
                self._act(ending, armed=armed)
            except CrackscoutError as exc:
                logger.error("arming: %s; tried again in %g s", exc, AGAIN_S)  # noqa: TRY400 - its text says what to mend
                ending.wait(AGAIN_S)
            except Exception:
                logger.exception("arming; tried again in %g s", AGAIN_S)
                ending.wait(AGAIN_S)

    def _act(self, ending: threading.Event, *, armed: bool) -> None:
        if armed:
            self._missions.armed()
            logger.info("the vehicle is armed: a mission begins")
        else:
            while not self._missions.disarmed():  # to the end: armed again meanwhile, it is another mission
                if ending.wait(POLL_S):
                    return
            logger.info("the vehicle is disarmed: the mission is over")
        self._known = armed
