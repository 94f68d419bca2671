"""What a user may set about flight records."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from agent.contract.strict import Section


class RecordSettings(Section):
    """The flight record, and how much room the records of `run` may take.

    Past a bound, the oldest missions that have ended are removed as a whole, except those whose pictures still wait to
    be delivered. If that is not enough, the running mission keeps no more pictures, counts them, and says so in
    `state`; its rows go on.
    """

    frames: Literal["none", "evidence", "all"] = Field(
        default="none", description="Which pictures are kept: none, those with cracks, or all."
    )
    dir: Path = Field(default=Path("flights"), description="Where `run` puts its records, one folder per mission.")
    max_gb: float = Field(default=20, gt=0, le=100_000, description="All records together, 10^9 bytes.")
    max_age_days: float | None = Field(
        default=90,
        gt=0,
        le=36_500,
        description="Missions that ended longer ago are removed, while the clock is synchronised; "
        "null: none for its age.",
    )
    min_free_gb: float = Field(
        default=0.5, ge=0, le=100_000, description="Room to leave on the disk for everything else, 10^9 bytes."
    )
