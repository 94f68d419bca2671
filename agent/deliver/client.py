"""A paho client as the settings want it: version, transport, user, certificates. Nothing is connected yet."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import SecretStr

from agent.errors import ConfigError

if TYPE_CHECKING:  # the settings hold ours
    from agent.settings import MqttSettings


def make_client(mqtt: MqttSettings, password: SecretStr | None, client_id: str, *, keeps_session: bool) -> Client:
    """Return the client.

    Args:
        mqtt: the device's.
        password: see `agent.settings.mqtt_password`.
        client_id: by which the broker knows our session.
        keeps_session: under 3.1.1; MQTT 5 says that when it connects.

    Raises:
        ConfigError: a certificate file that cannot be read.
    """
    v5 = mqtt.protocol == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTv5 if v5 else MQTTv311,
        clean_session=None if v5 else not keeps_session,
        transport=mqtt.transport,
    )
    if mqtt.transport == "websockets":
        client.ws_set_options(path=mqtt.websocket_path)
    if mqtt.username is not None or password is not None:
        client.username_pw_set(mqtt.username, password.get_secret_value() if password else None)
    if mqtt.tls.enabled:
        files = (mqtt.tls.ca_file, mqtt.tls.cert_file, mqtt.tls.key_file)
        ca_file, cert_file, key_file = (None if file is None else str(file) for file in files)
        try:
            client.tls_set(ca_certs=ca_file, certfile=cert_file, keyfile=key_file)
        except (OSError, ssl.SSLError, ValueError) as exc:
            named = ", ".join(str(file) for file in files if file) or "the system's list"
            raise ConfigError(f"{named}: no usable certificates ({exc}); see mqtt.tls.ca_file") from exc
    return client
