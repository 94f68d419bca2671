"""Where messages go: `<prefix>/v1/<device>/<topic>`, and how each is sent."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal

from agent.contract.ids import SEGMENT_PATTERN
from agent.contract.reports import REPORTS, Payload, Topic
from agent.errors import ConfigError

SLUG_LENGTH: Final = 64
TOPIC_OF: Final[dict[type[Payload], Topic]] = {model: topic for topic, model in REPORTS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a topic is sent."""

    retain: bool
    qos: Literal[0, 1] = 1
    expiry_s: int | None = None  # the broker forgets it after this time; None: never
    latest_only: bool = False  # a newer one takes an unsent one's place, and each connection begins with it


RULES: Final[dict[Topic, Rule]] = {
    "connection": Rule(retain=True, latest_only=True),
    "info": Rule(retain=True, latest_only=True),
    "state": Rule(retain=True, expiry_s=120, latest_only=True),
    "mission": Rule(retain=True),
    "crack": Rule(retain=False),
    "coverage": Rule(retain=True, latest_only=True),
    "gap": Rule(retain=False),
    "ack": Rule(retain=False),
    "telemetry": Rule(retain=False, qos=0, expiry_s=60, latest_only=True),
}
EVIDENCE_EXPIRY_S: Final = 86_400
SNAPSHOT_EXPIRY_S: Final = 300


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one device.

    Args:
        prefix: one or more segments, `site/north`.
        device: one segment.

    Raises:
        ConfigError: a segment is empty, too long, or holds anything but a-z, 0-9, _ and -.
    """

    prefix: str
    device: str

    def __post_init__(self) -> None:
        for segment in self.prefix.split("/"):
            _check(segment, f"mqtt.prefix {self.prefix!r}")
        _check(self.device, f"device {self.device!r}")

    def of(self, topic: Topic | Literal["evidence", "snapshot", "cmd"], leaf: str | None = None) -> str:
        """Return the full topic.

        Args:
            topic: its name.
            leaf: what stands below: the crack of `evidence`, the camera of `snapshot`, the id of `ack`.
        """
        name = f"{self.prefix}/v1/{self.device}/{topic}"
        return name if leaf is None else f"{name}/{leaf}"


def slug(name: str) -> str:
    """Make a segment of any name: itself where it is one, else what is left of it and a mark that keeps names apart."""
    if re.fullmatch(SEGMENT_PATTERN, name):
        return name
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    rest = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-_")[: SLUG_LENGTH - len(mark) - 1]
    return f"{rest}-{mark}" if rest else mark


def _check(segment: str, where: str) -> None:
    if not re.fullmatch(SEGMENT_PATTERN, segment) or segment.endswith("\n"):
        raise ConfigError(f"{where}: {segment!r} cannot be part of a topic; use a-z, 0-9, _ and -, at most 64")
