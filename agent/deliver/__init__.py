"""Reports on their way out of the device. `Publisher` is the seam; a durable outbox will stand behind it."""

from __future__ import annotations

from collections.abc import Mapping

from agent.deliver.mqtt import MqttPublisher
from agent.deliver.publisher import DeliveryStatus, NullPublisher, Publisher, Report
from agent.deliver.reporter import Reporter, Stamp, clock_stamp, media_stamp
from agent.deliver.topics import Topics, slug
from agent.settings import Settings, mqtt_password

__all__ = [
    "DeliveryStatus",
    "MqttPublisher",
    "NullPublisher",
    "Publisher",
    "Report",
    "Reporter",
    "Stamp",
    "Topics",
    "clock_stamp",
    "media_stamp",
    "open_publisher",
    "slug",
]


def open_publisher(settings: Settings, environment: Mapping[str, str], *, client_id: str | None = None) -> Publisher:
    """Return the publisher that the settings ask for; one that does nothing where `mqtt.host` is not set.

    Args:
        settings: the device's.
        environment: for the password.
        client_id: see `MqttPublisher`; a replay gives its own, so as not to take a running agent's session over.

    Raises:
        ConfigError: a password or certificate file that cannot be read.
    """
    if settings.mqtt.host is None:
        return NullPublisher()
    password = mqtt_password(settings.mqtt, environment)
    return MqttPublisher(settings.mqtt, device=settings.device, password=password, client_id=client_id)
