"""Commands from outside: `cmd/<name>` in, `ack/<id>` out. The agent answers or ignores, and never stops.

A command is strict UTF-8 JSON, at most 16 KB: `{"id": "...", "ts": ms, "args": {...}}`. Retained ones never come here.
What has no usable id is counted and not answered, since the id would go into a topic. An id that was seen is refused,
also after a restart: the outbox holds its acks. The dashboard's POSTs run through `CommandDesk.submit`.
"""

from __future__ import annotations

import json
import logging
import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NoReturn, Protocol

from pydantic import Field, StringConstraints, ValidationError, model_validator
from typing_extensions import Self

from agent.contract.ids import SEGMENT_PATTERN
from agent.contract.reports import AckReport, Verdict
from agent.contract.strict import Strict
from agent.deliver.publisher import Report
from agent.deliver.reporter import TIME_SYNCHRONISED
from agent.errors import CrackscoutError

PAYLOAD_MAX: Final = 16_384  # bytes
READ_MAX: Final = 262_144  # of a longer one not even the id is looked for
AGE_MAX_MS: Final = 60_000
WAITING_MAX: Final = 100
SEEN_MAX: Final = 1000
POLL_S: Final = 0.2
DAYS_30: Final = 2_592_000

Code = Literal["bad_json", "unknown", "out_of_range", "expired", "duplicate", "too_large", "failed"]
Segment = Annotated[str, Field(pattern=SEGMENT_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]

logger = logging.getLogger(__name__)


class Args(Strict):
    """Of a command; an unknown one is an error."""


class NoArgs(Args):
    """`pause`, `resume`, `end_mission`, `reload`, `clear`."""


class StartMission(Args):
    """`start_mission`: a new flight record; what is not given stays as it was entered last."""

    structure: Text | None = Field(default=None, description="What is inspected, as its owner names it.")
    inspector: Text | None = None
    standard: Text | None = Field(default=None, description="By which severity is graded: see mission.standard.")


class TakeSnapshot(Args):
    """`snapshot`: publish what a camera sees now."""

    camera: Segment | None = Field(default=None, description="null: every camera.")


class SetSetting(Args):
    """`set`: change a setting until the next restart; a new flight record begins with it."""

    key: Literal[
        "detect.gate",
        "detect.gate_threshold",
        "detect.segmenter_threshold",
        "record.frames",
        "logging.level",
        "delivery.backlog_per_s",
    ]
    value: bool | float | Annotated[str, StringConstraints(max_length=64)] | None


class Resync(Args):
    """`resync`: send again what the outbox still has."""

    seconds: int = Field(default=86_400, ge=1, le=DAYS_30, description="Of the last so many seconds.")


class Review(Args):
    """`review`: what a person says of a crack; one of verdict, merge_into and undo, or a note alone."""

    crack_id: Segment
    verdict: Verdict | None = None
    merge_into: Segment | None = Field(default=None, description="Id of the crack that this one is part of.")
    undo: Segment | None = Field(default=None, description="The `review_id` of what is taken back.")
    note: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = None
    reviewer: Text | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        said = sum(one is not None for one in (self.verdict, self.merge_into, self.undo))
        if said > 1 or (not said and self.note is None):
            raise ValueError("give one of verdict, merge_into and undo, or a note alone")
        return self


ARGS: Final[dict[str, type[Args]]] = {
    "pause": NoArgs,
    "resume": NoArgs,
    "start_mission": StartMission,
    "end_mission": NoArgs,
    "snapshot": TakeSnapshot,
    "set": SetSetting,
    "reload": NoArgs,
    "resync": Resync,
    "review": Review,
    "clear": NoArgs,
}
SLOW: Final = frozenset({"start_mission", "end_mission", "set", "reload"})  # told `accepted` before they are done


@dataclass(frozen=True, slots=True)
class Command:
    """One that is understood."""

    id: str
    name: str
    args: Args


class CommandError(CrackscoutError):
    """A command that cannot be followed; its ack says why."""

    def __init__(self, code: Code, text: str, *, id_: str | None = None) -> None:
        super().__init__(text)
        self.code: Code = code
        self.id = id_


class Way(Protocol):
    """What the desk needs of a delivery."""

    def publish(self, *reports: Report) -> None:
        """See `Delivery.publish`."""
        ...

    def knows(self, id_: str) -> bool:
        """See `Delivery.knows`."""
        ...


Handler = Callable[[Any], object]  # takes the command's args; raises CrackscoutError


def parse(name: str, payload: bytes, *, now_ms: int, needs_ts: bool = False, clock_synced: bool = True) -> Command:
    """Understand a command.

    Args:
        name: the last segment of its topic.
        payload: as it came.
        now_ms: by this computer's clock.
        needs_ts: the sender must say when it was sent: MQTT 3.1.1 does not let commands expire.
        clock_synced: whether this computer's clock can be relied on; if not, age is judged only where `needs_ts`.

    Raises:
        CommandError: with the id if it has a usable one.
    """
    if len(payload) > READ_MAX:
        raise CommandError("too_large", f"{len(payload)} bytes; a command has at most {PAYLOAD_MAX}")
    body = _object(payload)
    id_ = body.pop("id", None)
    if not isinstance(id_, str) or not re.fullmatch(SEGMENT_PATTERN, id_) or id_.endswith("\n"):
        raise CommandError("bad_json", "'id' must be a-z, 0-9, _ and -, at most 64")
    if len(payload) > PAYLOAD_MAX:
        raise CommandError("too_large", f"{len(payload)} bytes; a command has at most {PAYLOAD_MAX}", id_=id_)
    if name not in ARGS:
        raise CommandError("unknown", f"{name[:64]!r}: there are {', '.join(ARGS)}", id_=id_)
    ts, args = body.pop("ts", None), body.pop("args", {})
    if body:
        raise CommandError("bad_json", f"{next(iter(body))[:64]!r}: a command has id, ts and args only", id_=id_)
    _check_age(ts, now_ms, id_, needs_ts=needs_ts, clock_synced=clock_synced)
    try:
        return Command(id_, name, ARGS[name].model_validate(args, strict=False))
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'args'}: {e['msg']}" for e in exc.errors()[:3])
        raise CommandError("out_of_range", faults[:500], id_=id_) from exc


class CommandDesk:
    """Takes commands, has them done one after the other in a thread of its own, and answers.

    Args:
        handlers: what is done, by the command's name; one that is missing is answered with `failed`.
        way: where acks go.
        needs_ts: see `parse`.
        clock_synced: tells whether this computer's clock can be relied on.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        way: Way,
        *,
        needs_ts: Callable[[], bool] = lambda: False,
        clock_synced: Callable[[], bool] = TIME_SYNCHRONISED.exists,
    ) -> None:
        self._handlers = handlers
        self._way = way
        self._needs_ts = needs_ts
        self._clock_synced = clock_synced
        self._waiting: queue.Queue[tuple[str, bytes]] = queue.Queue(WAITING_MAX)
        self._seen: dict[str, None] = {}
        self._turn = threading.Lock()
        self._closing = threading.Event()
        self.counts: Counter[str] = Counter()  # done, rejected, unanswered, overrun
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)
        self._thread.start()

    @property
    def lives(self) -> bool:
        """Whether its thread does."""
        return self._thread.is_alive()

    def receive(self, name: str, payload: bytes) -> None:
        """Take a command as it came; returns at once. With too many waiting it is counted and not answered."""
        try:
            self._waiting.put_nowait((name, payload))
        except queue.Full:
            self.counts["overrun"] += 1

    def submit(self, name: str, payload: bytes) -> AckReport | None:
        """Do a command and return its last ack; None if it has no usable id."""
        with self._turn:
            return self._work_off(name, payload)

    def close(self) -> None:
        """Finish the command at hand and stop."""
        self._closing.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._next()

    def _next(self) -> None:
        try:
            self.submit(*self._waiting.get(timeout=POLL_S))
        except queue.Empty:
            return
        except Exception:  # the thread must outlive whatever comes
            logger.exception("a command met an error")

    def _work_off(self, name: str, payload: bytes) -> AckReport | None:
        try:
            command = self._understand(name, payload)
        except CommandError as exc:
            return self._reject(name, exc)
        if command.name in SLOW:
            self._way.publish(_ack(command.id, name, "accepted"))
        try:
            handler = self._handlers.get(command.name)
            if handler is None:
                _fail(f"{command.name} is not possible here")
            handler(command.args)
        except CommandError as exc:
            return self._reject(name, CommandError(exc.code, str(exc), id_=command.id))
        except CrackscoutError as exc:
            return self._reject(name, CommandError("failed", str(exc), id_=command.id))
        except Exception as exc:
            logger.exception("command %s failed", command.name)
            return self._reject(name, CommandError("failed", f"{type(exc).__name__}; see the log", id_=command.id))
        self.counts["done"] += 1
        ack = _ack(command.id, name, "done")
        self._way.publish(ack)
        return ack

    def _understand(self, name: str, payload: bytes) -> Command:
        now_ms = time.time_ns() // 1_000_000
        command = parse(name, payload, now_ms=now_ms, needs_ts=self._needs_ts(), clock_synced=self._clock_synced())
        if command.id in self._seen or any(self._way.knows(id_) for id_ in ack_ids(command.id)):
            raise CommandError("duplicate", "this id was used before; give each command its own", id_=command.id)
        self._seen[command.id] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        return command

    def _reject(self, name: str, exc: CommandError) -> AckReport | None:
        if exc.id is None:
            self.counts["unanswered"] += 1
            return None
        self.counts["rejected"] += 1
        ack = _ack(exc.id, name, "rejected", code=exc.code, error=str(exc))
        self._way.publish(ack)
        return ack


def ack_ids(command_id: str) -> tuple[str, ...]:
    """Return the ids under which the outbox holds a command's acks."""
    return tuple(f"ack:{command_id}:{status}" for status in ("accepted", "done", "rejected"))


def _ack(
    id_: str, name: str, status: Literal["accepted", "done", "rejected"], *, code: Code | None = None,
    error: str | None = None,
) -> AckReport:  # fmt: skip
    shown = name[:64].encode("utf-8", "replace").decode()
    error = None if error is None else error.encode("utf-8", "replace").decode()
    return AckReport(id=id_, cmd=shown, status=status, code=code, error=error, ts=time.time_ns() // 1_000_000)


def _object(payload: bytes) -> dict[str, Any]:
    try:
        body = json.loads(payload.decode("utf-8"), object_pairs_hook=_without_twins, parse_constant=_refuse_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as exc:
        raise CommandError("bad_json", f"not JSON in UTF-8: {exc}"[:200]) from exc
    if not isinstance(body, dict):
        raise CommandError("bad_json", "a command is an object with id, ts and args")
    return body


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise ValueError("a key is given twice")
    return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _check_age(ts: object, now_ms: int, id_: str, *, needs_ts: bool, clock_synced: bool) -> None:
    if ts is None and not needs_ts:
        return
    if not isinstance(ts, int) or isinstance(ts, bool):
        raise CommandError("bad_json", "'ts' must be the milliseconds since 1970 at which it was sent", id_=id_)
    if (needs_ts or clock_synced) and abs(now_ms - ts) > AGE_MAX_MS:
        raise CommandError("expired", f"sent {(now_ms - ts) / 1000:.0f} s ago; at most 60 s are allowed", id_=id_)


def _fail(text: str) -> NoReturn:
    raise CommandError("failed", text)
