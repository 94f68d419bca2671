"""One MQTT client, and what paho does behind our back held in check.

Its callbacks run in paho's network thread, which an exception would end while `is_connected()` stays true: they do
nothing but hand events on. Messages wait in the outbox and not in paho, whose own queue is in memory, without bound,
and forgets the broker's ReceiveMaximum when it sends again after a reconnect.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from pydantic import SecretStr

from agent.deliver.client import make_client

if TYPE_CHECKING:  # the settings hold ours
    from agent.settings import MqttSettings

WINDOW_MAX: Final = 100  # in flight; more is slower
WILL_DELAY_S: Final = 5  # a short break of the connection is no news
FAILURE: Final = 0x80  # reasons from here on are refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What goes over the wire."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry_s: int | None = None
    content_type: str = "application/json"
    seq: int | None = None  # of the outbox
    is_repeated: bool = False  # a newer one takes an unsent one's place, and each connection begins with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What the broker says of itself on connection."""

    window: int
    packet_max: int
    session_present: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """Who hears of what happens. All but `received` are called by way of `post`."""

    up: Callable[[Greeting], None]  # connected
    down: Callable[[str], None]  # not any more, and why
    refused: Callable[[str], None]  # the broker does not let us in, and why
    unreachable: Callable[[str], None]  # there is no broker, and why
    answered: Callable[[int, int, str], None]  # the broker has a message or does not want it: number, code, reason
    received: Callable[[str | None, bytes, bool], None]  # in paho's thread: topic (None: not UTF-8), payload, retained


class Link:
    """A connection to one broker, made in the background, and again whenever it must be, after 1 to 30 s.

    Args:
        mqtt: `host` must be set.
        password: see `agent.settings.mqtt_password`.
        client_id: by which the broker knows our session.
        session_s: how long the broker keeps it while we are away.
        will: its last message, sent by the broker once we are gone.
        subscription: the topics that we want to hear of; None hears nothing.
        handlers: who hears of what happens.
        post: takes their calls from paho's thread to the one they belong to.

    Raises:
        ConfigError: a certificate file that cannot be read.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        *,
        password: SecretStr | None,
        client_id: str,
        session_s: int,
        will: Message,
        subscription: str | None,
        handlers: Handlers,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        self._v5 = mqtt.protocol == "5"
        self._subscription = subscription
        self._handlers = handlers
        self._post = post
        self._client = self._make(mqtt, password, client_id, will)
        if self._v5:
            session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            session.SessionExpiryInterval = session_s
            # an old session is taken over rather than ended, since its end would send its will
            self._client.connect_async(
                str(mqtt.host), mqtt.port, keepalive=mqtt.keepalive, clean_start=False, properties=session
            )
        else:
            self._client.connect_async(str(mqtt.host), mqtt.port, keepalive=mqtt.keepalive)

    def start(self) -> bool:
        """Start the network thread; return whether it was not running."""
        return self._client.loop_start() is MQTTErrorCode.MQTT_ERR_SUCCESS

    def send(self, message: Message) -> int:
        """Hand a message to paho and return its number. Also where the connection just broke it counts as sent.

        Raises:
            ValueError: no such message can be sent.
        """
        properties = _Packed(message) if self._v5 else None
        sent = self._client.publish(
            message.topic,
            message.payload,
            qos=message.qos,
            retain=message.retain,
            properties=properties,  # type: ignore[arg-type] # packed is all that is asked of it
        )
        return int(sent.mid)

    def subscribe(self) -> None:
        """Ask for the commands; without those that were kept for latecomers, since a command is for now."""
        if self._subscription is None:
            return
        if self._v5:
            options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            self._client.subscribe(self._subscription, options=options)
        else:
            self._client.subscribe(self._subscription, qos=1)

    def forget_sent(self) -> None:
        """Let paho forget what was not acknowledged: the outbox sends it again."""
        self._client.drop_out_messages()

    def close(self) -> None:
        """Disconnect in an orderly way; returns once the network thread has ended."""
        self._client.disconnect()
        self._client.loop_stop()
        left = self._client.socket()  # where the thread ended before it saw the disconnection
        if left is not None:
            left.close()

    def abandon(self) -> None:
        """Stop without waiting."""
        threading.Thread(target=self.close, name="mqtt-abandoned", daemon=True).start()

    def _make(self, mqtt: MqttSettings, password: SecretStr | None, client_id: str, will: Message) -> Client:
        client = make_client(mqtt, password, client_id, keeps_session=True)
        client.suppress_exceptions = True
        client.max_inflight_messages = 0  # unlimited: the window is ours
        client.reconnect_delay_set(1, 30)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        properties = _properties(will.content_type, will.expiry_s, PacketTypes.WILLMESSAGE) if self._v5 else None
        if properties is not None:
            properties.WillDelayInterval = WILL_DELAY_S
        client.will_set(will.topic, will.payload, qos=will.qos, retain=will.retain, properties=properties)
        return client

    def _on_connect(
        self, _client: Client, _data: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._post(partial(self._handlers.refused, str(reason)))
            return
        greeting = Greeting(
            window=min(WINDOW_MAX, getattr(properties, "ReceiveMaximum", WINDOW_MAX)),
            packet_max=getattr(properties, "MaximumPacketSize", sys.maxsize),
            session_present=flags.session_present,
        )
        self._post(partial(self._handlers.up, greeting))

    def _on_connect_fail(self, _client: Client, _data: object) -> None:
        exc = sys.exc_info()[1]  # paho calls this while it handles the error, and does not pass it on
        self._post(partial(self._handlers.unreachable, str(exc) or "no answer"))

    def _on_disconnect(
        self, _client: Client, _data: object, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        why = str(reason) if flags.is_disconnect_packet_from_server else "the connection broke"
        self._post(partial(self._handlers.down, why))

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        text = str(reason) if reason.value >= FAILURE else ""
        self._post(partial(self._handlers.answered, mid, reason.value, text))

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        topic: str | None = None
        with suppress(UnicodeDecodeError):
            topic = message.topic
        self._handlers.received(topic, bytes(message.payload), message.retain)


class _Packed:
    """The properties of a PUBLISH. paho's own take longer to make and pack than all else that a message costs."""

    def __init__(self, message: Message) -> None:
        self._body = _packed(message.content_type, message.expiry_s)
        if message.seq is not None:
            seq = str(message.seq).encode()
            self._body += b"\x26\x00\x03seq" + len(seq).to_bytes(2, "big") + seq  # a user property

    def pack(self) -> bytes:
        """Return them as they go over the wire; they are always shorter than 128 bytes."""
        return bytes([len(self._body)]) + self._body


@lru_cache(maxsize=32)
def _packed(content_type: str, expiry_s: int | None) -> bytes:
    packed: bytes = _properties(content_type, expiry_s, PacketTypes.PUBLISH).pack()  # type: ignore[no-untyped-call]
    return packed[1:]  # without their length


def _properties(content_type: str, expiry_s: int | None, packet: int) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    properties.ContentType = content_type
    if content_type == "application/json":
        properties.PayloadFormatIndicator = 1  # UTF-8
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
    return properties
