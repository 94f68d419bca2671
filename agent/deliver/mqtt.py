"""Reports to an MQTT 5 broker, at QoS 1, without an outbox.

What this loses, and says so: reports still waiting when the process ends (`flush` returns how many), reports beyond
`HELD_MAX` while the broker is away (`status.dropped`), and reports that the broker refuses (`status.refused`, by
reason). What it cannot know: what the broker loses after it acknowledged. Lost connections lose nothing as long as the
process lives.

One thread owns all state and is the only one to call paho's `publish`; paho's callbacks only post events to it. Reports
wait here and not in paho, whose own queue forgets the broker's ReceiveMaximum when it sends again after a reconnect.
"""

from __future__ import annotations

import logging
import queue
import ssl
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import SecretStr

from agent.contract.reports import ConnectionReport, Payload, Topic
from agent.deliver.publisher import DeliveryStatus, Report
from agent.deliver.topics import RULES, TOPIC_OF, Rule, Topics
from agent.errors import ConfigError, DeliveryError
from agent.settings import MqttSettings

HELD_MAX: Final = 10_000  # reports, about 15 MB
WINDOW_MAX: Final = 100  # in flight; more is slower
STATE_EVERY_S: Final = 30.0
WILL_DELAY_S: Final = 5  # a short break of the connection is no news
SESSION_EXPIRY_S: Final = (
    60  # longer than the will's delay: the will is sent when the session ends, if that comes first
)
GOODBYE_S: Final = 2.0
HEADER_MAX: Final = 64  # bytes of a PUBLISH besides topic and payload: fixed header, packet id, properties
TICK_S: Final = 1.0
_TOO_LARGE: Final = "Packet too large"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Message:
    topic: Topic
    payload: bytes

    @property
    def rule(self) -> Rule:
        return RULES[self.topic]


class MqttPublisher:
    """A `Publisher` to one broker. Connects in the background, and again whenever it must, after 1 to 30 s.

    Args:
        mqtt: `host` must be set.
        device: the device's name in topics.
        password: see `agent.settings.mqtt_password`.
        client_id: None takes the device's name, so that a restarted agent takes its old session over. Whatever else
            publishes for the same device at the same time needs a name of its own.
        state_every_s: the last `state` is sent again after this time, so that it does not expire at the broker.

    Raises:
        ConfigError: a hostile name, no host, or a certificate file that cannot be read.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        *,
        device: str,
        password: SecretStr | None = None,
        client_id: str | None = None,
        state_every_s: float = STATE_EVERY_S,
    ) -> None:
        if mqtt.host is None:
            raise ConfigError("mqtt.host is not set: name the broker")
        self._broker = f"{mqtt.host}:{mqtt.port}"
        self._user = mqtt.username
        self._qos = mqtt.qos
        self._topics = Topics(mqtt.prefix, device)
        self._device = device
        self._state_every_s = state_every_s
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        # Shared with the callers, under _changed.
        self._changed = threading.Condition()
        self._counts: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._connected = False
        self._refused_entry = False
        self._problem: str | None = f"{self._broker} has not answered yet"
        self._closed = False
        # The thread's own.
        self._latest: dict[Topic, _Message] = {}  # of the topics of which only the latest counts
        self._urgent: dict[Topic, _Message] = {}  # the same, not sent yet
        self._reports: deque[_Message] = deque()
        self._in_flight: dict[int, _Message] = {}
        self._window = 0
        self._packet_max = 0
        self._state_sent = 0.0
        self._running = True
        self._client = self._make_client(mqtt, password, client_id or f"crackscout-{device}")
        self._thread = threading.Thread(target=self._run, name="mqtt-publisher", daemon=True)
        self._thread.start()

    @property
    def status(self) -> DeliveryStatus:
        """How it goes at this moment."""
        with self._changed:
            return DeliveryStatus(
                connected=self._connected,
                problem=self._problem,
                waiting=self._counts["waiting"],
                acknowledged=self._counts["acknowledged"],
                superseded=self._counts["superseded"],
                refused=dict(self._refusals),
                dropped=self._counts["dropped"],
            )

    def publish(self, report: Report) -> None:
        """Take a report; returns at once. Beyond `HELD_MAX` waiting ones it is dropped and counted."""
        message = _message(report)
        with self._changed:
            full = self._counts["waiting"] >= HELD_MAX and not message.rule.latest_only
            if self._closed or full:
                self._counts["dropped"] += 1
                first = self._counts["dropped"] == 1
            else:
                self._counts["waiting"] += 1
                self._events.put(partial(self._take, message))
                return
        if first:
            logger.warning(
                "reports are dropped: %s", "closed" if self._closed else f"{HELD_MAX} wait for {self._broker}"
            )

    def wait_connected(self, timeout_s: float) -> None:
        """Wait for the broker, for those who would rather not begin without it.

        Raises:
            DeliveryError: it is not there in time, or refuses us.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._connected or self._refused_entry, timeout_s)
            if not self._connected:
                raise DeliveryError(f"{self._problem}")

    def flush(self, timeout_s: float) -> int:
        """Wait until the broker has acknowledged or refused everything; return how many it has not."""
        with self._changed:
            self._changed.wait_for(lambda: self._counts["waiting"] == 0, timeout_s)
            return self._counts["waiting"]

    def close(self) -> None:
        """Tell the broker that we go offline, as far as it listens, and stop; logs what was not acknowledged."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            if self._connected:
                self._counts["waiting"] += 1
                self._events.put(partial(self._take, self._connection("offline")))
        left = self.flush(GOODBYE_S if self._connected else 0)
        if left:
            logger.warning("%d reports were not acknowledged by %s and are lost", left, self._broker)
        self._events.put(self._stop)
        self._thread.join()
        self._client.loop_stop()

    # The connection: callbacks run in paho's thread, which an exception would end; they do nothing but post.

    def _make_client(self, mqtt: MqttSettings, password: SecretStr | None, client_id: str) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
        client.suppress_exceptions = True
        client.max_inflight_messages = 0  # unlimited: the window is ours
        client.reconnect_delay_set(1, 30)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        if mqtt.username is not None or password is not None:
            client.username_pw_set(mqtt.username, password.get_secret_value() if password else None)
        if mqtt.tls.enabled:
            try:
                client.tls_set(ca_certs=str(mqtt.tls.ca_file) if mqtt.tls.ca_file else None)
            except (OSError, ssl.SSLError) as exc:
                raise ConfigError(f"{mqtt.tls.ca_file}: no usable certificates ({exc}); see mqtt.tls.ca_file") from exc
        will = self._connection("offline")
        properties = _properties(PacketTypes.WILLMESSAGE, will.rule)
        properties.WillDelayInterval = WILL_DELAY_S
        client.will_set(self._topics.of("connection"), will.payload, qos=self._qos, retain=True, properties=properties)
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = SESSION_EXPIRY_S
        # An old session is taken over rather than ended, since its end would send its will.
        client.connect_async(str(mqtt.host), mqtt.port, keepalive=mqtt.keepalive, clean_start=False, properties=session)
        return client

    def _connection(self, status: str) -> _Message:
        return _message(ConnectionReport.model_validate({"status": status, "device": self._device}))

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._events.put(partial(self._refused, str(reason)))
        else:
            window = min(WINDOW_MAX, getattr(properties, "ReceiveMaximum", WINDOW_MAX))
            packet_max = getattr(properties, "MaximumPacketSize", sys.maxsize)
            self._events.put(partial(self._up, window, packet_max))

    def _on_connect_fail(self, _client: Client, _data: object) -> None:
        exc = sys.exc_info()[1]  # paho calls this while it handles the error, and does not pass it on
        self._events.put(partial(self._unreachable, str(exc) or "no answer"))

    def _on_disconnect(
        self, _client: Client, _data: object, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        said = str(reason) if flags.is_disconnect_packet_from_server else "the connection broke"
        self._events.put(partial(self._down, said))

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._events.put(partial(self._answered, mid, str(reason) if reason.is_failure else None))

    # From here on everything runs in the publisher's own thread.

    def _run(self) -> None:
        self._client.loop_start()
        while self._running:
            self._step()

    def _step(self) -> None:
        try:
            self._next_event()()
            self._repeat_state()
            self._pump()
        except Exception:  # the thread must outlive whatever comes; what was on its way stays counted as waiting
            logger.exception("the MQTT publisher met an error and goes on")
            time.sleep(TICK_S)

    def _next_event(self) -> Callable[[], None]:
        try:
            return self._events.get(timeout=TICK_S)
        except queue.Empty:
            return self._tick

    def _tick(self) -> None:
        """Start paho's thread again should it have died; without effect while it lives."""
        if self._client.loop_start() is MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._down("the network thread died and was started again")

    def _stop(self) -> None:
        self._running = False
        self._set_connection(connected=False, problem=self._problem)
        self._client.disconnect()

    def _up(self, window: int, packet_max: int) -> None:
        self._take_back()
        self._window, self._packet_max = window, packet_max
        self._set_connection(connected=True, problem=None)
        logger.info("connected to %s, %d in flight at most", self._broker, window)
        for message in (self._connection("online"), *self._latest.values()):
            if message.topic not in self._urgent:
                self._count("waiting", 1)
                self._take(message)

    def _down(self, why: str) -> None:
        if self._connected:
            self._set_connection(connected=False, problem=f"{self._broker} is gone ({why})")
        self._take_back()

    def _refused(self, reason: str) -> None:
        who = f"user {self._user!r}" if self._user else "a client without a name"
        problem = f"{self._broker} refuses {who}: {reason}; check mqtt.username and its password"
        self._set_connection(connected=False, problem=problem, refused=True)

    def _unreachable(self, why: str) -> None:
        self._set_connection(connected=False, problem=f"{self._broker} cannot be reached ({why})")

    def _set_connection(self, *, connected: bool, problem: str | None, refused: bool = False) -> None:
        with self._changed:
            if problem and problem != self._problem:
                logger.warning("%s", problem)
            self._connected, self._problem, self._refused_entry = connected, problem, refused
            self._changed.notify_all()

    def _take_back(self) -> None:
        """Put what was in flight back in front of the queue; the next connection sends it again, with the same ids."""
        self._client.drop_out_messages()
        for message in reversed(self._in_flight.values()):
            if not message.rule.latest_only:
                self._reports.appendleft(message)
            elif message.topic in self._urgent:
                self._supersede()
            else:
                self._urgent[message.topic] = message
        self._in_flight.clear()

    def _take(self, message: _Message) -> None:
        if not message.rule.latest_only:
            self._reports.append(message)
            return
        if message.topic in self._urgent:
            self._supersede()
        self._urgent[message.topic] = message
        if message.topic != "connection":
            self._latest[message.topic] = message

    def _repeat_state(self) -> None:
        due = time.monotonic() - self._state_sent >= self._state_every_s
        if self._connected and due and "state" in self._latest and "state" not in self._urgent:
            self._count("waiting", 1)
            self._take(self._latest["state"])

    def _pump(self) -> None:
        """Send as much as the window lets through: `connection`, `info` and `state` first, then reports in order."""
        while self._connected and len(self._in_flight) < self._window and (self._urgent or self._reports):
            message = self._urgent.pop(next(iter(self._urgent))) if self._urgent else self._reports.popleft()
            topic = self._topics.of(message.topic)
            if len(topic) + len(message.payload) + HEADER_MAX > self._packet_max:
                self._settle(message, _TOO_LARGE)  # sent, it would end this connection and every one after it
                continue
            if message.topic == "state":
                self._state_sent = time.monotonic()
            properties = _properties(PacketTypes.PUBLISH, message.rule)
            sent = self._client.publish(
                topic, message.payload, qos=self._qos, retain=message.rule.retain, properties=properties
            )
            # Even where the connection just broke (rc NO_CONN) it counts as in flight: `_down` takes it back.
            self._in_flight[sent.mid] = message

    def _answered(self, mid: int, refusal: str | None) -> None:
        message = self._in_flight.pop(mid, None)
        if message is not None:
            self._settle(message, refusal)

    def _settle(self, message: _Message, refusal: str | None) -> None:
        with self._changed:
            self._counts["waiting"] -= 1
            if refusal is None:
                self._counts["acknowledged"] += 1
            else:
                self._refusals[refusal] += 1
                if self._refusals[refusal] == 1:
                    logger.error("%s refuses %s: %s", self._broker, self._topics.of(message.topic), refusal)
            self._changed.notify_all()

    def _supersede(self) -> None:
        self._count("waiting", -1)
        self._count("superseded", 1)

    def _count(self, what: str, change: int) -> None:
        with self._changed:
            self._counts[what] += change
            self._changed.notify_all()


def _message(report: Payload) -> _Message:
    return _Message(TOPIC_OF[type(report)], report.model_dump_json(by_alias=True).encode())


def _properties(packet: int, rule: Rule) -> Properties:
    """Return the properties of a JSON message."""
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    properties.ContentType = "application/json"
    properties.PayloadFormatIndicator = 1  # UTF-8
    if rule.expiry_s is not None:
        properties.MessageExpiryInterval = rule.expiry_s
    return properties
