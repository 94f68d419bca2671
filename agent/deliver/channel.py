"""The delivery of a service: it outlives missions, so that commands are heard and reports leave between them too."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from agent.deliver.delivery import Delivery
from agent.deliver.homeassistant import discovery
from agent.deliver.inbox import OnCommand
from agent.deliver.opening import open_delivery
from agent.deliver.publisher import Report
from agent.errors import CrackscoutError, DeliveryError

if TYPE_CHECKING:  # the settings hold ours
    from agent.settings import Settings

logger = logging.getLogger(__name__)


class Channel:
    """Holds one delivery, and opens another only when the settings that make it have changed.

    Args:
        environment: for the password.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._on_command: OnCommand | None = None
        self._on_open: Callable[[], None] = lambda: None
        self._settings: Settings | None = None
        self._delivery: Delivery | None = None

    def listen(self, on_command: OnCommand, *, on_open: Callable[[], None] = lambda: None) -> None:
        """Hear commands, from the next delivery that is opened (see `Delivery`), and be told that it was."""
        self._on_command, self._on_open = on_command, on_open

    @property
    def needs_ts(self) -> bool:
        """Whether senders must say when they sent a command: only MQTT 5 lets commands expire."""
        return self._settings is not None and self._settings.mqtt.protocol != "5"

    def use(self, settings: Settings) -> Delivery:
        """Return the delivery that the settings ask for.

        Raises:
            ConfigError: see `open_delivery`; the one before goes on where that is possible.
            OutputError: the same.
        """
        if self._delivery is not None and self._settings is not None and _same(settings, self._settings):
            return self._delivery
        before = self._settings
        self.close()  # two cannot share an outbox, nor a client id
        try:
            self._delivery = self._open(settings)
        except CrackscoutError:
            if before is not None:
                self._settings, self._delivery = before, self._open(before)
            raise
        self._settings = settings
        self._on_open()
        return self._delivery

    @property
    def delivery(self) -> Delivery:
        """The delivery there is.

        Raises:
            DeliveryError: none yet.
        """
        if self._delivery is None:
            raise DeliveryError("nothing is delivered yet: the settings have not been usable so far")
        return self._delivery

    def publish(self, *reports: Report) -> None:
        """See `Publisher.publish`."""
        self.delivery.publish(*reports)

    def knows(self, id_: str) -> bool:
        """See `Delivery.knows`."""
        return self.delivery.knows(id_)

    def payload(self, id_: str) -> bytes | None:
        """See `Delivery.payload`."""
        return self.delivery.payload(id_)

    def close(self) -> None:
        """Say goodbye and stop; what waits stays in the outbox."""
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.close()

    def _open(self, settings: Settings) -> Delivery:
        delivery = open_delivery(settings, self._environment, folder=settings.delivery.dir, on_command=self._on_command)
        if settings.mqtt.home_assistant and settings.mqtt.host is not None:
            delivery.send_latest(discovery(settings.mqtt, settings.device))
        return delivery


def _same(one: Settings, other: Settings) -> bool:
    return (one.device, one.mqtt, one.delivery) == (other.device, other.mqtt, other.delivery)
