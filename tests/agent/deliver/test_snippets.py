"""The snippets of `agent/deliver/README.md` that can be run here are run as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from agent import settings
from agent.deliver import Delivery
from agent.settings import MqttSettings
from tests.support.broker import Broker, running, wait_until
from tests.support.talker import crack

README = Path(__file__).resolve().parents[3] / "agent" / "deliver" / "README.md"


def snippet(language: str, number: int = 0) -> str:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    return found[number]


def test_the_python_subscriber_prints_each_crack_once(broker: Broker, tmp_path: Path) -> None:
    program = tmp_path / "subscriber.py"
    program.write_text(snippet("python"))
    out = tmp_path / "out"
    with out.open("w") as file:
        reader = subprocess.Popen([sys.executable, str(program), "127.0.0.1", str(broker.port)], stdout=file)
    try:
        time.sleep(1)
        delivery = Delivery(MqttSettings(host="127.0.0.1", port=broker.port), device="cart")
        reports = [crack(number, "boot", "cart") for number in range(3)]
        delivery.publish(*reports)
        assert delivery.flush(30) == 0
        delivery.resync(3600)
        assert delivery.flush(30) == 0
        wait_until(lambda: out.read_text().count("\n") >= 3, "it prints nothing")
        delivery.close()
        time.sleep(0.5)
        assert out.read_text().count("\n") == 3, "what came twice is printed once"
        assert "ungraded 0.4 120.5" in out.read_text()
    finally:
        reader.kill()
        reader.wait()


def test_the_subscribers_are_twenty_lines() -> None:
    for language in ("python", "javascript"):
        lines = [line for line in snippet(language).splitlines() if line.strip() and not line.startswith("//")]
        assert len(lines) <= 20, language


def test_mosquitto_takes_its_configuration_and_gives_each_device_its_own_topics(
    tmp_path: Path, closing: ExitStack
) -> None:
    blocks = re.findall(r"```\n(# /etc/mosquitto.*?)```", README.read_text(), re.DOTALL)
    conf, acl = blocks
    passwords = tmp_path / "passwords"
    for user in ("cart", "dashboard"):
        create = [] if passwords.exists() else ["-c"]
        subprocess.run(["mosquitto_passwd", "-b", *create, str(passwords), user, "pw"], check=True)
    (tmp_path / "acl").write_text(acl)
    lines = [re.sub(r"\s+#.*", "", line) for line in conf.splitlines() if line and not line.startswith("#")]
    wanted = [
        line.replace("/etc/mosquitto/", f"{tmp_path}/").replace("/var/lib/mosquitto/", f"{tmp_path}/")
        for line in lines
        if not line.startswith(("listener", "certfile", "keyfile", "allow_anonymous"))
    ]
    broker = closing.enter_context(running(Broker(tmp_path, lines=wanted, anonymous=False)))

    def deliver(device: str) -> Delivery:
        mqtt = MqttSettings(host="127.0.0.1", port=broker.port, username="cart")
        delivery = Delivery(mqtt, device=device, password=SecretStr("pw"), client_id=device)
        closing.callback(delivery.close)
        delivery.publish(crack(1, "boot", device))
        return delivery

    assert deliver("cart").flush(30) == 0
    other = deliver("other")
    wait_until(lambda: other.status.reasons.get("Not authorized", 0) > 0, "another device's topics are open")
    wait_until((tmp_path / "mosquitto.db").exists, "nothing is saved")


def test_the_settings_are_settings(tmp_path: Path) -> None:
    values = yaml.safe_load(snippet("yaml"))
    (tmp_path / "device.yaml").write_text(yaml.safe_dump({"version": 1, **values}))
    loaded = settings.load(tmp_path / "device.yaml")
    assert loaded.mqtt.tls.enabled


@pytest.mark.parametrize("number", [0, 1])
def test_the_json_is_json(number: int) -> None:
    assert json.loads(snippet("json", number))


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
def test_the_javascript_subscriber_is_javascript(tmp_path: Path) -> None:
    """Its `mqtt` package is no part of the tests; that it runs with it was seen by hand."""
    (tmp_path / "subscriber.mjs").write_text(snippet("javascript"))
    done = subprocess.run(["node", "--check", "subscriber.mjs"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
