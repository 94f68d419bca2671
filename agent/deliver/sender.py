"""What is sent next and what is on its way: the window that the broker allows, and who is suspected of ending it.

Delivery's thread alone uses it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Final

from agent.deliver.entry import Row
from agent.deliver.lanes import Lanes
from agent.deliver.link import FAILURE, Greeting, Link, Message
from agent.deliver.outbox import Outbox
from agent.deliver.suspects import Suspects

HEADER_MAX: Final = 128  # bytes of a PUBLISH besides topic and payload: fixed header, packet id, properties
PERMANENT: Final = frozenset({0x90, 0x95, 0x99, 0x9A, 0x9B})  # topic name, size, payload format, retain, QoS
TOO_LARGE: Final = "Packet too large"

logger = logging.getLogger(__name__)


class Sender:
    """Sends what only the latest counts of first, then the outbox's rows as the lanes have them.

    Args:
        outbox: whose rows are sent, and which learns what became of them.
        lanes: the rows' order.
        broker: as logs and alarms call it.
    """

    def __init__(self, outbox: Outbox, lanes: Lanes, *, broker: str) -> None:
        self._outbox = outbox
        self._lanes = lanes
        self._broker = broker
        self._suspects = Suspects()
        self._greeting = Greeting(window=0, packet_max=0, session_present=True)
        self._latest: dict[str, Message] = {}  # by topic, of those of which only the latest counts
        self._urgent: dict[str, Message] = {}  # the same, not sent yet
        self._urgent_in_flight = 0  # of those on their way, those that no outbox holds and that count
        self._in_flight: dict[int, Message | Row] = {}
        self._state_sent = 0.0
        self.progress_at = time.monotonic()
        self.acks: list[int] = []  # rows that the broker has and the outbox does not know of yet
        self.acks_since = 0.0
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    @property
    def busy(self) -> bool:
        """Whether the broker has yet to answer something."""
        return bool(self._in_flight)

    @property
    def suspicious(self) -> bool:
        """Whether a row seems to end connections: rows then go one by one."""
        return self._suspects.any

    @property
    def waiting(self) -> int:
        """How many messages wait that no outbox holds."""
        return len(self._urgent) + self._urgent_in_flight

    def supersede(self, message: Message) -> None:
        """Send a message instead of an unsent one of its topic."""
        if message.topic in self._urgent:
            self.counts["superseded"] += 1
        self._urgent[message.topic] = message
        if message.is_repeated:
            self._latest[message.topic] = message

    def repeat(self, topic: str, *, every_s: float) -> None:
        """Send the latest message of a topic again if it was not sent for so long."""
        if time.monotonic() - self._state_sent >= every_s and topic in self._latest:
            self._urgent.setdefault(topic, self._latest[topic])

    def begin(self, greeting: Greeting, online: Message) -> None:
        """Begin a connection: with a word that we are there, and the latest of everything."""
        self._greeting = greeting
        self.progress_at = time.monotonic()
        for message in (online, *self._latest.values()):
            self._urgent.setdefault(message.topic, message)

    def end(self, why: str) -> None:
        """Set the row aside that is proven to have ended the connection."""
        culprit = self._suspects.connection_ended([one for one in self._in_flight.values() if isinstance(one, Row)])
        if culprit is not None:
            self._outbox.bury(culprit, f"{why} whenever it is sent")
            self._lanes.rewind()

    def take_back(self) -> None:
        """Let the next connection send again what was in flight, with the same ids."""
        for message in self._in_flight.values():
            if isinstance(message, Row):
                self._outbox.busy.discard(message.seq)
            elif message.qos and message.topic not in self._urgent:
                self._urgent[message.topic] = message
        self._in_flight.clear()
        self._urgent_in_flight = 0
        self._lanes.rewind()

    def forget_rows(self) -> None:
        """Begin again with another outbox."""
        self.acks.clear()
        self._in_flight = {mid: message for mid, message in self._in_flight.items() if isinstance(message, Message)}
        self._lanes.rewind()

    def pump(self, link: Link) -> None:
        """Send as much as the window lets through."""
        window = 1 if self._suspects.any else self._greeting.window
        while len(self._in_flight) < window:
            message = self._urgent.pop(next(iter(self._urgent))) if self._urgent else self._lanes.next()
            if message is None:
                break
            self._send(link, message)

    def answered(self, mid: int, code: int, reason: str) -> None:
        """Take note of the broker's answer to a message."""
        message = self._in_flight.pop(mid, None)
        if message is None:
            return
        self.progress_at = time.monotonic()
        if code < FAILURE:
            self.counts["acknowledged"] += 1
        else:
            self.reasons[reason] += 1
            if self.reasons[reason] == 1:
                logger.error("%s refuses %s: %s", self._broker, message.topic, reason)
        if isinstance(message, Message):
            self._urgent_in_flight -= message.qos
            return
        self._suspects.answered(message)
        if code < FAILURE:
            if not self.acks:
                self.acks_since = time.monotonic()
            self.acks.append(message.seq)
            self._lanes.delivered(message)
        elif code in PERMANENT:
            self._outbox.bury(message, reason)
        else:
            self._outbox.busy.discard(message.seq)
            self._lanes.refused(message)
            self._outbox.alarm(f"{self._broker} refuses {message.topic}: {reason}; it is tried again")

    def _send(self, link: Link, message: Message | Row) -> None:
        wire = message if isinstance(message, Message) else self._lanes.message(message)
        size = len(wire.topic) + len(wire.payload) + HEADER_MAX
        if size > self._greeting.packet_max:  # sent, it would end this connection and every one after it
            self.reasons[TOO_LARGE] += 1
            if isinstance(message, Row):
                self._outbox.bury(message, f"{TOO_LARGE}: {size} bytes, the broker takes {self._greeting.packet_max}")
            return
        if wire.topic.endswith("/state"):
            self._state_sent = time.monotonic()
        if not self._in_flight:
            self.progress_at = time.monotonic()
        mid = link.send(wire)
        self._in_flight[mid] = message
        if isinstance(message, Row):
            self._outbox.busy.add(message.seq)
            self._suspects.sent(message)
        elif message.qos:
            self._urgent_in_flight += 1
