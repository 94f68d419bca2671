"""The flight record: a folder that live runs and replays write alike, and that replay reads again.

```
flight.json      FlightHeader, rewritten when the run ends     frames.jsonl   a FrameRow per frame
cracks.jsonl     a CrackRow per sighting                       tracks.jsonl   a TrackRow per event of a crack
coverage.json    what was inspected, and what was not          frames/        the pictures, as far as they were kept
reviews.jsonl    a ReviewRow per word of a person; cracks.jsonl stays as it was
```
Times come from the media, never from the clock, so that a replay of the same frames gives the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, model_validator
from typing_extensions import Self

from agent.contract.frame import ScaleMethod, ScaleSource
from agent.contract.reports import CrackEvent, Kind, Severity, Verdict
from agent.contract.strict import Strict

FLIGHT_FILE: Final = "flight.json"
FRAMES_FILE: Final = "frames.jsonl"
CRACKS_FILE: Final = "cracks.jsonl"
TRACKS_FILE: Final = "tracks.jsonl"
COVERAGE_FILE: Final = "coverage.json"
REVIEWS_FILE: Final = "reviews.jsonl"
FRAMES_FOLDER: Final = "frames"

Px = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
SurfaceKind = Literal["wall", "lining", "ground"]
NotGradable = Literal["ignored", "dark", "bright", "blur"]


class SourceRef(Strict):
    """A photo, video or folder that the run read, by name and fingerprint, never by its absolute path."""

    name: str
    fingerprint: str = Field(description="sha256 over the names, sizes and first MiB of its files.")
    ignored: dict[str, Count] = Field(
        default_factory=dict, description="Files of the folder that are no photos, by suffix: they were not read."
    )


class BundleUsed(Strict):
    """The bundle that inferred."""

    name: str
    sha256: str


class FlightHeader(Strict):
    """`flight.json`: what was run on what. Holds no time of day and no duration."""

    schema_: Literal["flight/1"] = Field(default="flight/1", alias="schema")
    mission_id: str
    mode: Literal["live", "replay", "rendered"]
    device: str
    complete: bool = Field(description="False while the run goes on, and for ever if it was stopped.")
    sources: tuple[SourceRef, ...]
    bundle: BundleUsed | None = Field(description="None in a rendered flight that no agent has seen yet.")
    runtime: str | None
    variant: str | None
    settings: dict[str, Any] = Field(description="The settings of the run, as resolved; never a secret.")
    version: str
    frames: Count = 0
    skipped: Count = Field(default=0, description="Frames that could not be read; each has its line in frames.jsonl.")
    cracks: Count = Field(default=0, description="Each once, however many frames show it; joints and the like not.")
    sightings: Count = Field(default=0, description="Lines of cracks.jsonl.")
    others: Count = Field(default=0, description="Joints, cables, shadows, stains and prints, each once.")
    retracted: Count = Field(default=0, description="Found in so few of the frames that showed the place: no cracks.")
    frames_kept: Literal["none", "evidence", "all"] = "none"
    structure: str | None = Field(default=None, description="What was inspected, as its owner names it.")
    inspector: str | None = None
    standard: str | None = Field(default=None, description="By which severity is graded, with its category.")


class PoseRow(Strict):
    """The picture's upper left corner on the surface, and its turn."""

    x_mm: float
    y_mm: float
    rotation_deg: float
    radius_mm: float | None = None
    standoff_mm: float | None = None


class SightRow(Strict):
    """How the picture lay on the surface when its scale was told: see `agent.contract.frame.Sight`."""

    focal_px: tuple[Positive, Positive] = Field(description="Along x and y.")
    principal_px: tuple[float, float] = Field(description="x, y; pixel centres at integers.")
    distortion: tuple[float, ...] = Field(default=(), description="As OpenCV orders it; empty: none.")
    distance_mm: Positive = Field(description="From the camera to the surface along the optical axis.")
    tilt_deg: float = Field(default=0.0, ge=0, le=85, description="Of a plane, between the axis and its normal.")
    toward_deg: float = Field(default=0.0, description="Where in the picture it recedes: 0 right, 90 up.")
    radius_mm: Positive | None = Field(default=None, description="Of a tunnel; null: the surface is a plane.")
    along: Literal["x", "y"] = Field(default="x", description="The picture's axis that the tunnel runs along.")
    sense: Literal[1, -1] = Field(default=1, description="-1: chainage falls to the picture's right.")
    attitude_deg: tuple[float, float, float] | None = Field(
        default=None, description="Yaw, pitch and roll of the camera; null: unknown."
    )

    @model_validator(mode="after")
    def _is_a_lens_in_reach(self) -> Self:
        if len(self.distortion) not in {0, 4, 5, 8, 12, 14}:
            raise ValueError(f"{len(self.distortion)} distortion coefficients are those of no lens")
        if self.radius_mm is not None and self.distance_mm > 2 * self.radius_mm + 1e-6:
            raise ValueError(f"distance_mm={self.distance_mm} is more than the tunnel is wide")
        return self


class FrameRow(Strict):
    """One line of `frames.jsonl`."""

    index: Count
    name: str
    source: str
    camera: str
    status: Literal["inferred", "skipped", "rendered"]
    reason: str | None = Field(default=None, description="Why it was skipped.")
    media_time_ns: int | None = None
    sha256: str | None = Field(default=None, description="Of the camera's file, or of the pixels of a video frame.")
    width: Count = 0
    height: Count = 0
    scale_mm_px: float | None = None
    scale_source: ScaleSource = "none"
    scale_method: ScaleMethod | None = Field(default=None, description="How the scale was come by.")
    scale_error: Px = Field(default=0.0, description="Its standard error, as a share of it; 0: nobody told.")
    scale_reason: str | None = Field(default=None, description="Why the scale is unknown, where one was asked for.")
    sight: SightRow | None = Field(
        default=None, description="How the picture lies on the surface; null: its scale is the same all over it."
    )
    lat: float | None = Field(default=None, description="Of the camera, degrees, WGS 84.")
    lon: float | None = None
    alt_m: float | None = None
    chainage_m: float | None = Field(default=None, description="Of the camera along the tunnel.")
    clock_deg: float | None = Field(default=None, description="Where it looks: 0 crown, 90 right.")
    pose: PoseRow | None = None
    runtime: str | None = None
    variant: str | None = None
    tiles: Count = 0
    tiles_segmented: Count = Field(default=0, description="Tiles that passed the gate.")
    tiles_ignored: Count = Field(default=0, description="Tiles that lay under the ignored part as a whole.")
    ignored_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="How much of the picture was ignored: the carrier's own gear."
    )
    cracks: Count = Field(default=0, description="Sightings in this frame, of every kind.")
    file: str | None = Field(default=None, description="Where the picture lies in the record, if it was kept.")
    captured_ms: int | None = Field(
        default=None, description="Of a live camera: when it arrived, since 1970, UTC, by the device's clock."
    )
    sharpness: float | None = Field(
        default=None, ge=0, description="Variance of the Laplacian: to be compared within one camera only."
    )
    exposure: float | None = Field(default=None, ge=0, le=1, description="Mean grey.")
    clipped_dark: float | None = Field(default=None, ge=0, le=1, description="Share of black pixels.")
    clipped_bright: float | None = Field(default=None, ge=0, le=1, description="Share of white pixels.")


class MaskRle(Strict):
    """A mask as COCO's uncompressed run lengths: column by column, background first."""

    size: tuple[int, int] = Field(description="Height and width of the frame, px.")
    counts: tuple[int, ...]


class BranchRow(Strict):
    """One unbranched stretch of the centre line."""

    line_px: tuple[tuple[float, float], ...] = Field(description="x, y in the frame, px.")
    width_px: tuple[Px | None, ...] = Field(description="Width at each point, px; null where not measured.")


class TrackRow(Strict):
    """One line of `tracks.jsonl`: something happened to a crack that is followed over frames."""

    id: str = Field(description="uuid5 of mission, camera, frame, crack and revision: the same in every replay.")
    crack_id: str
    event: CrackEvent
    revision: Count
    parents: tuple[str, ...] = Field(default=(), description="Crack ids; see the report's field.")
    camera: str
    frame: Count = Field(description="When it happened.")
    kind: Kind
    sightings: Count = Field(description="Frames in which it was found.")
    in_view: Count = Field(description="Frames that showed its place.")
    first_frame: Count
    last_frame: Count
    best_id: str = Field(description="Of the line in cracks.jsonl that shows it best; width and so on are that one's.")
    best_frame: Count
    length_px: Px = Field(description="Of all that was seen of it, every stretch once; px of the best frame.")
    length_mm: Px | None


class ReviewRow(Strict):
    """One line of `reviews.jsonl`: a verdict, a merge, a comment, or an undo of one of these.

    `agent.record.reviews` writes and reads them.
    """

    id: str | None = Field(default=None, description="UUID; null in lines of before they had one, which nobody undoes.")
    ts: Count = Field(description="Milliseconds since 1970, UTC, by the clock of the computer that wrote it.")
    reviewer: str | None = Field(default=None, description="Who; what the sender says, which nothing proves.")
    crack_id: str
    verdict: Verdict | None = None
    merge_into: str | None = Field(default=None, description="The crack that this one is part of.")
    undo: str | None = Field(default=None, description="Id of the line that is taken back.")
    note: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        default=None, description="Why; alone, a comment."
    )
    after: dict[str, Count] = Field(
        default_factory=dict,
        description="By the crack ids that it tells something new of: the revision in tracks.jsonl at that moment.",
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        said = [self.verdict, self.merge_into, self.undo]
        if sum(one is not None for one in said) > 1 or (self.note is None and said == [None] * 3):
            raise ValueError("a review is one of verdict, merge_into and undo, each with or without a note, or a note")
        return self


class CoverageArea(Strict):
    """A part of the surface of one state, on the grid of cells."""

    camera: str
    surface: SurfaceKind = Field(
        default="wall",
        description="What x and y are. wall: the pose's. lining: chainage, and around the tunnel, 0 at the crown and "
        "against the clock angle. ground: east and south of Coverage.ground_lat, ground_lon.",
    )
    state: Literal["inspected", "not_gradable", "never_seen"]
    reason: NotGradable | None = Field(default=None, description="Why it is not gradable; null in old records.")
    outlines_mm: tuple[tuple[tuple[float, float], ...], ...] = Field(
        description="x, y on the surface, mm: the outer outline first, then those of its holes."
    )
    area_m2: Px


class CoverageWidths(Strict):
    """The narrowest crack that could be found, block by block of what a camera saw of a surface."""

    camera: str
    surface: SurfaceKind
    x_mm: float = Field(description="Of the first block's corner; y grows downwards.")
    y_mm: float
    block_mm: tuple[Positive, Positive] = Field(description="Width and height of a block.")
    columns: Count
    width_mm: tuple[Px | None, ...] = Field(
        description="Row by row: cracks of this width can be found all over the block, as far as it was inspected; "
        "null where nothing of it was."
    )


class Coverage(Strict):
    """`coverage.json`: what was inspected, what was seen but tells nothing, and what was never seen.

    Areas of the surface count every cell once. A frame has a place on it by its pose, by chainage and clock angle in a
    tunnel of known radius, or by position and attitude over level ground. Areas of frames that have none are summed
    frame by frame, where their scale is known, so that what two frames show counts twice; else frames are counted.
    """

    schema_: Literal["coverage/1"] = Field(default="coverage/1", alias="schema")
    cell_mm: float
    inspected_m2: Px | None = Field(description="Of the surface, each place once; null where no frame had a place.")
    not_gradable_m2: Px | None
    never_seen_m2: Px | None = Field(description="Of the target area; without one, gaps enclosed by what was seen.")
    target: bool = Field(description="Whether a target area was given.")
    not_gradable_blur_m2: Px | None
    not_gradable_dark_m2: Px | None
    not_gradable_bright_m2: Px | None
    not_gradable_ignored_m2: Px | None
    smallest_width_mm: Px | None = Field(description="That could have been found, median over the inspected area.")
    smallest_width_worst_mm: Px | None = Field(description="The same, 95th percentile: the worst part.")
    unplaced_inspected_m2: Px | None = Field(description="Frames with a scale and no place, summed frame by frame.")
    unplaced_not_gradable_m2: Px | None
    unscaled_frames: Count = Field(description="Frames without a scale.")
    unscaled_gradable: Px = Field(description="Their gradable shares, summed: in frames.")
    beyond_memory_m2: Px = Field(default=0.0, description="Seen, but not kept in cells: coverage.most_cells.")
    areas: tuple[CoverageArea, ...] = ()
    widths: tuple[CoverageWidths, ...] = ()
    lining_radius_mm: Positive | None = Field(default=None, description="Of the tunnel whose lining was seen.")
    ground_lat: float | None = Field(default=None, description="Degrees, WGS 84: where the ground's x and y are 0.")
    ground_lon: float | None = None


class CrackRow(Strict):
    """One line of `cracks.jsonl`: a crack as seen in one frame. mm fields are null where the scale is unknown."""

    id: str = Field(description="uuid5 of mission, camera, frame, crack and revision: the same in every replay.")
    crack_id: str
    revision: Count
    frame: Count
    camera: str
    kind: Kind
    event: CrackEvent | None = Field(default=None, description="What happened last to the crack; null in a sighting.")
    parents: tuple[str, ...] = Field(default=(), description="Crack ids; see the report's field.")
    sightings: Count = Field(default=1, description="Frames that showed the crack; 1 in a sighting.")
    confidence: Annotated[float, Field(ge=0, le=1)]
    severity: Severity
    severity_standard: str | None = Field(default=None, description="Id, revision of its table, category.")
    severity_class: str | None = None
    severity_clause: str | None = None
    severity_p: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Probability of the class, given the interval of the width."
    )
    severity_reason: str | None = Field(default=None, description="Why it is ungraded although a standard was given.")
    gradable: bool
    not_gradable_reason: str | None
    bbox_x: Count
    bbox_y: Count
    bbox_w: Count
    bbox_h: Count
    length_px: Px
    width_px: Px | None
    width_lo_px: Px | None = Field(default=None, description="Lower end of the 90 % interval of width_px.")
    width_hi_px: Px | None = Field(default=None, description="Upper end of the 90 % interval of width_px.")
    width_p50_px: Px | None
    width_max_px: Px | None
    area_px: Count
    orientation_deg: float | None
    branch_points: Count | None = Field(default=None, description="Where three or more branches meet.")
    pattern: Literal["single", "branched", "map"] | None = None
    scale_mm_px: float | None
    scale_source: ScaleSource
    length_mm: Px | None
    width_mm: Px | None
    width_lo_mm: Px | None = Field(default=None, description="Lower end of the 90 % interval of width_mm.")
    width_hi_mm: Px | None = Field(default=None, description="Upper end; both hold the scale's own error.")
    width_p50_mm: Px | None
    width_max_mm: Px | None
    area_mm2: Px | None
    lat: float | None = Field(default=None, description="Degrees, WGS 84; see position_of.")
    lon: float | None = None
    alt_m: float | None = None
    chainage_m: float | None = None
    clock_deg: float | None = Field(default=None, description="Around the tunnel: 0 crown, 90 right.")
    position_of: Literal["camera", "surface"] | None = Field(
        default=None, description="Whose place it is: the crack's own, or only that of the camera that saw it."
    )
    branches: tuple[BranchRow, ...]
    mask: MaskRle
