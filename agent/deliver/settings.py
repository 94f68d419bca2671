"""What a user may set about keeping reports until they are delivered, and about missions."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from agent.contract.strict import Section
from agent.severity.settings import severity_of


class DeliverySettings(Section):
    """The outbox: the journal on disk that reports leave from."""

    dir: Path = Field(default=Path("outbox"), description="Where the outbox lies; on a disk that survives a power cut.")
    max_mb: int = Field(default=512, ge=2, le=1_000_000, description="The outbox never grows beyond this, MB.")
    min_free_mb: int = Field(
        default=64, ge=0, le=1_000_000, description="Below this much free space on its disk it counts as full, MB."
    )
    ballast_mb: int = Field(
        default=16, ge=0, le=1024, description="A file that is deleted to make room once the disk is full, MB."
    )
    keep_days: float = Field(
        default=7, gt=0, le=3650, description="Delivered reports are kept this long for `resync`, space permitting."
    )
    resend_window_s: int = Field(
        default=3600,
        ge=0,
        le=2_592_000,
        description="When the broker lost our session, what it acknowledged in this time is sent again, s: twice "
        "the interval at which it saves.",
    )
    settle_s: float = Field(
        default=5, ge=0, le=3600, description="Then reports wait this long for their readers to be back as well, s."
    )
    backlog_per_s: int = Field(
        default=500, ge=1, le=100_000, description="Late reports are sent at no more than this rate, 1/s."
    )
    evidence: bool = Field(default=True, description="Send a picture of each crack, at most 200 KB.")


class MissionSettings(Section):
    """A mission is one flight record. Its details are entered once and go with every mission until they change."""

    start: Literal["boot", "command", "arming"] = Field(
        default="boot",
        description="When the service begins a mission: as it starts, on `cmd/start_mission`, or when the vehicle is "
        "armed (place.telemetry.mavlink; disarmed, it ends).",
    )
    structure: str | None = Field(
        default=None, min_length=1, max_length=200, description="What is inspected, as its owner names it."
    )
    inspector: str | None = Field(default=None, min_length=1, max_length=200, description="Who is in charge.")
    standard: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The standard that the inspection goes by, with its category, for instance aci-224r humid: "
        "cracks are graded by it, whatever `severity` says.",
    )

    @field_validator("standard")
    @classmethod
    def _standard_is_known(cls, name: str | None) -> str | None:
        return name and severity_of(name).name
