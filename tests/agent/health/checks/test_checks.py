"""Each check against real parts: a broker, files, and system folders that are laid out as a device's."""

from __future__ import annotations

import grp
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import OutputError
from agent.health.checks import (
    Device,
    Finding,
    broker,
    clock,
    dashboard,
    devices,
    disk,
    examine,
    memory,
    metrics,
    thermal,
)
from agent.health.checks import cameras as cameras_check
from agent.settings import PASSWORD_VARIABLE, Settings
from tests.support.broker import Broker, running
from tests.support.commands import crack
from tests.support.needs import missing


def device(root: Path = Path("/nowhere"), environment: dict[str, str] | None = None, **settings: Any) -> Device:
    return Device(settings=Settings.model_validate(settings), root=root, environment=environment or {})


def verdicts(found: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.verdict) for finding in found]


@pytest.fixture
def config(tmp_path: Path, tiny_bundle_folder: Path) -> Path:
    path = tmp_path / "device.yaml"
    settings = {
        "version": 1,
        "bundle": str(tiny_bundle_folder),
        "cameras": [{"name": "crown", "source": str(tiny_bundle_folder / "golden"), "mm_per_px": 0.5}],
        "record": {"dir": str(tmp_path / "flights")},
        "delivery": {"dir": str(tmp_path / "outbox")},
    }
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path


def test_a_device_that_could_start(config: Path) -> None:
    done = crack("crack-agent", "check", "--config", config, cwd=config.parent)
    assert done.returncode == 0, done.stdout
    assert "this device could start" in done.stdout
    found = json.loads(crack("crack-agent", "check", "--config", config, "--json", cwd=config.parent).stdout)
    assert found["could_start"] is True
    names = {finding["check"] for finding in found["findings"]}
    assert names == {"settings", "bundle", "runtime", "cameras", "disk", "memory", "broker", "clock", "devices",
                     "thermal", "metrics", "dashboard"}  # fmt: skip
    assert all(finding["fix"] for finding in found["findings"] if finding["verdict"] == "warn")


def test_settings_that_do_not_fit_are_told_one_by_one_and_exit_2(config: Path) -> None:
    config.write_text("version: 1\nmqtt:\n  qso: 1\ndevice: No Name\n")
    done = crack("crack-agent", "check", "--config", config)
    assert done.returncode == 2
    assert "device.yaml:3:3: mqtt.qso: not a setting; did you mean 'qos'?" in done.stdout
    assert "device.yaml:4:9: device: 'No Name' does not fit" in done.stdout
    assert "2 to fix" in done.stdout


def test_an_altered_bundle_and_a_camera_that_is_not_there_fail(config: Path) -> None:
    settings = json.loads(config.read_text())
    settings |= {"bundle": "/nowhere", "cameras": [{"name": "crown", "source": "/nowhere"}]}
    config.write_text(json.dumps(settings))
    done = crack("crack-agent", "check", "--config", config)
    assert done.returncode == 1
    assert "fail bundle: /nowhere" in done.stdout
    assert "fail cameras: crown: /nowhere" in done.stdout
    assert "ok   disk" in done.stdout  # the checks after it still ran


def test_a_check_that_stumbles_hides_no_other(config: Path) -> None:
    def stumbles(_: Device) -> Iterator[Finding]:
        yield Finding("half", "ok", "so far")
        raise ZeroDivisionError

    def refuses(_: Device) -> Iterator[Finding]:
        raise OutputError("no room")
        yield

    found = examine(config, {}, checks={"half": stumbles, "refusing": refuses, "clock": clock.check})
    assert [f.verdict for f in found.findings[:4]] == ["ok", "ok", "fail", "fail"]
    assert found.findings[-1].check == "clock"
    assert not found.could_start


def test_no_camera_is_a_failure_and_one_without_a_scale_a_warning(tiny_bundle_folder: Path) -> None:
    assert verdicts(cameras_check.check(device())) == [("cameras", "fail")]
    one = device(cameras=[{"name": "a", "source": str(tiny_bundle_folder / "golden")}])
    assert verdicts(cameras_check.check(one)) == [("cameras", "ok"), ("cameras", "warn")]


def test_live_cameras_must_give_a_picture() -> None:
    cameras = [
        {"name": "drawn", "source": "rendered://tunnel?seconds=1"},
        {"name": "gone", "source": "rtsp://pilot:hunter2@127.0.0.1:9/main", "mm_per_px": 1},
        {"name": "unplugged", "source": "/dev/video97", "mm_per_px": 1},
    ]
    drawn, gone, unplugged = cameras_check.check(device(cameras=cameras))
    assert (drawn.verdict, "gives 1" in drawn.text) == ("ok", True)
    for lost, name in ((gone, "gone: 127.0.0.1"), (unplugged, "/dev/video97")):
        assert lost.verdict == "fail"
        assert name in lost.text
        assert lost.fix
        assert "hunter2" not in lost.as_text()


def test_folders_that_cannot_be_written_fail_and_little_room_warns(tmp_path: Path) -> None:
    bad = device(record={"dir": "/proc/crackscout"}, delivery={"dir": str(tmp_path), "max_mb": 1_000_000})
    (record, outbox) = disk.check(bad)
    assert (record.verdict, outbox.verdict) == ("fail", "warn")
    assert "/proc/crackscout" in record.text
    assert "1000064 MB may be wanted" in outbox.text


@pytest.mark.parametrize(("available_kb", "verdict"), [(8_000_000, "ok"), (100_000, "warn")])
def test_memory_is_what_the_kernel_says_is_available(tmp_path: Path, available_kb: int, verdict: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: 9000000 kB\nMemAvailable:   {available_kb} kB\n")
    (finding,) = memory.check(device(tmp_path))
    assert finding.verdict == verdict
    assert f"{available_kb // 1000} MB available" in finding.text


def test_a_clock_that_was_set_is_told_by_systemds_file(tmp_path: Path) -> None:
    assert verdicts(clock.check(device(tmp_path))) == [("clock", "warn")]
    (tmp_path / "run/systemd/timesync").mkdir(parents=True)
    (tmp_path / "run/systemd/timesync/synchronized").touch()
    assert verdicts(clock.check(device(tmp_path))) == [("clock", "ok")]


@pytest.mark.parametrize(("milli_c", "verdict"), [(54_321, "ok"), (91_000, "warn")])
def test_the_hottest_zone_counts_and_one_that_is_off_is_left_out(tmp_path: Path, milli_c: int, verdict: str) -> None:
    for number, (name, text) in enumerate([("cpu-thermal", "40000"), ("gpu-thermal", str(milli_c)), ("cv0", "")]):
        folder = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(f"{name}\n")
        (folder / "temp").write_text(text)
    (finding,) = thermal.check(device(tmp_path))
    assert finding.verdict == verdict
    assert finding.text.startswith(f"{milli_c / 1000:.0f} °C at gpu, the hottest of 2")


def test_nodes_that_are_refused_are_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "dev/dri").mkdir(parents=True)
    for name in ("video0", "nvmap", "dri/renderD128", "null"):
        (tmp_path / "dev" / name).touch()
    assert verdicts(devices.check(device(tmp_path))) == [("devices", "ok")]
    refusing = Device(settings=Settings(), root=tmp_path, may_open=lambda node: node.name == "video0")
    (finding,) = devices.check(refusing)
    assert (finding.verdict, finding.text) == ("warn", "refused to this user: /dev/dri/renderD128, /dev/nvmap")
    group = grp.getgrgid((tmp_path / "dev/nvmap").stat().st_gid).gr_name
    assert f"join {group}; in the unit: SupplementaryGroups=" in str(finding.fix)


def test_a_port_that_is_taken_and_an_open_address_are_warnings() -> None:
    assert verdicts(metrics.check(device())) == [("metrics", "ok")]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert verdicts(metrics.check(device(metrics={"port": port}))) == [("metrics", "warn")]
    assert verdicts(metrics.check(device(metrics={"port": port}))) == [("metrics", "ok")]
    (finding,) = metrics.check(device(metrics={"port": port, "host": "0.0.0.0"}))  # noqa: S104 - what is warned of
    assert "without a password" in finding.text


@pytest.fixture(scope="module")
def locked_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if shutil.which("mosquitto_passwd") is None:
        missing("no mosquitto_passwd on this machine")
    folder = tmp_path_factory.mktemp("locked")
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "passwords"), "cart", "right"], check=True)
    with running(Broker(folder, lines=[f"password_file {folder / 'passwords'}"], anonymous=False)) as started:
        yield started


@pytest.mark.parametrize(
    ("password", "protocol", "found"),
    [
        pytest.param("right", "5", [("ok", "lets us in")], id="let in"),
        pytest.param("wrong", "5", [("warn", "Not authorized")], id="a wrong password"),
        pytest.param(None, "5", [("warn", "has no password"), ("warn", "Not authorized")], id="no password"),
        pytest.param("right", "3.1.1", [("ok", "lets us in"), ("warn", "lost without a word")], id="3.1.1 and its gap"),
        pytest.param("wrong", "3.1.1", [("warn", "ot authori"), ("warn", "lost without a word")], id="3.1.1, wrong"),
    ],
)
def test_the_broker_is_asked_as_the_agent_would(
    locked_broker: Broker, password: str | None, protocol: str, found: list[tuple[str, str]]
) -> None:
    mqtt = {"host": "127.0.0.1", "port": locked_broker.port, "username": "cart", "protocol": protocol}
    environment = {PASSWORD_VARIABLE: password} if password else {}
    told = list(broker.check(device(environment=environment, mqtt=mqtt)))
    assert [finding.verdict for finding in told] == [verdict for verdict, _ in found]
    for finding, (_, part) in zip(told, found, strict=True):
        assert part in finding.text
        assert "right" not in finding.as_text().replace("copyright", "")


def test_a_broker_that_is_not_there_is_a_warning_since_reports_wait() -> None:
    (finding,) = broker.check(device(mqtt={"host": "127.0.0.1", "port": 9}))
    assert (finding.verdict, "cannot be reached" in finding.text) == ("warn", True)
    assert finding.fix


def test_the_page_needs_a_free_port_a_token_for_others_and_a_map_that_can_be_read(tmp_path: Path) -> None:
    def page(**settings: Any) -> list[tuple[str, str]]:
        return verdicts(dashboard.check(device(dashboard={"port": 0, **settings})))

    everywhere = "0.0.0.0"  # noqa: S104 - what is warned of
    assert page() == page(port=None) == [("dashboard", "ok")]
    assert page(host=everywhere) == [("dashboard", "warn")]
    (tmp_path / "token").write_text("x" * 16)
    (finding,) = dashboard.check(
        device(dashboard={"port": 0, "host": everywhere, "token_file": str(tmp_path / "token")})
    )
    assert (finding.verdict, "plain HTTP" in finding.text) == ("warn", True)
    assert page(token_file=str(tmp_path / "token")) == [("dashboard", "ok")]
    assert page(tiles=str(tmp_path / "nowhere")) == [("dashboard", "warn")]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert page(port=other.getsockname()[1]) == [("dashboard", "warn")]
