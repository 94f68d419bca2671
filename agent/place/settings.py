"""What a user may set about how large and where things are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from agent.contract.strict import Strict

Share = Annotated[float, Field(ge=0, le=1)]
Polygon = Annotated[tuple[tuple[Share, Share], ...], Field(min_length=3)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class LaserSettings(Strict):
    """Two laser dots of known spacing in the picture, parallel to the optical axis."""

    spacing_mm: Positive | None = Field(default=None, description="Between the dots; null: no lasers.")
    spacing_error_mm: NotNegative = Field(default=0.0, description="Standard error of spacing_mm; 0: not known.")
    colour: Literal["red", "green"] = Field(default="red", description="Of the dots.")


class TunnelSettings(Strict):
    """A round tunnel, seen from inside."""

    radius_m: Positive | None = Field(default=None, description="Of the lining's inside; null: no tunnel.")
    radius_error_m: NotNegative = Field(
        default=0.0, description="Standard error of radius_m where it is the distance, 0: not known."
    )
    along: Literal["x", "y"] = Field(default="x", description="The picture's axis along which the tunnel runs.")
    reverse: bool = Field(default=False, description="Chainage falls towards the picture's right (or lower) side.")
    clock_deg: float | None = Field(
        default=None, ge=0, lt=360, description="Where the camera looks: 0 crown, 90 right as the chainage grows."
    )
    metres_per_tick: Positive | None = Field(default=None, description="Of the wheel's encoder.")
    start_m: float = Field(default=0.0, description="Chainage at the encoder's first tick.")
    ring_pitch_m: Positive | None = Field(
        default=None, description="Length of a ring; with a column `ring`, the joints correct the encoder's drift."
    )
    ring_zero_m: float = Field(default=0.0, description="Chainage at which ring 0 begins.")


class TelemetrySettings(Strict):
    """How telemetry is laid beside the frames."""

    clock_offset_s: float = Field(
        default=0.0, description="Telemetry's clock minus the media's; crack-agent clock-offset estimates it."
    )
    mavlink: str | None = Field(
        default=None,
        min_length=1,
        description="A live link, for instance udpin:0.0.0.0:14550 (the extra mavlink); only while `run` watches.",
    )
    max_gap_s: Positive = Field(default=2.0, description="Between rows further apart nothing is made up.")
    max_speed_m_s: Positive = Field(default=60.0, description="Positions that would need more are jumps: left out.")


class PlaceSettings(Strict):
    """Scale, lens, place, and what of the picture is the carrier's own."""

    camera_model: str | None = Field(
        default=None, description="In the camera table; null: as EXIF says. See crack-agent cameras."
    )
    focal_mm: Positive | None = Field(default=None, description="Of the lens; null: EXIF's, else the table's.")
    focal_px: Positive | None = Field(default=None, description="The same in px of the picture; goes before focal_mm.")
    pixel_pitch_um: Positive | None = Field(default=None, description="Of the sensor; null: the table's.")
    calibration: Path | None = Field(
        default=None, description="OpenCV's file with camera_matrix and distortion_coefficients; goes before all these."
    )
    standoff_m: Positive | None = Field(
        default=None, description="From the camera to the surface along its axis, where no sensor tells."
    )
    distance_error_m: NotNegative = Field(
        default=0.0,
        description="Standard error of the distance, standoff_m or measured (range finder, lidar, depth): it widens "
        "the widths' intervals in mm; 0: not known.",
    )
    surface: Literal["facing", "wall", "ground"] = Field(
        default="facing",
        description="facing: tilted by tilt_deg; wall: upright, ground: level, tilted by the camera's own pitch.",
    )
    tilt_deg: float = Field(default=0.0, ge=0, le=85, description="Between the camera's axis and the surface's normal.")
    tilt_toward_deg: float = Field(
        default=0.0, ge=0, lt=360, description="Where in the picture the surface recedes: 0 right, 90 up."
    )
    lasers: LaserSettings = LaserSettings()
    tunnel: TunnelSettings = TunnelSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    ignore: tuple[Polygon, ...] = Field(
        default=(),
        description="Polygons, each a list of [x, y] as shares of width and height: the carrier's own gear, "
        "not looked at.",
    )

    @model_validator(mode="after")
    def _the_wall_is_in_the_tunnel(self) -> Self:
        if self.standoff_m is not None and self.tunnel.radius_m and self.standoff_m > 2 * self.tunnel.radius_m:
            raise ValueError(
                f"standoff_m={self.standoff_m} is more than the tunnel is wide (radius_m={self.tunnel.radius_m})"
            )
        return self
