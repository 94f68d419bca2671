"""What `crack-agent` says over MQTT, read back from a real broker by a subscriber that is no part of it."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
import yaml

from agent.contract.schema_files import FOLDER
from agent.record import read_flight
from tests.support.broker import Broker, Subscriber, running
from tests.support.commands import call, crack, variables


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running(Broker(tmp_path_factory.mktemp("broker"))) as started:
        yield started


@pytest.fixture
def subscriber(broker: Broker) -> Iterator[Subscriber]:
    reader = Subscriber(broker)
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(3):
        picture = np.random.default_rng(index).integers(190, 200, (150, 200, 3)).astype(np.uint8)
        picture[70:73, 30:150] = 60
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    return folder


def assert_valid(topic: str, payload: dict[str, Any]) -> None:
    """Against the shipped file, not the model."""
    schema = json.loads((FOLDER / f"{topic}.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(payload)


def test_a_published_replay_is_read_back_and_fits_the_shipped_schemas(
    broker: Broker, subscriber: Subscriber, photos: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    done = crack(
        "crack-agent", "replay", photos, "--out", tmp_path / "o", "--bundle", tiny_bundle_folder, "--publish",
        "--mm-per-px", 0.5, CRACKSCOUT_MQTT__HOST="127.0.0.1", CRACKSCOUT_MQTT__PORT=str(broker.port),
        CRACKSCOUT_DEVICE="cart-7",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "every report was acknowledged" in done.stdout
    subscriber.wait_for(lambda: any(m.payload.get("status") == "offline" for m in subscriber.messages("connection")))
    base = "crackscout/v1/cart-7"
    by_topic = {message.topic for message in subscriber.messages()}
    pictures = {message.topic: message.raw for message in subscriber.messages() if "/evidence/" in message.topic}
    told = subscriber.payloads("/crack")
    assert {f"{base}/evidence/{payload['crack_id']}": payload["evidence_sha256"] for payload in told} == {
        topic: hashlib.sha256(jpeg).hexdigest() for topic, jpeg in pictures.items()
    }
    assert by_topic - set(pictures) == {
        f"{base}/{name}" for name in ("connection", "info", "state", "mission", "crack", "coverage")
    }
    for message in subscriber.messages():
        if message.topic not in pictures:
            assert_valid(message.topic.rsplit("/", 1)[1], message.payload)
        assert message.qos == 1
    recorded = list(read_flight(tmp_path / "o").cracks())
    assert [payload["seq"] for payload in told] == [1, 2, 3, 4, 5, 6]
    final = [payload for payload in told if payload["event"] == "final"]
    assert {(payload["crack_id"], payload["revision"]) for payload in final} == {(row.crack_id, 1) for row in recorded}
    told = [payload for payload in told if payload["event"] == "new"]
    assert [payload["id"] for payload in told] == [row.id for row in recorded]
    assert [payload["length_mm"] for payload in told] == pytest.approx([row.length_mm for row in recorded], abs=0.01)
    assert [payload["event"] for payload in subscriber.payloads("/mission")] == ["start", "end"]
    assert subscriber.payloads("/mission")[-1]["complete"] is True


def test_a_second_replay_tells_the_same_ids(
    broker: Broker, subscriber: Subscriber, photos: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        crack(
            "crack-agent", "replay", photos, "--out", tmp_path / name, "--bundle", tiny_bundle_folder, "--publish",
            CRACKSCOUT_MQTT__HOST="127.0.0.1", CRACKSCOUT_MQTT__PORT=str(broker.port), CRACKSCOUT_DEVICE="again",
        )  # fmt: skip
    subscriber.wait_for(lambda: len(subscriber.messages("again/crack")) == 12)
    told = subscriber.payloads("again/crack")
    assert told[:6] == told[6:]


def test_publishing_without_a_broker_in_the_settings_says_what_to_set(
    photos: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    done = crack("crack-agent", "replay", photos, "--out", tmp_path / "o", "--bundle", tiny_bundle_folder, "--publish")
    assert done.returncode == 2
    assert "CRACKSCOUT_MQTT__HOST" in done.stderr


def test_a_broker_that_is_not_there_is_a_fault_at_run_time_and_named(
    photos: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    done = crack(
        "crack-agent", "replay", photos, "--out", tmp_path / "o", "--bundle", tiny_bundle_folder, "--publish",
        CRACKSCOUT_MQTT__HOST="127.0.0.1", CRACKSCOUT_MQTT__PORT="9",
    )  # fmt: skip
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def device_yaml(folder: Path, device: str, source: Path, bundle: Path, broker: Broker) -> Path:
    path = folder / "device.yaml"
    settings = {
        "version": 1,
        "device": device,
        "bundle": str(bundle),
        "cameras": [{"name": "belly", "source": str(source), "mm_per_px": 0.5}],
        "record": {"frames": "evidence", "dir": str(folder / "flights")},
        "delivery": {"dir": str(folder / "outbox")},
        "mqtt": {"host": "127.0.0.1", "port": broker.port},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def test_the_service_watches_its_cameras_and_delivers(
    broker: Broker, subscriber: Subscriber, photos: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    config = device_yaml(tmp_path, "uav-1", photos, tiny_bundle_folder, broker)
    done = crack("crack-agent", "run", "--config", config)
    assert done.returncode == 0, done.stderr
    subscriber.wait_for(lambda: len(subscriber.messages("uav-1/mission")) == 2)
    told = [payload for payload in subscriber.payloads("uav-1/crack") if payload["event"] == "new"]
    assert [(payload["mode"], payload["camera"], payload["scale_mm_px"]) for payload in told] == [
        ("live", "belly", 0.5)
    ] * 3
    for payload in told:
        assert_valid("crack", payload)
        assert payload["mono_ns"] > 0
    (record,) = (tmp_path / "flights").iterdir()
    assert read_flight(record).header.mode == "live"
    assert len(list((record / "frames").iterdir())) == 3


def test_the_service_ends_in_order_when_it_is_told_to(
    broker: Broker, subscriber: Subscriber, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    picture = cv2.imencode(".png", np.full((900, 1200, 3), 180, np.uint8))[1].tobytes()
    for index in range(2000):
        (many / f"{index}.png").write_bytes(picture)
    config = device_yaml(tmp_path, "uav-2", many, tiny_bundle_folder, broker)
    process = subprocess.Popen(
        call("crack-agent", "run", "--config", config), env=variables(), stderr=subprocess.PIPE, text=True
    )
    subscriber.wait_for(lambda: len(subscriber.messages("uav-2/mission")) >= 1)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    subscriber.wait_for(lambda: any(p["event"] == "end" for p in subscriber.payloads("uav-2/mission")))
    assert subscriber.payloads("uav-2/mission")[-1]["complete"] is False
    assert subscriber.payloads("uav-2/state")[-1]["state"] == "stopped"


def test_a_service_without_cameras_says_so(tmp_path: Path) -> None:
    (tmp_path / "device.yaml").write_text("version: 1\n")
    done = crack("crack-agent", "run", "--config", tmp_path / "device.yaml")
    assert done.returncode == 2
    assert "cameras: none" in done.stderr
