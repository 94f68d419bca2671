"""A real mosquitto on a free port, and a subscriber that is no part of the agent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.needs import missing

PATIENCE_S = 30.0  # of a wait that is expected to end much sooner


class Broker:
    """A mosquitto that can be started, stopped, frozen and killed; always on the same port.

    Args:
        folder: for its configuration, and its database where `lines` ask for one.
        lines: of mosquitto.conf, besides the listener.
        anonymous: whether clients need no password.
        namespace: of the network, in which it runs and listens at `host`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        lines: Sequence[str] = (),
        anonymous: bool = True,
        host: str = "127.0.0.1",
        namespace: str | None = None,
    ) -> None:
        found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if found is None:
            missing("no mosquitto on this machine")
        self._words = [*(("ip", "netns", "exec", namespace) if namespace else ()), found]
        self.host = host
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        config = [
            f"listener {self.port} {host}",
            f"allow_anonymous {str(anonymous).lower()}",
            "user root",  # without effect unless the tests run as root; else it could not read its files
            "log_dest stderr",
            "max_queued_messages 0",  # unlimited: what a slow reader of the tests loses would look like our loss
            *lines,
        ]
        (folder / "mosquitto.conf").write_text("\n".join(config) + "\n")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._words, "-c", str(self._folder / "mosquitto.conf")], stderr=log, cwd=self._folder
            )
        wait_until(self._listens, f"mosquitto does not listen: {self.log()}")

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in an orderly way, if it runs."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Let it hold still; connections stay open."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def reload(self) -> None:
        """Let it read its passwords and rights again."""
        assert self._process
        self._process.send_signal(signal.SIGHUP)

    def log(self) -> str:
        """What it said so far."""
        return (self._folder / "mosquitto.log").read_text(errors="replace")

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(PATIENCE_S)
            self._process = None

    def _listens(self) -> bool:
        assert self._process
        assert self._process.poll() is None, f"mosquitto ended: {self.log()}"
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0


@dataclass(frozen=True)
class Received:
    """A message as it came."""

    topic: str
    payload: dict[str, Any]  # empty where it is no JSON object
    raw: bytes
    qos: int
    retained: bool  # it was there before us
    content_type: str | None
    expiry_s: int | None  # what is left of it


class Subscriber:
    """Reads everything below `#`, in order.

    Args:
        broker: to read from.
        session: a name under which the broker keeps messages while we are away.
    """

    def __init__(
        self, broker: Broker, *, session: str | None = None, user: str | None = None, password: str = ""
    ) -> None:
        self._messages: list[Received] = []
        self._changed = threading.Condition()
        self._subscriptions = 0
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=session or "", protocol=MQTTv5)
        if user:
            self._client.username_pw_set(user, password)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 600 if session else 0
        self._client.connect("127.0.0.1", broker.port, clean_start=session is None, properties=properties)
        self._client.loop_start()
        self.wait_subscribed(1)

    @property
    def subscriptions(self) -> int:
        """How often a broker has taken it as a reader: once, and again after each that forgot it."""
        return self._subscriptions

    def wait_subscribed(self, count: int) -> None:
        """Wait until a broker has taken it as a reader so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._subscriptions >= count, PATIENCE_S), "it cannot subscribe"

    def messages(self, topic: str = "") -> list[Received]:
        """What came so far, on topics that end so."""
        with self._changed:
            return [message for message in self._messages if message.topic.endswith(topic)]

    def payloads(self, topic: str) -> list[dict[str, Any]]:
        """Their contents."""
        return [message.payload for message in self.messages(topic)]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait for messages that make it true."""
        with self._changed:
            got = Counter(message.topic for message in self._messages)
            assert self._changed.wait_for(condition, PATIENCE_S), f"not received; before there were {got}"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_subscribe(self, *_: object) -> None:
        with self._changed:
            self._subscriptions += 1
            self._changed.notify_all()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        with self._changed:
            self._messages.append(
                Received(
                    message.topic,
                    _json(bytes(message.payload)),
                    bytes(message.payload),
                    message.qos,
                    message.retain,
                    getattr(message.properties, "ContentType", None),
                    getattr(message.properties, "MessageExpiryInterval", None),
                )
            )
            self._changed.notify_all()


def _json(payload: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        value = json.loads(payload)
        return value if isinstance(value, dict) else {}
    return {}


class DeafBroker:
    """Lets clients in, notes every packet and acknowledges none: the bytes on the wire, as the standard has them.

    Args:
        receive_maximum: what it says it takes before it acknowledges.
    """

    def __init__(self, *, receive_maximum: int) -> None:
        properties = b"\x21" + receive_maximum.to_bytes(2, "big")
        self._connack = bytes([0x20, 3 + len(properties), 0, 0, len(properties)]) + properties
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.connections: list[list[bytes]] = []  # each one's packets
        self._open: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def hang_up(self) -> None:
        """End the connection there is."""
        if self._open is not None:
            with suppress(OSError):  # the client did it first
                self._open.shutdown(socket.SHUT_RDWR)

    def publishes(self, connection: int) -> list[bytes]:
        """The PUBLISH packets of a connection, from 0; none if there was no such connection yet."""
        packets = self.connections[connection] if connection < len(self.connections) else []
        return [packet for packet in packets if packet[0] >> 4 == 3]

    def has_published(self, count: int, connection: int) -> bool:
        """Whether a connection brought at least so many."""
        return len(self.publishes(connection)) >= count

    def close(self) -> None:
        """End everything."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.hang_up()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):  # the server was closed
            while True:
                self._open = self._server.accept()[0]
                with self._open, self._open.makefile("rb") as stream:
                    self._attend(stream)

    def _attend(self, stream: BufferedReader) -> None:
        packets: list[bytes] = []
        self.connections.append(packets)
        with suppress(OSError):  # the client is gone
            while kind := stream.read(1):
                length = shift = 0
                while (digit := stream.read(1)[0]) & 0x80:
                    length, shift = length | (digit & 0x7F) << shift, shift + 7
                packets.append(kind + stream.read(length | digit << shift))
                if len(packets) == 1 and self._open is not None:
                    self._open.sendall(self._connack)


@contextmanager
def running(broker: Broker) -> Iterator[Broker]:
    """Start it, and end it in any case."""
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


def wait_until(condition: Callable[[], bool], complaint: str) -> None:
    """Poll until it is true."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, complaint
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
