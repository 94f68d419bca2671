"""Home Assistant finds the device by itself: one retained message lists what it can show.

See https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from agent.about import version
from agent.deliver.link import Message
from agent.deliver.topics import Topics

if TYPE_CHECKING:  # the settings hold ours
    from agent.settings import MqttSettings

FRESH_S: Final = 120  # `state` is said again well within it

# name: topic, field, Home Assistant's words
_SENSORS: Final[dict[str, tuple[str, str, dict[str, str]]]] = {
    "state": ("state", "state", {"icon": "mdi:robot"}),
    "frames": ("state", "frames", {"state_class": "total_increasing", "icon": "mdi:image-multiple"}),
    "cracks": ("state", "cracks", {"state_class": "total_increasing", "icon": "mdi:wall"}),
    "skipped": ("state", "skipped", {"state_class": "total_increasing", "icon": "mdi:image-broken"}),
    "frame_rate": ("state", "frames_per_second", {"unit_of_measurement": "fps", "state_class": "measurement"}),
    "last_crack_severity": ("crack", "severity", {"icon": "mdi:alert"}),
    "last_crack_width": (
        "crack", "width_mm", {"unit_of_measurement": "mm", "device_class": "distance", "state_class": "measurement"},
    ),
    "last_crack_length": (
        "crack", "length_mm", {"unit_of_measurement": "mm", "device_class": "distance", "state_class": "measurement"},
    ),
    "mission": ("mission", "mission_id", {"icon": "mdi:map-marker-path"}),
}  # fmt: skip
_BUTTONS: Final = ("pause", "resume", "end_mission", "start_mission", "snapshot", "clear")


def discovery(mqtt: MqttSettings, device: str) -> Message:
    """Return the message for `<home_assistant_prefix>/device/<device>/config`."""
    topics = Topics(mqtt.prefix, device)
    return Message(
        topic=f"{mqtt.home_assistant_prefix}/device/{device}/config",
        payload=json.dumps(config(topics)).encode(), retain=True, is_repeated=True,
    )  # fmt: skip


def config(topics: Topics) -> dict[str, Any]:
    """Return the device as Home Assistant wants it described."""
    device = topics.device
    components: dict[str, Any] = {}
    for name, (topic, field, words) in _SENSORS.items():
        components[name] = {
            "platform": "sensor", "unique_id": f"{device}_{name}", "name": name.replace("_", " "),
            "state_topic": topics.of(topic),  # type: ignore[arg-type]
            "value_template": f"{{{{ value_json.{field} }}}}", **words,
            **({"expire_after": FRESH_S} if topic == "state" else {}),
        }  # fmt: skip
    components["alarms"] = {
        "platform": "binary_sensor", "unique_id": f"{device}_alarms", "name": "alarms", "device_class": "problem",
        "state_topic": topics.of("state"), "value_template": "{{ 'ON' if value_json.alarms else 'OFF' }}",
    }  # fmt: skip
    for name in _BUTTONS:
        components[name] = {
            "platform": "button", "unique_id": f"{device}_cmd_{name}", "name": name.replace("_", " "),
            "command_topic": topics.of("cmd", name),
            "command_template": '{"id": "ha-{{ (now().timestamp() * 1000) | int }}", '
            '"ts": {{ (now().timestamp() * 1000) | int }}}',
        }  # fmt: skip
    return {
        "device": {"identifiers": [f"crackscout_{device}"], "name": device, "manufacturer": "Crackscout",
                   "sw_version": version()},
        "origin": {"name": "crackscout", "sw_version": version()},
        "availability": [
            {"topic": topics.of("connection"), "value_template": "{{ value_json.status }}",
             "payload_available": "online", "payload_not_available": "offline"},
        ],
        "components": components,
        "qos": 1,
    }  # fmt: skip
