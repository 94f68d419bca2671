"""What a user may set about metrics."""

from __future__ import annotations

from pydantic import Field

from agent.contract.strict import Strict


class MetricsSettings(Strict):
    """Figures for Prometheus, at /metrics."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="The address to answer at; nobody is asked for a password there."
    )
    port: int | None = Field(default=None, ge=1, le=65535, description="For instance 9477; null: no metrics.")
