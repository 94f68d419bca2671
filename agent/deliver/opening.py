"""Opens what delivers as the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agent.deliver.delivery import Delivery
from agent.deliver.inbox import OnCommand

if TYPE_CHECKING:  # the settings hold ours
    from agent.settings import Settings


def open_delivery(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    client_id: str | None = None,
    folder: Path | None = None,
    on_command: OnCommand | None = None,
) -> Delivery:
    """Return what delivers as the settings say; where `mqtt.host` is not set, into the outbox only.

    Args:
        settings: the device's.
        environment: for the password.
        client_id: see `Delivery`; a replay gives its own, so as not to take a running agent's session over.
        folder: of the outbox; None keeps it in memory, for runs that can be repeated.
        on_command: see `Delivery`.

    Raises:
        ConfigError: a password or certificate file that cannot be read, or another agent uses the outbox.
        OutputError: the outbox's folder cannot be used.
    """
    from agent.settings import mqtt_password  # noqa: PLC0415 - the settings hold ours

    return Delivery(
        settings.mqtt,
        device=settings.device,
        limits=settings.delivery,
        folder=folder,
        password=mqtt_password(settings.mqtt, environment),
        client_id=client_id,
        on_command=on_command,
    )
