"""What a rendered inspection is asked to show: one YAML file, strictly read, every setting with a default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from agent import strict_yaml
from agent.contract.strict import Section

InspectionKind = Literal["tunnel", "facade"]
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]

MOST_VIEW: Final = 1.2  # height of the picture, as a share of the tunnel's radius: beyond it the wall curves away


class CameraOptics(Section):
    """The camera and its faults."""

    width_px: int = Field(default=1280, ge=64, le=8192, description="Of a frame.")
    height_px: int = Field(default=720, ge=64, le=8192, description="Of a frame.")
    mm_per_px: float = Field(default=0.6, ge=0.02, le=10, description="On the wall, where the optical axis meets it.")
    standoff_m: float = Field(default=1.8, gt=0.1, le=50, description="From the camera to the wall along its axis.")
    blur_px: float = Field(default=0.5, ge=0, le=5, description="Standard deviation of the optics' blur, typical.")
    exposure_s: float = Field(default=1 / 1000, ge=0, le=0.2, description="Of a row: what moves meanwhile is smeared.")
    readout_s: float = Field(
        default=0.012, ge=0, le=0.2, description="Rolling shutter, first row to last; 0: all rows at once."
    )
    exposure_wander: Share = Field(default=0.18, description="How far the automatic exposure drifts, up and down.")
    noise: float = Field(default=0.012, ge=0, le=0.2, description="Of the sensor, share of full scale at mid grey.")
    jpeg_quality: int | None = Field(default=90, ge=1, le=100, description="Of the camera's files; null: lossless.")


class Path3D(Section):
    """How the carrier moves along the wall."""

    speed_m_s: float = Field(default=0.4, gt=0, le=30)
    start_m: float = Field(default=0.0, ge=-1e5, le=1e5, description="Chainage, or place along the facade, at first.")
    sway_m: float = Field(default=0.02, ge=0, le=2, description="How far it leaves its line: slowly, to every side.")
    turn_deg: float = Field(default=0.8, ge=0, le=10, description="How far yaw, pitch and roll wander, slowly.")
    vibration_px: float = Field(default=0.4, ge=0, le=20, description="Shaking at 8 to 35 Hz, as seen in the picture.")


class TunnelRing(Section):
    """A tunnel lined with precast segments."""

    radius_m: float = Field(default=2.75, gt=0.3, le=20, description="Of the lining's inside.")
    clock_deg: float = Field(default=285.0, ge=0, lt=360, description="Where the camera looks: 0 crown, 90 right.")
    ring_m: float = Field(default=1.5, gt=0.2, le=5, description="Length of a ring.")
    segments: int = Field(default=6, ge=2, le=20, description="Of a ring; every second ring is turned by half of one.")
    lamp_m: float = Field(default=0.7, ge=0, le=5, description="From the camera to the lamps fore and aft of it.")


class BridgeFacade(Section):
    """A cast concrete facade outdoors."""

    panel_m: tuple[Positive, Positive] = Field(default=(1.2, 0.9), description="Formwork panels: length, height.")
    tie_holes: bool = Field(default=True, description="In a grid, as the formwork had them.")
    sun_share: Share = Field(default=0.55, description="Of the light that comes from the sun; the rest is the sky's.")
    lat: float = Field(default=48.1374, ge=-85, le=85, description="Of the facade's upper left corner, WGS 84.")
    lon: float = Field(default=11.5755, ge=-180, le=180)
    alt_m: float = Field(default=519.0, ge=-500, le=9000)
    facing_deg: float = Field(default=195.0, ge=0, lt=360, description="Where the wall looks to, from north clockwise.")


class Cracks(Section):
    """The cracks whose truth is known."""

    count: int = Field(default=8, ge=0, le=1000, description="On the whole wall, evenly spread along it.")
    width_mm: tuple[float, float] = Field(default=(0.4, 5.0), description="Typical width, narrowest and widest crack.")

    @model_validator(mode="after")
    def _widths_in_order(self) -> Self:
        if not 0 < self.width_mm[0] <= self.width_mm[1]:
            raise ValueError(f"width_mm={list(self.width_mm)} must be two positive figures, the smaller one first")
        return self


class Wear(Section):
    """How much of each kind there is on the wall: 0 none, 1 a neglected one."""

    relief: Share = Field(default=0.5, description="Roughness of the surface, under lamps or sun.")
    pores: Share = 0.4
    stains: Share = Field(default=0.5, description="Water, soot, tide lines.")
    rust: Share = 0.4
    moss: Share = 0.25
    efflorescence: Share = 0.4
    chalk: Share = Field(default=0.5, description="Lines, numbers and letters of earlier inspections.")
    cables: Share = Field(default=0.5, description="Cables and pipes on brackets, in front of the wall.")


class Sensors(Section):
    """What the carrier says of itself, and how wrong it is."""

    rate_hz: float = Field(default=20.0, gt=0, le=1000)
    metres_per_tick: float = Field(default=0.0005, gt=0, le=1, description="Of the cart's encoder.")
    encoder_slip: float = Field(default=0.004, ge=-0.5, le=0.5, description="Share by which the wheel counts too much.")
    encoder_noise_m: NotNegative = Field(default=0.002, description="Standard deviation of a reading.")
    distance_noise_m: NotNegative = Field(default=0.008, description="Of the range finder.")
    gnss_noise_m: NotNegative = Field(default=0.02, description="Of a fix, by itself.")
    gnss_drift_m: NotNegative = Field(default=0.05, description="Of its slow error.")
    attitude_noise_deg: NotNegative = Field(default=0.1, description="Of yaw, pitch and roll.")
    position_noise_m: NotNegative = Field(default=0.004, description="Of the local position along a facade.")


class InspectionSettings(Section):
    """A camera moving along a wall with known cracks. The same settings give the same bytes."""

    kind: InspectionKind = "tunnel"
    seconds: float = Field(default=10.0, gt=0, le=3600, description="Length of the flight.")
    fps: float = Field(default=5.0, gt=0, le=240, description="Frames per second.")
    seed: int = Field(default=0, ge=0, description="Another seed is another wall.")
    camera: CameraOptics = CameraOptics()
    path: Path3D = Path3D()
    tunnel: TunnelRing = TunnelRing()
    facade: BridgeFacade = BridgeFacade()
    cracks: Cracks = Cracks()
    wear: Wear = Wear()
    sensors: Sensors = Sensors()

    @property
    def frames(self) -> int:
        """How many frames the flight has."""
        return round(self.seconds * self.fps)

    @property
    def sense(self) -> Literal[1, -1]:
        """+1 where chainage grows to the picture's right. An upright camera sees it grow to the left on the right."""
        return -1 if self.kind == "tunnel" and 0 < self.tunnel.clock_deg < 180 else 1

    @property
    def focal_px(self) -> float:
        """Of the camera."""
        return self.camera.standoff_m * 1000 / self.camera.mm_per_px

    @model_validator(mode="after")
    def _has_frames(self) -> Self:
        if self.frames < 1:
            raise ValueError(f"seconds={self.seconds} at fps={self.fps} is not one frame; raise one of them")
        return self

    @model_validator(mode="after")
    def _cracks_fit_the_picture(self) -> Self:
        height_mm = self.camera.height_px * self.camera.mm_per_px
        if self.cracks.width_mm[1] > 0.1 * height_mm:
            raise ValueError(
                f"cracks.width_mm={list(self.cracks.width_mm)}: {self.cracks.width_mm[1]} mm is more than a tenth of "
                f"the frame's height, {height_mm:g} mm; lower it, or raise camera.mm_per_px"
            )
        return self

    @model_validator(mode="after")
    def _the_wall_is_in_the_tunnel(self) -> Self:
        if self.kind == "tunnel":
            radius, standoff = self.tunnel.radius_m, self.camera.standoff_m
            if standoff > 1.8 * radius:
                raise ValueError(
                    f"camera.standoff_m={standoff} is more than a tunnel of {radius} m radius has room for"
                )
            if self.camera.height_px * self.camera.mm_per_px > MOST_VIEW * 1000 * radius:
                raise ValueError(
                    f"camera.height_px x mm_per_px is more than {MOST_VIEW} of the radius, {radius} m: "
                    "the wall curves out of sight; lower one of them"
                )
        return self


def load(path: Path) -> InspectionSettings:
    """Read the settings of a rendered inspection.

    Raises:
        ConfigError: the file cannot be read, or what it says does not fit; all faults are told at once.
    """
    return strict_yaml.load(path, InspectionSettings)
