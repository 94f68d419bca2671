"""The service as systemd sees it: a process of its own, a real notify socket, real signals."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from paho.mqtt import publish

from agent.record import read_flight
from agent.settings import PASSWORD_VARIABLE, load_usable
from tests.support.broker import Broker, Subscriber, running
from tests.support.commands import crack
from tests.support.service import service, wait_until


@pytest.fixture
def config(tmp_path: Path, tiny_bundle_folder: Path) -> Path:
    """One camera whose folder has two photos of a crack."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(2):
        picture = np.random.default_rng(index).integers(190, 200, (150, 200, 3)).astype(np.uint8)
        picture[70:73, 30:150] = 60
        cv2.imwrite(str(photos / f"{index}.png"), picture)
    return write(tmp_path / "device.yaml", bundle=str(tiny_bundle_folder))


def write(path: Path, **changes: Any) -> Path:
    old = yaml.safe_load(path.read_text()) if path.exists() else {}
    base = {
        "version": 1,
        "cameras": [{"name": "crown", "source": str(path.parent / "photos")}],
        "record": {"dir": str(path.parent / "flights"), "frames": "none"},
        "delivery": {"dir": str(path.parent / "outbox")},
    }
    path.write_text(yaml.safe_dump({**base, **old, **changes}))
    return path


def flights(config: Path) -> list[Path]:
    folder = config.parent / "flights"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_it_says_ready_then_feeds_the_watchdog_while_it_has_nothing_to_do_and_stops_when_told(config: Path) -> None:
    with service(config, WATCHDOG_USEC="1000000") as (agent, systemd):
        systemd.wait_for("READY=1")
        systemd.wait_for("every source has come to its end")
        fed = systemd.count("WATCHDOG=1")
        systemd.wait_for("WATCHDOG=1", times=fed + 3)
        assert agent.stop() == 0
        systemd.wait_for("STOPPING=1")
    (record,) = flights(config)
    assert read_flight(record).header.complete
    assert read_flight(record).header.frames == 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param({"nonsense": 1}, "nonsense: not a setting", id="a setting that is none"),
        pytest.param({"bundle": "/nowhere"}, "/nowhere", id="a bundle that is not there"),
        pytest.param({"cameras": []}, "cameras: none", id="no camera"),
        pytest.param({"record": {"dir": "/proc/crackscout"}}, "/proc/crackscout: cannot be written", id="no place"),
    ],
)
def test_bad_settings_at_start_are_safe_mode_and_mending_them_ends_it(
    config: Path, fault: dict[str, Any], said: str
) -> None:
    good = config.read_text()
    port = free_port()
    write(config, **fault, metrics={"port": port})
    with service(config, WATCHDOG_USEC="1000000") as (agent, systemd):
        systemd.wait_for("READY=1")
        systemd.wait_for("safe mode, nothing is captured")
        assert said in agent.log
        systemd.wait_for("WATCHDOG=1", times=3)
        assert metrics(port)["safe_mode"] == 1
        assert flights(config) == []
        config.write_text(good)
        agent.hang_up()
        systemd.wait_for("every source has come to its end")
        assert len(flights(config)) == 1
        assert agent.stop() == 0


def test_a_missing_settings_file_is_safe_mode_too(tmp_path: Path) -> None:
    with service(tmp_path / "device.yaml") as (agent, systemd):
        systemd.wait_for("safe mode, nothing is captured")
        assert "device.yaml: cannot be read" in agent.log
        assert agent.stop() == 0


def test_a_reload_begins_a_new_record_with_the_new_settings(config: Path) -> None:
    port = free_port()
    with service(write(config, metrics={"port": port})) as (agent, systemd):
        systemd.wait_for("every source has come to its end")
        (first,) = flights(config)
        write(config, device="renamed")
        agent.hang_up()
        agent.wait_for_log("every source has come to its end", times=2)
        second = next(path for path in flights(config) if path != first)
        assert (read_flight(first).header.device, read_flight(second).header.device) == ("crackscout", "renamed")
        assert systemd.count("RELOADING=1") == 1
        figures = metrics(port)  # of both runs
        assert (figures['frames_total{result="seen"}'], figures["cracks_total"], figures["safe_mode"]) == (4, 4, 0)
        assert figures['stage_seconds_count{stage="detect"}'] == 4
        assert agent.stop() == 0


def test_a_reload_of_bad_settings_keeps_the_old_ones_and_says_why(config: Path) -> None:
    with service(config) as (agent, systemd):
        systemd.wait_for("every source has come to its end")
        write(config, device="No Good Name")
        agent.hang_up()
        agent.wait_for_log("the old settings stay")
        systemd.wait_for("the last reload was refused")
        assert "device: 'No Good Name' does not fit" in agent.log
        assert len(flights(config)) == 1
        assert agent.stop() == 0


def test_a_reload_in_mid_flight_ends_the_record_in_order(config: Path) -> None:
    photos = config.parent / "photos"
    picture = cv2.imencode(".png", np.full((600, 800, 3), 180, np.uint8))[1].tobytes()
    for index in range(2000):
        (photos / f"many-{index}.png").write_bytes(picture)
    with service(config) as (agent, _):
        wait_until(lambda: any(flights(config)), lambda: agent.log)
        for index in range(2000):
            (photos / f"many-{index}.png").unlink(missing_ok=True)
        write(config, device="renamed")
        agent.hang_up()
        agent.wait_for_log("a mission begins", times=2)
        agent.wait_for_log("every source has come to its end")
        headers = {read_flight(path).header.device: read_flight(path).header for path in flights(config)}
        assert headers["renamed"].complete
        assert not headers["crackscout"].complete
        assert agent.stop() == 0


def test_no_password_reaches_the_log_systemd_the_metrics_the_prints_or_any_file(config: Path) -> None:
    port = free_port()
    cameras = [{"name": "crown", "source": "rtsp://pilot:hunter2-é@127.0.0.1:9/main"}]
    mqtt = {"host": "127.0.0.1", "port": 9, "username": "cart"}
    write(config, cameras=cameras, logging={"level": "debug", "format": "json"}, mqtt=mqtt, metrics={"port": port})
    secret = {PASSWORD_VARIABLE: "hunter3"}
    with service(config, **secret, WATCHDOG_USEC="1000000") as (agent, systemd):
        systemd.wait_for("READY=1")
        wait_until(lambda: any(flights(config)), lambda: agent.log)
        systemd.wait_for("WATCHDOG=1", times=4)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            page = answer.read().decode()
        agent.hang_up()
        systemd.wait_for("RELOADING=1")
        agent.stop()
        told = agent.log + "".join(systemd.lines) + page
    for command in ("print-config", "check"):
        done = crack("crack-agent", command, "--config", config, cwd=config.parent, **secret)
        told += done.stdout + done.stderr
    files = [path for path in config.parent.rglob("*") if path.is_file() and path != config]
    written = b"".join(path.read_bytes() for path in files)
    assert "pilot:***@" in told
    assert b"pilot:***@" in written
    assert "hunter" not in told
    assert b"hunter" not in written


def test_safe_mode_is_told_over_mqtt_and_a_command_ends_it(config: Path, tmp_path: Path) -> None:
    good = yaml.safe_load(config.read_text())
    folder = tmp_path / "broker"
    folder.mkdir()
    with running(Broker(folder)) as broker:
        good |= {"device": "lost", "mqtt": {"host": "127.0.0.1", "port": broker.port}}
        config.write_text(yaml.safe_dump({**good, "nonsense": 1}))
        subscriber = Subscriber(broker)
        with service(config) as (agent, _):
            subscriber.wait_for(lambda: len(subscriber.messages("lost/state")) >= 1)
            state = subscriber.payloads("lost/state")[0]
            assert (state["state"], state["mission_id"]) == ("degraded", None)
            assert "nonsense: not a setting" in state["alarms"][0]
            config.write_text(yaml.safe_dump(good))
            command = json.dumps({"id": "again", "ts": time.time_ns() // 1_000_000, "args": {}})
            publish.single("crackscout/v1/lost/cmd/reload", command, qos=1, hostname="127.0.0.1", port=broker.port)
            subscriber.wait_for(lambda: any(p["event"] == "end" for p in subscriber.payloads("lost/mission")))
            assert len(flights(config)) == 1
            assert agent.stop() == 0
        subscriber.close()


def test_a_device_whose_name_does_not_fit_speaks_under_no_other(config: Path) -> None:
    write(config, device="No Good Name", mqtt={"host": "127.0.0.1", "port": 9}, logging={"format": "json"})
    usable = load_usable(config)
    assert usable.mqtt.host is None
    assert usable.logging.format == "json"
