"""A camera frame on its way through the agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from agent.contract.arrays import Bool, Float64, UInt8

ScaleSource = Literal["none", "setting", "telemetry", "rendered"]
ScaleMethod = Literal["given", "standoff", "lrf", "lidar", "depth", "lasers", "radius", "geotiff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large a pixel is on the surface, and who said so."""

    mm_per_px: float | None  # None: unknown, and then every figure in mm is None
    source: ScaleSource
    method: ScaleMethod | None = None  # how it was come by; None where nobody said
    error: float = 0.0  # standard error, as a share of it; 0: nobody told
    # What a crack's place in a picture seen at a slant, through a lens, adds to that; of a crack, not of a frame.
    geometry: Geometry | None = None  # None where the scale is the same all over the picture
    along: float = 1.0  # of lengths along its lines
    across: float = 1.0  # of widths
    area: float = 1.0

    def __post_init__(self) -> None:
        if (self.mm_per_px is None) != (self.source == "none"):
            raise ValueError(f"mm_per_px={self.mm_per_px} does not go with source={self.source!r}")
        if self.mm_per_px is not None and not 0 < self.mm_per_px < float("inf"):
            raise ValueError(f"mm_per_px={self.mm_per_px} must be a positive number")
        if not 0 <= self.error < float("inf"):
            raise ValueError(f"error={self.error} must be a share of the scale, 0 or more")


UNKNOWN_SCALE = Scale(mm_per_px=None, source="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where on earth, or in a tunnel; None where unknown, never a guess."""

    lat: float | None = None  # degrees north, WGS 84
    lon: float | None = None  # degrees east
    alt_m: float | None = None  # as the source has it: above the ellipsoid or the sea
    chainage_m: float | None = None  # along the tunnel
    clock_deg: float | None = None  # around the tunnel as one looks up the chainage: 0 crown, 90 right, [0, 360)
    of: Literal["camera", "surface"] = "camera"  # whose place it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How a picture lies on the surface, in figures: all that it takes to lay it there again.

    Axes and angles are those of `agent.place.surface`.
    """

    focal_px: tuple[float, float]  # along x and y
    principal_px: tuple[float, float]  # x, y; pixel centres at integers
    distortion: tuple[float, ...] = ()  # as OpenCV orders it; empty: none
    distance_mm: float  # from the camera to the surface along the optical axis
    tilt_deg: float = 0.0  # of a plane
    toward_deg: float = 0.0
    radius_mm: float | None = None  # of a tunnel; None: a plane
    along: Literal["x", "y"] = "x"  # the picture's axis that the tunnel runs along
    sense: Literal[1, -1] = 1  # of the chainage
    attitude_deg: tuple[float, float, float] | None = None  # yaw, pitch, roll of the camera; None: unknown


class Geometry(Protocol):
    """How a picture lies on the surface."""

    @property
    def sight(self) -> Sight:
        """The same in figures."""
        ...

    def stretch(self, xy_px: Float64) -> Float64:
        """Return (N, 3, 2): how far a step of one px along x and along y goes on the surface, mm; NaN: misses it."""
        ...

    def place(self, x_px: float, y_px: float) -> Place:
        """Return where on the surface a point of the picture lies."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where the camera looked at the surface, in the surface's own plane."""

    x_mm: float  # the picture's left edge along the surface
    y_mm: float  # the picture's upper edge, downwards
    rotation_deg: float = 0.0  # clockwise turn of the picture against the surface
    radius_mm: float | None = None  # of a tunnel: y then runs along its arc; None: the surface is flat
    standoff_mm: float | None = None  # from the camera to the wall, along the optical axis; with `radius_mm`


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good a picture is as a picture, whatever it shows."""

    sharpness: float  # variance of the Laplacian, grey levels squared: compare it within one camera only
    exposure: float  # mean grey, [0, 1]
    clipped_dark: float  # share of black pixels, [0, 1]
    clipped_bright: float  # share of white pixels, [0, 1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture, decoded, upright, with what is known about it."""

    index: int  # position in the run, from 0, skipped frames included
    name: str  # unique in the run: the photo's stem, or <video stem>/<frame:06d>
    source: str  # the file's name as the user knows it, never an absolute path
    camera: str
    image_rgb: UInt8  # (H, W, 3)
    sha256: str  # of `encoded` where that is kept, else of the pixels in row order
    # from the media (EXIF, container), never from the clock of this computer; of a live camera, since the service began
    media_time_ns: int | None
    encoded: bytes | None = None  # the camera's own file, passed through when frames are kept
    suffix: str = ".png"  # of `encoded`
    scale: Scale = UNKNOWN_SCALE
    scale_reason: str | None = None  # why the scale is unknown, where one was asked for
    sight: Sight | None = None  # of a recorded frame: how its scale came about, as far as the record tells
    pose: Pose | None = None
    place: Place | None = None  # of the camera
    captured_ms: int | None = None  # of a live camera: when it arrived, since 1970, UTC, by this computer's clock
    quality: Quality | None = None  # of a live camera
    ignored: Bool | None = None  # (H, W), True where the carrier's own gear is in view

    def where(self, x_px: float, y_px: float) -> Place:
        """Return the place of a point of the picture: on the surface if that is known, else the camera's."""
        geometry = self.scale.geometry
        return geometry.place(x_px, y_px) if geometry else self.place or Place()

    @property
    def ignored_share(self) -> float:
        """How much of the picture is ignored, [0, 1]."""
        return 0.0 if self.ignored is None else float(self.ignored.mean())

    @property
    def height(self) -> int:
        """Rows, px."""
        return int(self.image_rgb.shape[0])

    @property
    def width(self) -> int:
        """Columns, px."""
        return int(self.image_rgb.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedFrame:
    """A picture that could not be read, or was not worth it: counted and named, and the run goes on."""

    index: int
    name: str
    source: str
    camera: str
    reason: str
    captured_ms: int | None = None  # see `Frame`
    quality: Quality | None = None  # see `Frame`
