"""What a user may set about measuring."""

from __future__ import annotations

from pydantic import Field

from agent.contract.strict import Strict


class MeasureSettings(Strict):
    """How the probability map becomes cracks, lengths and widths."""

    min_length_px: float = Field(default=24, ge=0, description="Shorter pieces are not reported, px.")
    min_area_px: int = Field(default=24, ge=1, description="Smaller pieces are not reported, px.")
    gap_px: int = Field(default=4, ge=0, le=32, description="Pieces up to this many px apart are one crack.")
    spur_factor: float = Field(
        default=1.0, ge=0, le=4, description="Side branches shorter than this many local widths are pruned."
    )
    flank_px: float = Field(
        default=4,
        ge=2,
        le=32,
        description="Stretch of surface on each side of a crack that its darkness is told from, px.",
    )
    window_px: int = Field(
        default=15, ge=1, le=101, description="Widths are averaged over this stretch of the line, px."
    )
    min_contrast: float = Field(
        default=0.08, ge=0, le=1, description="Cracks less dark than this against the surface get no width."
    )
    max_interval: float = Field(
        default=0.6,
        gt=0,
        le=10,
        description="Cracks of which the 90 % interval of the width is wider than this share of it get no width.",
    )
    darkness: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Darkness of cracks against the surface, where it is known: widths are then told from it, below "
        "the blur too. Unset, each crack's darkness is told from the picture.",
    )
    scale_error: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="Standard error of mm per px, as a share, beside what place tells of its own: "
        "both widen intervals in mm.",
    )
    max_crack_px: int = Field(
        default=1_000_000,
        ge=10_000,
        description="A map with more crack pixels than this is measured at a reduced size.",
    )
