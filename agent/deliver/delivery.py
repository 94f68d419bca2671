"""Reports into the outbox, and from there to the broker: one thread owns both.

What is promised: a report that `publish` took is on the disk, and is sent until the broker acknowledges it, through
kills and power cuts of the agent and loss of the broker's memory (`resend`), at least once and always with the same id.
What is dropped, because the outbox is full or the broker refuses it for good, is told by a `gap`. Not promised under
MQTT 3.1.1: a topic that the broker's rights forbid, since its refusal looks like success there.

paho's callbacks only post events; only this thread writes the database and calls paho's `publish`.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import SecretStr

from agent.contract.reports import ConnectionReport
from agent.deliver.entry import Entry
from agent.deliver.gaps import Gaps
from agent.deliver.inbox import Inbox, OnCommand
from agent.deliver.lanes import Lanes
from agent.deliver.link import Greeting, Handlers, Link, Message
from agent.deliver.messages import kept, latest_message, latest_only
from agent.deliver.outbox import Outbox
from agent.deliver.publisher import DeliveryStatus, Report
from agent.deliver.sender import Sender
from agent.deliver.settings import DeliverySettings
from agent.deliver.standing import Standing
from agent.deliver.topics import Topics
from agent.errors import DeliveryError

if TYPE_CHECKING:  # the settings hold ours
    from agent.settings import MqttSettings

STATE_EVERY_S: Final = 30.0
SESSION_S: Final = 86_400  # the broker remembers us for a day: if it does not, it lost its memory, and we send again
GOODBYE_S: Final = 2.0
TICK_S: Final = 1.0
PRUNE_EVERY_S: Final = 60.0
COMMIT_WAIT_S: Final = 5.0  # a frame waits no longer for its commit; it is written all the same
ACKS_MAX: Final = 100  # acknowledgements are written together, this many or ...
ACKS_WAIT_S: Final = 0.25  # ... after this time; until then a kill repeats them, with the same ids
UNCOMMITTED_MAX: Final = 10_000  # reports that wait for a disk that does not answer
WATCHDOG_SLACK_S: Final = 10.0
JOURNAL_PROBLEM: Final = "mqtt.host is not set: reports are kept in the outbox only"

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Delivery:
    """A `Publisher` with an outbox, to one broker or to none.

    Args:
        mqtt: the broker; without `host` the outbox is all there is.
        device: the device's name in topics.
        limits: of the outbox.
        folder: of the outbox; None keeps it in memory, for runs that can be repeated.
        password: see `agent.settings.mqtt_password`.
        client_id: None takes the device's name, so that a restarted agent takes its old session over. Whatever else
            publishes for the same device at the same time needs a name of its own.
        state_every_s: the last `state` is sent again after this time, so that it does not expire at the broker.
        on_command: hears of `cmd/<name>`, in this class's thread: it must be quick.

    Raises:
        ConfigError: a hostile name, a certificate file that cannot be read, or another agent uses the outbox.
        OutputError: the outbox's folder cannot be used.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        *,
        device: str,
        limits: DeliverySettings | None = None,
        folder: Path | None = None,
        password: SecretStr | None = None,
        client_id: str | None = None,
        state_every_s: float = STATE_EVERY_S,
        on_command: OnCommand | None = None,
    ) -> None:
        self._mqtt = mqtt
        self._broker = f"{mqtt.host}:{mqtt.port}" if mqtt.host else "no broker"
        self._client_id = client_id or f"crackscout-{device}"
        self._password = password
        self._topics = Topics(mqtt.prefix, device)
        self._limits = limits or DeliverySettings()
        self._state_every_s = state_every_s
        self._inbox = Inbox(self._topics, on_command)
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        # Shared with the callers.
        self._standing = Standing(f"{self._broker} has not answered yet" if mqtt.host else JOURNAL_PROBLEM)
        self._lock = threading.Lock()  # of the next two
        self._closed = False
        self._late_drops = 0
        # The thread's own.
        boot_id = str(uuid.uuid4())
        self._oldest_s = 0.0
        self._batch: list[tuple[Sequence[Entry], threading.Event]] = []
        self._counts: Counter[str] = Counter()
        self._pruned_at = time.monotonic()
        self._looked_at = 0.0
        self._running = True
        self._link_number = 0
        self._outbox = Outbox(
            folder, self._limits, boot_id=boot_id, gaps=Gaps(self._topics, boot_id), deliver=mqtt.host is not None
        )
        self._lanes = Lanes(self._outbox, late_per_s=self._limits.backlog_per_s)
        self._sender = Sender(self._outbox, self._lanes, broker=self._broker)
        try:
            self._link = self._new_link() if mqtt.host else None
        except BaseException:
            self._outbox.close()
            raise
        self._tell()
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._thread.start()

    @property
    def status(self) -> DeliveryStatus:
        """How it goes at this moment."""
        outbox, sender, counts = self._outbox, self._sender, self._counts  # the thread's own: one look at each is whole
        connected, problem, pending, waiting = self._standing.look()
        late = self._late_drops
        dropped: dict[str, int] = dict(outbox.dropped.items())
        return DeliveryStatus(
            connected=connected,
            problem=problem,
            waiting=waiting,
            pending=pending,
            oldest_s=self._oldest_s if pending else 0.0,
            committed=counts["committed"],
            acknowledged=sender.counts["acknowledged"],
            superseded=sender.counts["superseded"],
            repeated=outbox.repeated,
            reasons=dict(sender.reasons.items()),
            dropped={**dropped, "closed": late} if late else dropped,
            commands_ignored=self._inbox.ignored,
            restarts=counts["restarts"],
            alarms=tuple(outbox.alarms),
        )

    def publish(self, *reports: Report) -> None:
        """See `Publisher.publish`. Waits for the disk, `COMMIT_WAIT_S` at most."""
        entries = [entry for report in reports if (entry := kept(report, self._topics)) is not None]
        latest = [message for report in reports if (message := latest_only(report, self._topics)) is not None]
        done = threading.Event()
        with self._lock:
            if self._closed:
                self._late_drops += len(reports)
                return
            self._events.put(partial(self._take, latest, entries, done))
        if threading.current_thread() is not self._thread and not done.wait(COMMIT_WAIT_S):
            logger.warning("the outbox's disk has not answered for %.0f s; frames go on", COMMIT_WAIT_S)

    def send_latest(self, message: Message) -> None:
        """Publish a message that is no report, like Home Assistant's discovery; each connection begins with it."""
        self._events.put(partial(self._sender.supersede, message))

    def wait_connected(self, timeout_s: float) -> None:
        """Wait for the broker, for those who would rather not begin without it.

        Raises:
            DeliveryError: it is not there in time, or refuses us.
        """
        problem = self._standing.wait_connected(timeout_s)
        if problem is not None:
            raise DeliveryError(problem)

    def flush(self, timeout_s: float) -> int:
        """Wait until the broker has acknowledged everything; return how many it has not."""
        return self._standing.wait_delivered(timeout_s)

    def resync(self, seconds: float) -> int:
        """Send again what the outbox still has of the last seconds; return how many reports.

        Raises:
            DeliveryError: the outbox does not answer.
        """
        return self._asked(partial(self._revive, seconds))

    def clear_alarms(self) -> int:
        """Acknowledge the alarms; return how many there were.

        Raises:
            DeliveryError: the outbox does not answer.
        """
        return self._asked(self._outbox.clear_alarms)

    def knows(self, id_: str) -> bool:
        """Whether the outbox has a report of this id.

        Raises:
            DeliveryError: the outbox does not answer.
        """
        return self._asked(lambda: self._outbox.holds(id_))

    def payload(self, id_: str) -> bytes | None:
        """Return the payload of the report of this id, as it was taken; None if the outbox has none (any more).

        Raises:
            DeliveryError: the outbox does not answer.
        """
        return self._asked(lambda: self._outbox.payload(id_))

    def close(self) -> None:
        """Tell the broker that we go offline, as far as it listens, and stop; what waits stays in the outbox."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        connected = self._standing.connected
        if connected:
            self._events.put(partial(self._sender.supersede, self._connection("offline")))
            self._events.put(lambda: None)
        left = self._flush_offline(GOODBYE_S if connected else 0)
        if left:
            what = "stay in the outbox" if self._outbox.persistent else "are lost"
            logger.warning("%d reports were not acknowledged by %s and %s", left, self._broker, what)
        self._events.put(self._stop)
        self._thread.join()
        if self._link is not None:
            self._link.close()
        self._outbox.close()

    def _flush_offline(self, timeout_s: float) -> int:
        told = threading.Event()
        self._events.put(told.set)
        told.wait(timeout_s)
        left = self.flush(timeout_s)
        return left if self._mqtt.host else 0

    def _asked(self, question: Callable[[], T]) -> T:
        """Have something done by the thread that owns the outbox."""
        if threading.current_thread() is self._thread:
            return question()
        answers: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._events.put(lambda: answers.put(question()))
        try:
            return answers.get(timeout=COMMIT_WAIT_S)
        except queue.Empty:
            raise DeliveryError("the outbox does not answer") from None

    def _new_link(self) -> Link:
        self._link_number += 1
        handlers = Handlers(
            up=self._up, down=self._down, refused=self._refused, unreachable=self._unreachable,
            answered=self._sender.answered, received=self._admit,
        )  # fmt: skip
        return Link(
            self._mqtt, password=self._password, client_id=self._client_id, session_s=SESSION_S,
            will=self._connection("offline"), subscription=self._inbox.subscription, handlers=handlers,
            post=partial(self._post, self._link_number),
        )  # fmt: skip

    def _admit(self, topic: str | None, payload: bytes, retained: bool) -> None:  # noqa: FBT001 - see Handlers
        """Take a command from paho's thread."""
        if self._inbox.admit():
            self._events.put(partial(self._inbox.received, topic, payload, retained=retained))

    def _post(self, link_number: int, call: Callable[[], None]) -> None:
        self._events.put(partial(self._heard, link_number, call))

    def _connection(self, status: str) -> Message:
        report = ConnectionReport.model_validate({"status": status, "device": self._topics.device})
        return latest_message(report, self._topics)

    # From here on everything runs in the thread.

    def _run(self) -> None:
        if self._link is not None:
            self._link.start()
        while self._running:
            self._step()
        self._guarded(self._write)

    def _step(self) -> None:
        self._guarded(self._next_event())
        for _ in range(256):  # whatever is there already shares a commit
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                break
            self._guarded(event)
        self._guarded(self._work)

    def _work(self) -> None:
        acks = self._sender.acks
        if self._batch or len(acks) >= ACKS_MAX or (acks and self._waited(self._sender.acks_since, ACKS_WAIT_S)):
            self._write()
        if self._standing.connected and self._link is not None:
            self._sender.repeat(self._topics.of("state"), every_s=self._state_every_s)
            self._sender.pump(self._link)
        self._look_after()
        self._tell()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except sqlite3.DatabaseError:  # a database that broke in use; a full disk is the outbox's own business
            logger.exception("the outbox failed and is opened anew")
            try:
                self._outbox.reopen()
                self._sender.forget_rows()
            except Exception:
                logger.exception("the outbox cannot be opened; reports wait for it")
                time.sleep(TICK_S)
        except Exception:  # the thread must outlive whatever comes
            logger.exception("delivery met an error and goes on")
            time.sleep(TICK_S)

    def _next_event(self) -> Callable[[], None]:
        wait = ACKS_WAIT_S if self._sender.acks else TICK_S
        if self._standing.connected:
            wait = min(wait, self._lanes.wait_s())
        try:
            return self._events.get(timeout=wait)
        except queue.Empty:
            return lambda: None

    def _heard(self, link_number: int, call: Callable[[], None]) -> None:
        if link_number == self._link_number:  # what one that was replaced has to say is of no interest
            call()

    def _take(self, latest: list[Message], entries: Sequence[Entry], done: threading.Event) -> None:
        for message in latest:
            self._sender.supersede(message)
        if entries:
            self._batch.append((entries, done))
            self._bound_batch()
        else:
            self._tell()
            done.set()

    def _bound_batch(self) -> None:
        while sum(len(entries) for entries, _ in self._batch) > UNCOMMITTED_MAX:
            entries, done = self._batch.pop(0)
            self._outbox.dropped.update(entry.kind for entry in entries)
            done.set()

    def _write(self) -> None:
        """Commit what came in and what was acknowledged, together."""
        entries = [entry for given, _ in self._batch for entry in given]
        stored = self._outbox.append(entries, self._sender.acks)
        self._sender.acks.clear()
        self._counts["committed"] += len(entries) - stored.refused
        self._lanes.added(stored.rows)
        batch, self._batch = self._batch, []
        self._tell()
        for _, done in batch:
            done.set()

    def _revive(self, seconds: float) -> int:
        revived = self._outbox.resync(seconds) if self._mqtt.host else 0
        self._lanes.rewind()
        return revived

    def _up(self, greeting: Greeting) -> None:
        if self._link is None:
            return
        self._take_back()
        if self._sender.acks:
            self._write()
        resent = 0 if greeting.session_present else self._outbox.resend(self._limits.resend_window_s)
        self._lanes.connected(self._outbox.last_seq(), settle_s=self._limits.settle_s if resent else 0.0)
        self._sender.begin(greeting, self._connection("online"))
        self._set_connection(connected=True, problem=None)
        logger.info("connected to %s, %d in flight at most", self._broker, greeting.window)
        if resent:
            logger.warning("%s has lost our session: %d reports are sent again", self._broker, resent)
        self._link.subscribe()

    def _down(self, why: str) -> None:
        if self._standing.connected:
            self._set_connection(connected=False, problem=f"{self._broker} is gone ({why})")
            self._sender.end(why)
            if "taken over" in why:
                self._outbox.alarm(f"another client of {self._broker} uses our client id {self._client_id!r}")
            if self._sender.suspicious:
                self._replace_link()
        self._take_back()

    def _refused(self, reason: str) -> None:
        who = f"user {self._mqtt.username!r}" if self._mqtt.username else "a client without a name"
        problem = f"{self._broker} refuses {who}: {reason}; check mqtt.username and its password"
        self._set_connection(connected=False, problem=problem, refused=True)

    def _unreachable(self, why: str) -> None:
        self._set_connection(connected=False, problem=f"{self._broker} cannot be reached ({why})")

    def _set_connection(self, *, connected: bool, problem: str | None, refused: bool = False) -> None:
        self._standing.connection(connected=connected, problem=problem, refused=refused, count=self._counted)

    def _take_back(self) -> None:
        if self._link is not None:
            self._link.forget_sent()
        self._sender.take_back()

    def _look_after(self) -> None:
        """The watchdog, and what is due from time to time."""
        now = time.monotonic()
        if now - self._looked_at < TICK_S / 2:
            return
        self._looked_at = now
        self._oldest_s = self._outbox.oldest_pending_s() or 0.0
        if self._waited(self._pruned_at, PRUNE_EVERY_S):
            self._pruned_at = now
            self._outbox.prune()
        if self._link is None:
            return
        if self._link.start():  # without effect while the network thread lives
            self._counts["restarts"] += 1
            self._down("the network thread died and was started again")
        patience = 2 * self._mqtt.keepalive + WATCHDOG_SLACK_S
        if self._standing.connected and self._sender.busy and self._waited(self._sender.progress_at, patience):
            self._set_connection(connected=False, problem=f"{self._broker} has not answered for {patience:.0f} s")
            self._replace_link()
            self._take_back()

    def _replace_link(self) -> None:
        self._counts["restarts"] += 1
        self._standing.disconnected()
        if self._link is not None:
            self._link.abandon()
        self._link = self._new_link()
        self._link.start()

    def _stop(self) -> None:
        self._running = False
        self._standing.disconnected()

    def _tell(self) -> None:
        """Renew what callers see, and wake those who wait for the end."""
        self._standing.told(*self._counted())

    def _counted(self) -> tuple[int, int]:
        """Return how many reports are pending, and how many messages wait."""
        if self._link is None:
            return 0, 0
        uncommitted = sum(len(entries) for entries, _ in self._batch)
        pending = self._outbox.pending - len(self._sender.acks) + uncommitted
        return pending, pending + self._sender.waiting

    @staticmethod
    def _waited(since: float, seconds: float) -> bool:
        return time.monotonic() - since >= seconds
