from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.reports import AckReport
from agent.deliver.commands import ARGS, PAYLOAD_MAX, Command, CommandDesk, CommandError, Resync, ack_ids, parse
from agent.deliver.publisher import Report
from agent.errors import CrackscoutError, InputError

NOW = 1_800_000_000_000


def body(**fields: Any) -> bytes:
    return json.dumps({"id": "c1", "ts": NOW, **fields}).encode()


def understood(payload: bytes, name: str = "pause", **how: Any) -> Command:
    return parse(name, payload, now_ms=NOW, **how)


class Way:
    """Keeps acks as an outbox does: one of each id."""

    def __init__(self) -> None:
        self.acks: list[AckReport] = []

    def publish(self, *reports: Report) -> None:
        for report in reports:
            assert isinstance(report, AckReport)
            if f"ack:{report.id}:{report.status}" not in self._ids():
                self.acks.append(report)

    def knows(self, id_: str) -> bool:
        return id_ in self._ids()

    def _ids(self) -> set[str]:
        return {f"ack:{ack.id}:{ack.status}" for ack in self.acks}


@pytest.fixture
def way() -> Way:
    return Way()


@pytest.fixture
def desk(way: Way) -> Iterator[Callable[..., CommandDesk]]:
    desks: list[CommandDesk] = []

    def make(**handlers: Callable[[Any], None]) -> CommandDesk:
        desks.append(CommandDesk(handlers, way, clock_synced=lambda: True))
        return desks[-1]

    yield make
    for made in desks:
        made.close()


def test_a_command_is_understood() -> None:
    command = understood(body(args={"seconds": 60}), "resync")
    assert (command.id, command.name, command.args) == ("c1", "resync", Resync(seconds=60))
    assert understood(b'{"id":"x"}').id == "x", "ts and args may be missing under MQTT 5"


@pytest.mark.parametrize(
    ("name", "payload", "code"),
    [
        pytest.param("pause", b"\xff\xfe", "bad_json", id="not UTF-8"),
        pytest.param("pause", b"", "bad_json", id="empty"),
        pytest.param("pause", b"[]", "bad_json", id="no object"),
        pytest.param("pause", b"[" * 200_000, "bad_json", id="very deep"),
        pytest.param("pause", b'{"id":"a","id":"b"}', "bad_json", id="a key twice"),
        pytest.param("pause", b'{"id":"a","ts":NaN}', "bad_json", id="NaN"),
        pytest.param("pause", b'{"id":"a","ts":' + b"9" * 5000 + b"}", "bad_json", id="a number of 5000 digits"),
        pytest.param("pause", b'{"id":"a","ts":1.5}', "bad_json", id="a time with a fraction"),
        pytest.param("pause", b'{"id":"a","ts":true}', "bad_json", id="a time that is none"),
        pytest.param("pause", b'{"id":"a","extra":1}', "bad_json", id="an unknown key"),
        pytest.param("pause", b'{"id":"a/b"}', "bad_json", id="an id that would lead to another topic"),
        pytest.param("pause", b'{"id":"a\\n"}', "bad_json", id="an id with a line break"),
        pytest.param("pause", b'{"id":7}', "bad_json", id="an id that is a number"),
        pytest.param("pause", b'{"ts":1}', "bad_json", id="no id"),
        pytest.param("explode", body(), "unknown", id="unknown"),
        pytest.param("pause", body(args={"x": 1}), "out_of_range", id="an argument it does not have"),
        pytest.param("pause", body(args=5), "out_of_range", id="arguments that are none"),
        pytest.param("resync", body(args={"seconds": 0}), "out_of_range", id="too small"),
        pytest.param("resync", body(args={"seconds": 10**12}), "out_of_range", id="too large"),
        pytest.param("set", body(args={"key": "mqtt.host", "value": "evil"}), "out_of_range", id="a forbidden key"),
        pytest.param("review", body(args={"crack_id": "../x", "verdict": "unsure"}), "out_of_range", id="a path"),
        pytest.param("start_mission", body(args={"structure": "a\0b"}), "out_of_range", id="control characters"),
        pytest.param("pause", body(ts=NOW - 61_000), "expired", id="old"),
        pytest.param("pause", body(ts=NOW + 61_000), "expired", id="from the future"),
        pytest.param("pause", body(args={"x": "y" * PAYLOAD_MAX}), "too_large", id="large"),
        pytest.param("pause", b"x" * 1_000_000, "too_large", id="huge"),
    ],
)
def test_what_does_not_fit_is_named(name: str, payload: bytes, code: str) -> None:
    with pytest.raises(CommandError) as caught:
        understood(payload, name)
    assert caught.value.code == code
    assert len(str(caught.value)) < 600


def test_under_mqtt_3_the_sender_must_say_when_it_was_sent() -> None:
    with pytest.raises(CommandError, match="'ts' must be the milliseconds") as caught:
        understood(b'{"id":"x"}', needs_ts=True)
    assert caught.value.id == "x"


def test_a_device_that_does_not_know_the_time_does_not_judge_age_unless_it_must() -> None:
    assert understood(body(ts=1), clock_synced=False).id == "c1"
    with pytest.raises(CommandError, match="sent"):
        understood(body(ts=1), clock_synced=False, needs_ts=True)


def test_it_is_done_once_and_answered(desk: Callable[..., CommandDesk], way: Way) -> None:
    done: list[Any] = []
    counter = desk(resync=done.append)
    payload = json.dumps({"id": "c1", "args": {"seconds": 5}}).encode()
    for _ in range(3):
        counter.submit("resync", payload)
    assert done == [Resync(seconds=5)]
    assert [(ack.status, ack.code) for ack in way.acks] == [("done", None), ("rejected", "duplicate")]


def test_an_id_that_was_used_before_the_restart_is_refused(desk: Callable[..., CommandDesk], way: Way) -> None:
    done: list[Any] = []
    desk(pause=done.append).submit("pause", b'{"id":"c1"}')
    ack = desk(pause=done.append).submit("pause", b'{"id":"c1"}')
    assert ack is not None
    assert (ack.code, len(done)) == ("duplicate", 1)
    assert way.knows(ack_ids("c1")[1])


def test_slow_ones_are_accepted_first(desk: Callable[..., CommandDesk], way: Way) -> None:
    desk(reload=lambda _: None).submit("reload", b'{"id":"c1"}')
    assert [ack.status for ack in way.acks] == ["accepted", "done"]


def test_a_failure_is_told(desk: Callable[..., CommandDesk], way: Way) -> None:
    def fail(error: Exception) -> Callable[[Any], None]:
        def handler(_: Any) -> None:
            raise error

        return handler

    counter = desk(
        pause=fail(InputError("no camera")), resume=fail(KeyError("secret")), clear=fail(CommandError("expired", "x"))
    )
    for name in ("pause", "resume", "clear", "snapshot"):
        counter.submit(name, json.dumps({"id": name}).encode())
    assert [(ack.code, ack.error) for ack in way.acks] == [
        ("failed", "no camera"), ("failed", "KeyError; see the log"), ("expired", "x"),
        ("failed", "snapshot is not possible here"),
    ]  # fmt: skip


def test_without_a_usable_id_nothing_is_answered(desk: Callable[..., CommandDesk], way: Way) -> None:
    counter = desk()
    assert counter.submit("pause", b'{"id":"a/b"}') is None
    assert (way.acks, counter.counts["unanswered"]) == ([], 1)


def test_more_than_can_wait_are_counted(desk: Callable[..., CommandDesk]) -> None:
    counter = desk(pause=lambda _: time.sleep(0.2))
    for number in range(300):
        counter.receive("pause", json.dumps({"id": f"c{number}"}).encode())
    assert counter.counts["overrun"] >= 190


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["id", "ts", "args", "seconds", "key", "value", "crack_id", "verdict", "structure", "camera"])
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "id": st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True) | JSON,
        "ts": st.just(NOW) | JSON,
        "args": st.dictionaries(KEYS, JSON, max_size=4) | JSON,
        "more": JSON,
    },
).map(lambda value: json.dumps(value).encode())


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A payload that was fine, with some bytes exchanged, left out or put in."""
    payload = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(payload) - 1)))
        payload[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(payload)


GOOD = [
    body(args={"seconds": 60}), body(args={"key": "detect.gate_threshold", "value": 0.5}), body(),
    body(args={"crack_id": "abc", "verdict": "confirmed", "note": "ä"}), body(args={"structure": "Pier 4"}),
]  # fmt: skip


@settings(max_examples=10_000 if os.environ.get("CRACKSCOUT_FAULTS_LONG") else 1000)
@given(name=st.sampled_from(list(ARGS)) | st.text(max_size=10), payload=st.binary(max_size=60) | SHAPED | mutated())
def test_whatever_comes_is_a_command_or_a_named_fault(name: str, payload: bytes) -> None:
    try:
        command = understood(payload, name)
    except CommandError as exc:
        AckReport(id=exc.id or "x", cmd="x", status="rejected", code=exc.code, error=str(exc), ts=1)
    else:
        assert isinstance(command.args, ARGS[name])


@settings(max_examples=100)
@given(payloads=st.lists(st.tuples(st.sampled_from(list(ARGS)), SHAPED | mutated()), max_size=20))
def test_the_desk_answers_or_ignores_and_never_stops(payloads: list[tuple[str, bytes]]) -> None:
    way = Way()

    def refuse(_: Any) -> None:
        raise CrackscoutError("no")

    counter = CommandDesk(dict.fromkeys(ARGS, refuse), way)
    try:
        for name, payload in payloads:
            counter.receive(name, payload)
        ack = counter.submit("pause", b'{"id":"the-last"}')
        assert counter.lives
        assert ack is not None
        assert ack.error == "no"
    finally:
        counter.close()
