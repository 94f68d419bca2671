"""What a user may set about following cracks over frames, and about coverage."""

from __future__ import annotations

from pydantic import Field, model_validator
from typing_extensions import Self

from agent.contract.strict import Strict


class TrackSettings(Strict):
    """How sightings become cracks with a history."""

    enabled: bool = Field(default=True, description="Follow cracks over frames; off, each sighting is a crack.")
    register_pictures: bool = Field(
        default=True, description="Find the motion between pictures by their features; off, poses alone place them."
    )
    features: int = Field(default=1200, ge=100, le=20_000, description="Features taken from a picture, at most.")
    tolerance_px: float = Field(
        default=4.0, gt=0, le=50, description="Sightings of one crack lie this near to each other, beside its width."
    )
    join_px: float = Field(
        default=24.0, ge=0, le=200, description="Pieces whose ends face each other across such a gap are one crack."
    )
    final_after_frames: int = Field(
        default=30, ge=1, description="A crack that was out of view for so many frames is final."
    )
    least_seen: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="A crack found in less than this share of the frames that showed its place is retracted.",
    )
    change: float = Field(
        default=0.15, gt=0, le=1, description="Share by which a length or width must change to be reported again."
    )
    most_points: int = Field(
        default=500_000, ge=10_000, description="Of centre lines kept; the oldest cracks are forgotten beyond it."
    )


class CoverageSettings(Strict):
    """What counts as inspected."""

    cell_mm: float = Field(default=10.0, gt=0, le=1000, description="Edge of a cell of the surface.")
    findable_px: float = Field(
        default=2.0, gt=0, le=20, description="Width from which on the network finds cracks reliably, px."
    )
    largest_blur_px: float = Field(
        default=3.0, gt=0, le=20, description="Cells blurred more than this (standard deviation, px) are not gradable."
    )
    darkest: float = Field(default=0.03, ge=0, le=1, description="Cells darker than this are not gradable.")
    brightest: float = Field(default=0.97, ge=0, le=1, description="Cells brighter than this are not gradable.")
    target_m: tuple[tuple[float, float], ...] | None = Field(
        default=None,
        description="Corners (x, y) of the area that was to be inspected, m on the surface (of a lining: chainage, and "
        "around from the crown, against the clock angle); null: only gaps enclosed by what was seen count as never "
        "seen.",
    )
    most_cells: int = Field(default=20_000_000, ge=1000, description="Cells kept; what lies beyond is only counted.")

    @model_validator(mode="after")
    def _light_in_order(self) -> Self:
        if self.darkest >= self.brightest:
            raise ValueError(f"darkest={self.darkest} must be below brightest={self.brightest}")
        return self

    @model_validator(mode="after")
    def _target_is_an_area(self) -> Self:
        if self.target_m is not None and len(self.target_m) < 3:
            raise ValueError(f"target_m={self.target_m} must have three corners or more")
        return self
