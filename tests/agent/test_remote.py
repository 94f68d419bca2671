"""The service under command, over a real broker."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.record import read_flight
from tests.support.broker import Broker, Subscriber, running
from tests.support.service import service, wait_until

NUMBERS = itertools.count()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(Broker(tmp_path)) as started:
        yield started


@pytest.fixture
def subscriber(broker: Broker) -> Iterator[Subscriber]:
    reader = Subscriber(broker)
    yield reader
    reader.close()


@pytest.fixture
def config(tmp_path: Path, tiny_bundle_folder: Path, broker: Broker) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        path = tmp_path / "device.yaml"
        camera = "rendered://tunnel?seconds=3600&fps=4&width_px=320&height_px=200&noise=0.004"
        settings = {
            "version": 1,
            "device": "cart",
            "bundle": str(tiny_bundle_folder),
            "cameras": [{"name": "belly", "source": camera}],
            "record": {"dir": str(tmp_path / "flights")},
            "delivery": {"dir": str(tmp_path / "outbox"), "min_free_mb": 0, "ballast_mb": 0},
            "mqtt": {"host": "127.0.0.1", "port": broker.port, "home_assistant": True},
            **changes,
        }
        path.write_text(yaml.safe_dump(settings))
        return path

    return write


class Sender:
    """Sends commands and reads their acks."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def raw(self, name: str, payload: bytes, *, retain: bool = False) -> None:
        self._subscriber._client.publish(f"crackscout/v1/cart/cmd/{name}", payload, qos=1, retain=retain)

    def __call__(self, name: str, **args: Any) -> dict[str, Any]:
        """Return the last ack."""
        id_ = f"c{next(NUMBERS)}"
        self.raw(name, json.dumps({"id": id_, "ts": time.time_ns() // 1_000_000, "args": args}).encode())
        wait_until(
            lambda: any(ack["status"] != "accepted" for ack in self._acks(id_)), lambda: f"{name}: {self._acks(id_)}"
        )
        return self._acks(id_)[-1]

    def _acks(self, id_: str) -> list[dict[str, Any]]:
        return self._subscriber.payloads(f"/ack/{id_}")


def frames(subscriber: Subscriber) -> int:
    states = subscriber.payloads("/state")
    return states[-1]["frames"] if states else 0


def test_a_service_obeys_answers_and_outlives_what_it_is_sent(
    config: Callable[..., Path], subscriber: Subscriber, tmp_path: Path
) -> None:
    path = config(mission={"structure": "Pier 4", "inspector": "A. Nobody"}, severity={"standard": "mlit-tunnel"})
    send = Sender(subscriber)
    send.raw("pause", b'{"id":"kept"}', retain=True)  # before it is there: a command is for now
    with service(path) as (agent, _):
        subscriber.wait_for(lambda: len(subscriber.payloads("cart/crack")) >= 1)
        (start,) = subscriber.payloads("/mission")
        assert (start["structure"], start["inspector"], start["standard"]) == ("Pier 4", "A. Nobody", "mlit-tunnel")
        assert {crack["severity_standard"] for crack in subscriber.payloads("cart/crack")} == {"mlit-tunnel r1 crown"}
        for payload in (b"\xff\xfe\x00", b"", b"[" * 10_000, b'{"id":"a/b"}', b"x" * 300_000, b'{"id":1}'):
            send.raw("pause", payload)
        assert send("nonsense")["code"] == "unknown"
        assert send("set", key="mqtt.host", value="evil")["code"] == "out_of_range"
        assert send("snapshot", camera="nose")["code"] == "out_of_range"
        assert send("pause")["status"] == "done"
        subscriber.wait_for(lambda: subscriber.payloads("/state")[-1]["state"] == "paused")
        assert send("resume")["status"] == "done"
        subscriber.wait_for(lambda: subscriber.payloads("/state")[-1]["state"] == "running")
        assert send("snapshot")["status"] == "done"
        subscriber.wait_for(lambda: bool(subscriber.messages("/snapshot/belly")))
        assert subscriber.messages("/snapshot/belly")[-1].raw.startswith(b"\xff\xd8")
        before = len(subscriber.payloads("cart/crack"))
        assert send("resync", seconds=3600)["status"] == "done"
        subscriber.wait_for(lambda: any(p["backfill"] for p in subscriber.payloads("cart/crack")[before:]))
        assert send("clear")["status"] == "done"
        assert send("set", key="detect.segmenter_threshold", value=5)["code"] == "out_of_range"
        assert send("set", key="detect.segmenter_threshold", value=0.25)["status"] == "done"
        subscriber.wait_for(lambda: [p["event"] for p in subscriber.payloads("/mission")][-2:] == ["end", "start"])
        assert subscriber.payloads("/info")[-1]["segmenter_threshold"] == 0.25
        assert send("end_mission")["status"] == "done"
        subscriber.wait_for(lambda: subscriber.payloads("/mission")[-1]["event"] == "end")
        assert "no mission is going on" in send("end_mission")["error"]
        refused = send("start_mission", standard="ACI")
        assert (refused["code"], "'ACI' is no standard; there are " in refused["error"]) == ("out_of_range", True)
        graded = len(subscriber.payloads("cart/crack"))
        assert send("start_mission", structure="Pier 5", standard="aci-224r humid")["status"] == "done"
        subscriber.wait_for(lambda: subscriber.payloads("/mission")[-1]["event"] == "start")
        last = subscriber.payloads("/mission")[-1]
        assert (last["structure"], last["inspector"], last["standard"]) == ("Pier 5", "A. Nobody", "aci-224r humid")
        subscriber.wait_for(lambda: len(subscriber.payloads("cart/crack")) > graded)
        assert {p["severity_standard"] for p in subscriber.payloads("cart/crack")[graded:]} == {"aci-224r r1 humid"}
        assert not subscriber.messages("/ack/kept"), "a retained command is ignored"
        assert agent.stop() == 0
    assert sum(message.payload["status"] == "offline" for message in subscriber.messages("/connection")) == 1
    headers = {folder.name: read_flight(folder).header for folder in (tmp_path / "flights").iterdir()}
    assert len(headers) == 3
    assert headers[last["mission_id"]].structure == "Pier 5"


def test_a_review_is_told_as_a_later_revision_in_flight_and_afterwards(
    config: Callable[..., Path], subscriber: Subscriber, tmp_path: Path
) -> None:
    send = Sender(subscriber)

    def told(crack_id: str) -> list[dict[str, Any]]:
        return [payload for payload in subscriber.payloads("cart/crack") if payload["crack_id"] == crack_id]

    def review(crack_id: str, **args: Any) -> dict[str, Any]:
        before = len(told(crack_id))
        assert send("review", crack_id=crack_id, **args)["status"] == "done"
        subscriber.wait_for(lambda: any(payload["review_id"] for payload in told(crack_id)[before:]))
        return next(payload for payload in told(crack_id)[before:] if payload["review_id"])

    path = config()
    with service(path) as (agent, _):
        subscriber.wait_for(lambda: any(p["event"] == "update" for p in subscriber.payloads("cart/crack")))
        crack = next(p["crack_id"] for p in subscriber.payloads("cart/crack") if p["event"] == "update")
        rejected = review(crack, verdict="rejected", reviewer="B", note="a cable")
        assert (rejected["review"], rejected["reviewer"]) == ("rejected", "B")
        assert send("review", crack_id="nobody", verdict="confirmed")["code"] == "out_of_range"
        assert send("end_mission")["status"] == "done"
        subscriber.wait_for(lambda: subscriber.payloads("/mission")[-1]["event"] == "end")
        subscriber.wait_for(lambda: told(crack)[-1]["event"] in {"final", "retracted"})
        assert told(crack)[-1]["review"] == "rejected", "the agent's last word does not forget the person's"
        assert review(crack, undo=rejected["review_id"])["review"] is None
        assert agent.stop() == 0
    with service(config(mission={"start": "command"})) as (agent, _):  # of a flight of another boot
        subscriber.wait_for(lambda: subscriber.payloads("/connection")[-1]["status"] == "online")
        last = review(crack, verdict="confirmed")
        assert (last["event"], last["review"]) == (told(crack)[-2]["event"], "confirmed")
        assert agent.stop() == 0
    mission = {payload["mission_id"] for payload in told(crack)}
    assert len(mission) == 1
    revisions = list({payload["id"]: payload["revision"] for payload in told(crack)}.values())
    assert len(set(revisions)) == len(revisions), "each report has a revision of its own"
    assert max(revisions) == last["revision"]
    record = read_flight(tmp_path / "flights" / mission.pop())
    own = max(row.revision for row in record.tracks() if row.crack_id == crack)
    assert last["revision"] == own + 3


def test_a_service_that_waits_for_its_mission_begins_it_on_command(
    config: Callable[..., Path], subscriber: Subscriber, tmp_path: Path
) -> None:
    with service(config(mission={"start": "command"})) as (agent, _):
        subscriber.wait_for(lambda: bool(subscriber.payloads("/connection")))
        assert "cmd/start_mission begins one" in Sender(subscriber)("pause")["error"]
        assert not (tmp_path / "flights").exists() or not list((tmp_path / "flights").iterdir())
        assert Sender(subscriber)("start_mission")["status"] == "done"
        subscriber.wait_for(lambda: bool(subscriber.payloads("cart/crack")))
        assert agent.stop() == 0


def test_home_assistant_can_read_what_it_is_offered(config: Callable[..., Path], subscriber: Subscriber) -> None:
    """Every topic that the discovery names is one that we use, and every field one that the payload has."""
    with service(config()) as (agent, _):
        subscriber.wait_for(lambda: bool(subscriber.payloads("homeassistant/device/cart/config")))
        subscriber.wait_for(lambda: bool(subscriber.payloads("cart/crack")) and bool(subscriber.payloads("cart/state")))
        offered = subscriber.payloads("homeassistant/device/cart/config")[-1]
        assert agent.stop() == 0
    for name, component in offered["components"].items():
        assert {"platform", "unique_id"} <= set(component), name
        if component["platform"] == "button":
            assert component["command_topic"].startswith("crackscout/v1/cart/cmd/")
            continue
        payload = subscriber.payloads(component["state_topic"])[-1]
        field = component["value_template"].split("value_json.")[1].split()[0]
        assert field in payload, name
    (available,) = offered["availability"]
    assert available["payload_available"] in {p["status"] for p in subscriber.payloads(available["topic"])}
