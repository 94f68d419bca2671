"""A small vehicle that speaks MAVLink by pymavlink's own writer, over UDP or as a TCP server, ten times a second."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from tests.support.broker import free_port

os.environ.setdefault("MAVLINK20", "1")

ARMED, CUSTOM_MODE = 128, 1
COPTER, GROUND_STATION, CAMERA = 2, 6, 30
ARDUPILOT, NO_AUTOPILOT = 3, 8


class FakeVehicle:
    """Says where it is, and by heartbeats whether it is armed.

    Args:
        how: udp sends to the port; tcp listens there.
        system: its MAVLink system id.
    """

    def __init__(self, how: Literal["udp", "tcp"] = "udp", *, system: int = 1, port: int | None = None) -> None:
        from pymavlink.dialects.v20 import ardupilotmega

        self.port = free_port() if port is None else port
        self.url = f"udpin:127.0.0.1:{self.port}" if how == "udp" else f"tcp:127.0.0.1:{self.port}"
        self.armed = False
        self.silent = False
        self._vehicle = ardupilotmega.MAVLink(None, srcSystem=system, srcComponent=1)
        self._station = ardupilotmega.MAVLink(None, srcSystem=255, srcComponent=190)
        self._camera = ardupilotmega.MAVLink(None, srcSystem=system, srcComponent=100)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM) if how == "udp" else None
        self._server = socket.create_server(("127.0.0.1", self.port)) if how == "tcp" else None
        self._client: socket.socket | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._speak)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        for one in (self._udp, self._server, self._client):
            if one is not None:
                one.close()

    def hang_up(self) -> None:
        """Close the TCP connection; the next one is taken."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def messages(self) -> list[bytes]:
        """What it says at this moment, in bytes; a ground station and a camera beside it are never armed."""
        vehicle, ms = self._vehicle, int(time.monotonic() * 1000) % 2**32
        mode = CUSTOM_MODE | (ARMED if self.armed else 0)
        said: list[tuple[Any, Any]] = [
            (vehicle, vehicle.heartbeat_encode(COPTER, ARDUPILOT, mode, 0, 4)),
            (self._station, self._station.heartbeat_encode(GROUND_STATION, NO_AUTOPILOT, 0, 0, 4)),
            (self._camera, self._camera.heartbeat_encode(CAMERA, NO_AUTOPILOT, 0, 0, 4)),
            (vehicle, vehicle.global_position_int_encode(ms, 525_000_100, 134_000_000, 91_500, 0, 0, 0, 0, 12_345)),
            (vehicle, vehicle.distance_sensor_encode(ms, 20, 4000, 450, 0, 0, 0, 0)),
        ]
        return [message.pack(link) for link, message in said]

    def _speak(self) -> None:
        if self._server is not None:
            self._server.settimeout(0.1)
        while not self._ending.wait(0.1):
            if self._server is not None and self._client is None:
                with suppress(TimeoutError):
                    self._client = self._server.accept()[0]
            if not self.silent:
                for message in self.messages():
                    self._send(message)

    def _send(self, message: bytes) -> None:
        client = self._client
        with suppress(OSError):
            if self._udp is not None:
                self._udp.sendto(message, ("127.0.0.1", self.port))
            elif client is not None:
                client.sendall(message)


@contextmanager
def vehicle(how: Literal["udp", "tcp"] = "udp", *, system: int = 1, port: int | None = None) -> Iterator[FakeVehicle]:
    """Let it speak for the length of the block."""
    speaking = FakeVehicle(how, system=system, port=port)
    try:
        yield speaking
    finally:
        speaking.close()
