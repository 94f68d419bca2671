"""Missions by arming, and `telemetry`: a vehicle on a real socket, a real broker, the service as a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from agent.capture.telemetry.links import MavlinkLinks
from agent.contract.reports import TelemetryReport
from agent.errors import ConfigError
from agent.record import read_flight
from agent.settings import Settings
from agent.vehicle import take_vehicle
from tests.support.broker import Broker, Subscriber, running
from tests.support.commands import ROOT
from tests.support.service import service, wait_until
from tests.support.vehicle import vehicle

pytest.importorskip("pymavlink", reason="the extra mavlink is not installed")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(Broker(tmp_path)) as started:
        yield started


@pytest.fixture
def subscriber(broker: Broker) -> Iterator[Subscriber]:
    reader = Subscriber(broker)
    yield reader
    reader.close()


def written(folder: Path, bundle: Path, **changes: Any) -> Path:
    path = folder / "device.yaml"
    camera = "rendered://tunnel?seconds=3600&fps=4&width_px=320&height_px=200&noise=0.004"
    settings = {
        "version": 1,
        "device": "cart",
        "bundle": str(bundle),
        "cameras": [{"name": "belly", "source": camera}],
        "record": {"dir": str(folder / "flights")},
        "delivery": {"dir": str(folder / "outbox"), "min_free_mb": 0, "ballast_mb": 0},
        **changes,
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def events(subscriber: Subscriber) -> list[str]:
    return [payload["event"] for payload in subscriber.payloads("/mission")]


@pytest.mark.parametrize("how", ["udp", "tcp"])
def test_arming_starts_a_mission_a_lost_link_keeps_it_and_disarming_ends_it(
    tmp_path: Path, tiny_bundle_folder: Path, broker: Broker, subscriber: Subscriber, how: Literal["udp", "tcp"]
) -> None:
    with vehicle(how) as flown:
        path = written(
            tmp_path,
            tiny_bundle_folder,
            mission={"start": "arming"},
            place={"telemetry": {"mavlink": flown.url}},
            mqtt={"host": "127.0.0.1", "port": broker.port},
        )
        with service(path) as (agent, _):
            subscriber.wait_for(lambda: bool(subscriber.payloads("/connection")))
            assert events(subscriber) == []
            flown.armed = True
            wait_until(lambda: events(subscriber) == ["start"], lambda: agent.log)
            subscriber.wait_for(lambda: len(subscriber.payloads("/telemetry")) >= 3)
            flown.silent = True
            if how == "tcp":
                flown.hang_up()
            agent.wait_for_log("no heartbeat for")
            frames = subscriber.payloads("/state")[-1]["frames"]
            subscriber.wait_for(lambda: subscriber.payloads("/state")[-1]["frames"] > frames)
            assert events(subscriber) == ["start"]
            flown.silent = False
            agent.wait_for_log("the vehicle is heard again")
            flown.armed = False
            wait_until(lambda: events(subscriber) == ["start", "end"], lambda: agent.log)
            agent.wait_for_log("the mission is over")
            flown.armed = True
            wait_until(lambda: events(subscriber) == ["start", "end", "start"], lambda: agent.log)
            assert agent.stop() == 0
    first, second = (
        payload["mission_id"] for payload in subscriber.payloads("/mission") if payload["event"] == "start"
    )
    assert first != second
    assert read_flight(tmp_path / "flights" / first).header.complete
    told = subscriber.messages("/telemetry")
    assert not any(message.retained or message.qos for message in told)
    assert all(message.expiry_s is not None and 0 < message.expiry_s <= 60 for message in told)
    reports = [TelemetryReport.model_validate(message.payload) for message in told]
    known = next(report for report in reports if report.lat is not None and report.standoff_m is not None)
    assert known.lat == pytest.approx(52.50001)
    assert known.lon == pytest.approx(13.4)
    assert known.alt_m == pytest.approx(91.5)
    assert known.heading_deg == pytest.approx(123.45)
    assert known.standoff_m == pytest.approx(4.5)
    assert known.armed is True
    span_s = (reports[-1].ts - reports[0].ts) / 1000
    assert len(reports) <= span_s + 3, "once a second at most, anew in each mission"


def test_a_vehicle_that_flies_already_starts_a_mission_and_no_other_vehicle_ends_it(
    tmp_path: Path, tiny_bundle_folder: Path
) -> None:
    with vehicle() as flown:
        flown.armed = True
        path = written(
            tmp_path, tiny_bundle_folder, mission={"start": "arming"}, place={"telemetry": {"mavlink": flown.url}}
        )
        with service(path) as (agent, _):
            agent.wait_for_log("the vehicle is armed: a mission begins")
            wait_until(
                lambda: (tmp_path / "flights").is_dir() and any((tmp_path / "flights").iterdir()), lambda: agent.log
            )
            with vehicle(system=2, port=flown.port):  # on the same link, on the ground
                flown.silent = True
                agent.wait_for_log("no heartbeat for")
            assert "the vehicle is disarmed" not in agent.log
            assert agent.stop() == 0


def test_without_a_link_it_is_safe_mode_that_says_what_to_set(tmp_path: Path, tiny_bundle_folder: Path) -> None:
    with service(written(tmp_path, tiny_bundle_folder, mission={"start": "arming"})) as (agent, systemd):
        systemd.wait_for("safe mode, nothing is captured")
        assert "mission.start: arming needs the vehicle's MAVLink link; set place.telemetry.mavlink" in agent.log
        assert agent.stop() == 0


def test_without_pymavlink_it_says_what_to_install(tmp_path: Path, tiny_bundle_folder: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "pymavlink.py").write_text("raise ImportError('not installed')\n")  # stands before the installed one
    path = written(
        tmp_path, tiny_bundle_folder, mission={"start": "arming"}, place={"telemetry": {"mavlink": "udpin:127.0.0.1:9"}}
    )
    with service(path, PYTHONPATH=f"{hidden}{os.pathsep}{ROOT}") as (agent, systemd):
        systemd.wait_for("safe mode, nothing is captured")
        assert 'MAVLink needs pymavlink: pip install "crackscout[mavlink]"' in agent.log
        assert agent.stop() == 0


def test_of_two_vehicles_it_asks_which() -> None:
    cameras = [
        {
            "name": name,
            "source": f"rendered://tunnel?seed={port}",
            "place": {"telemetry": {"mavlink": f"udpin::{port}"}},
        }
        for name, port in (("left", 1), ("right", 2))
    ]
    with pytest.raises(ConfigError, match=r"which vehicle\? cameras name udpin::1, udpin::2"):
        take_vehicle(Settings.model_validate({"cameras": cameras, "mission": {"start": "arming"}}), MavlinkLinks())
