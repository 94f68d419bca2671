"""What a rendered flight is asked to show."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from agent.contract.strict import Strict

SceneKind = Literal["tunnel", "facade"]


class SceneSettings(Strict):
    """A camera moving along a wall with known cracks. The same settings give the same bytes."""

    kind: SceneKind = "tunnel"
    seconds: float = Field(default=10.0, gt=0, le=3600, description="Length of the flight.")
    fps: float = Field(default=5.0, gt=0, le=240, description="Frames per second.")
    width_px: int = Field(default=1280, ge=64, le=8192, description="Of a frame.")
    height_px: int = Field(default=720, ge=64, le=8192, description="Of a frame.")
    mm_per_px: float = Field(default=0.5, ge=0.02, le=10, description="On the surface, at the middle of the range.")
    speed_mm_s: float = Field(default=400.0, gt=0, le=20000, description="Of the camera along the wall.")
    cracks: int = Field(default=8, ge=0, le=1000, description="On the whole wall, evenly spread along it.")
    width_mm: tuple[float, float] = Field(default=(0.3, 5.0), description="Typical width, narrowest and widest crack.")
    blur_px: float = Field(default=0.5, ge=0, le=5, description="Standard deviation of the optics' blur, typical.")
    noise: float = Field(default=0.012, ge=0, le=0.2, description="Of the sensor, share of full scale at mid grey.")
    jpeg_quality: int | None = Field(default=92, ge=1, le=100, description="Of the camera's files; None: lossless.")
    seed: int = Field(default=0, ge=0, description="Another seed is another wall.")

    @property
    def frames(self) -> int:
        """How many frames the flight has."""
        return round(self.seconds * self.fps)

    @model_validator(mode="after")
    def _has_frames(self) -> Self:
        if self.frames < 1:
            raise ValueError(f"seconds={self.seconds} at fps={self.fps} is not one frame; raise one of them")
        return self

    @model_validator(mode="after")
    def _widths_in_order(self) -> Self:
        low, high = self.width_mm
        if not 0 < low <= high:
            raise ValueError(f"width_mm={self.width_mm} must be two positive figures, the smaller one first")
        if high > 0.1 * self.height_px * self.mm_per_px:
            raise ValueError(
                f"width_mm={self.width_mm}: {high} mm is more than a tenth of the frame's height, "
                f"{self.height_px * self.mm_per_px:g} mm; lower it, or raise mm_per_px"
            )
        return self
