"""What a user may set about metrics, heat and power."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from agent.contract.strict import Section


class MetricsSettings(Section):
    """Figures for Prometheus, at /metrics."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="The address to answer at; nobody is asked for a password there."
    )
    port: int | None = Field(default=None, ge=1, le=65535, description="For instance 9477; null: no metrics.")


class HeatSettings(Section):
    """The governor: it slows the agent down before the device does so by itself, or goes out in flight.

    Hotter than `slow_above_c`, or drawing more than `slow_above_w`: at most `slow_fps`. Hotter than `stop_above_c`: no
    frame is inferred; the cameras stay connected. Each step is taken back when the reading is `back_c` (`back_w`) below
    its mark. Where nothing can be read, nothing is limited.
    """

    source: Literal["sysfs", "tegrastats", "off"] = Field(
        default="sysfs", description="Where temperature and power are read; tegrastats: the tool of Jetsons."
    )
    slow_above_c: float = Field(default=85, ge=30, le=120, description="Hottest zone above this: at most slow_fps.")
    stop_above_c: float = Field(default=95, ge=30, le=120, description="Above this: no frame is inferred.")
    back_c: float = Field(default=5, ge=0.5, le=40, description="A step is taken back this far below its mark.")
    slow_above_w: float | None = Field(
        default=None, gt=0, le=1000, description="Power of the whole board above this: at most slow_fps; null: no mark."
    )
    back_w: float = Field(default=1, ge=0, le=100, description="Taken back this far below its mark.")
    slow_fps: float = Field(default=1, gt=0, le=1000, description="Frames a second while slowed, all cameras together.")
    every_s: float = Field(default=2, ge=0.1, le=60, description="How often is read.")
    root: Path = Field(default=Path("/sys"), description="Where sysfs is.")
    tegrastats: str = Field(default="tegrastats", min_length=1, description="The tool's name or path.")

    @model_validator(mode="after")
    def _marks_in_order(self) -> Self:
        if self.stop_above_c <= self.slow_above_c:
            raise ValueError(f"stop_above_c={self.stop_above_c} must be above slow_above_c={self.slow_above_c}")
        if self.slow_above_w is not None and self.back_w >= self.slow_above_w:
            raise ValueError(f"back_w={self.back_w} must be below slow_above_w={self.slow_above_w}")
        return self
