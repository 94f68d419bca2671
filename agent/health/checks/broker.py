"""The broker lets us in. Nothing is published, and no session that exists is touched."""

from __future__ import annotations

import os
import queue
import ssl
from collections.abc import Iterator
from typing import Final

from paho.mqtt.client import Client

from agent.deliver.client import make_client
from agent.health.checks.finding import Device, Finding
from agent.settings import mqtt_password

ANSWER_S: Final = 10.0


def check(device: Device) -> Iterator[Finding]:
    """See the module.

    Raises:
        ConfigError: a password or certificate file that cannot be used.
    """
    mqtt = device.settings.mqtt
    if mqtt.host is None:
        yield Finding("broker", "ok", "mqtt.host is not set: reports stay in the outbox")
        return
    password = mqtt_password(mqtt, device.environment)
    if mqtt.username is not None and password is None:
        text = f"user {mqtt.username!r} has no password"
        yield Finding("broker", "warn", text, "see mqtt.password_file, or the service's credential mqtt_password")
    client_id = f"crackscout-{device.settings.device}-check-{os.getpid()}"
    client = make_client(mqtt, password, client_id, keeps_session=False)
    where = f"{mqtt.host}:{mqtt.port}"
    problem = _connects(client, mqtt.host, mqtt.port)
    if problem is None:
        yield Finding("broker", "ok", f"{where} lets us in, MQTT {mqtt.protocol}")
    else:
        # no reason not to fly: reports wait in the outbox
        yield Finding("broker", "warn", f"{where}: {problem}; reports would wait in the outbox", _fix(problem))
    if mqtt.protocol == "3.1.1":
        text = "MQTT 3.1.1 acknowledges what an access list forbids: such reports are lost without a word"
        yield Finding("broker", "warn", text, "mqtt.protocol: 5; else allow this device its whole topic tree")
    if not mqtt.tls.enabled and password is not None and mqtt.host not in {"localhost", "127.0.0.1", "::1"}:
        yield Finding("broker", "warn", "the password goes over the network in clear", "mqtt.tls.enabled: true")


def _connects(client: Client, host: str, port: int) -> str | None:
    """Return why not, or None."""
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.put(
        f"refuses us: {reason}" if reason.is_failure else None
    )
    try:
        client.connect(host, port)
    except ssl.SSLError as exc:
        return f"its certificate is not trusted ({exc.reason or exc})"
    except (OSError, ValueError) as exc:
        return f"cannot be reached ({exc})"
    client.loop_start()
    try:
        return answers.get(timeout=ANSWER_S)
    except queue.Empty:
        return f"accepts connections, but does not speak MQTT within {ANSWER_S:.0f} s"
    finally:
        client.disconnect()
        client.loop_stop()


def _fix(problem: str) -> str:
    if "certificate" in problem:
        return "see mqtt.tls.ca_file, the certificate's dates and name, and this device's clock"
    if "refuses" in problem:
        return "check mqtt.username and its password"
    return "check mqtt.host, mqtt.port, the network and the broker"
