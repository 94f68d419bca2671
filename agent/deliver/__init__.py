"""Reports on their way out of the device: `Publisher` is the seam, a durable outbox and MQTT stand behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.lazy import names_from

if TYPE_CHECKING:
    from agent.deliver.channel import Channel
    from agent.deliver.delivery import Delivery
    from agent.deliver.opening import open_delivery
    from agent.deliver.publisher import DeliveryStatus, Evidence, NullPublisher, Publisher, Report, Snapshot
    from agent.deliver.reporter import Reporter, Stamp, clock_stamp, media_stamp
    from agent.deliver.topics import Topics, slug

__all__ = [
    "Channel",
    "Delivery",
    "DeliveryStatus",
    "Evidence",
    "NullPublisher",
    "Publisher",
    "Report",
    "Reporter",
    "Snapshot",
    "Stamp",
    "Topics",
    "clock_stamp",
    "media_stamp",
    "open_delivery",
    "slug",
]

__getattr__ = names_from(
    __name__,
    {
        "Channel": "channel",
        "Delivery": "delivery",
        "DeliveryStatus": "publisher",
        "Evidence": "publisher",
        "NullPublisher": "publisher",
        "Publisher": "publisher",
        "Report": "publisher",
        "Reporter": "reporter",
        "Snapshot": "publisher",
        "Stamp": "reporter",
        "Topics": "topics",
        "clock_stamp": "reporter",
        "media_stamp": "reporter",
        "open_delivery": "opening",
        "slug": "topics",
    },
)
