"""The MQTT payloads. Flat JSON; each model is also a JSON Schema 2020-12 file in `schemas/`.

Consumers drop repeated `id`s, keep the highest `revision` of each `crack_id`, and must ignore fields they do not know:
added optional fields are no new version.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.contract.frame import ScaleSource

Severity = Literal["none", "low", "moderate", "high", "severe", "ungraded"]
Kind = Literal["crack", "joint", "cable", "shadow", "stain", "print"]
CrackEvent = Literal["new", "update", "merge", "split", "final", "retracted"]
Verdict = Literal["confirmed", "rejected", "unsure"]
Topic = Literal["connection", "info", "state", "mission", "crack", "coverage", "gap", "ack", "telemetry"]
CommandName = Literal[
    "pause", "resume", "start_mission", "end_mission", "snapshot", "set", "reload", "resync", "review", "clear"
]
Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0)]


class Payload(BaseModel):
    """Immutable; readers of this version ignore fields that a later one may add."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, defer_build=True)


class Stamped(Payload):
    """What every payload but `connection` begins with."""

    device: str
    ts: int = Field(description="Milliseconds since 1970, UTC, of the event; of the media in a replay.")
    time: str = Field(description="`ts` as RFC 3339.")


class ConnectionReport(Payload):
    """Topic `connection`: retained, and the last will."""

    schema_: Literal["connection/1"] = Field(default="connection/1", alias="schema")
    status: Literal["online", "offline"]
    device: str


class InfoReport(Stamped):
    """Topic `info`: what runs here."""

    schema_: Literal["info/1"] = Field(default="info/1", alias="schema")
    version: str
    bundle: str
    bundle_sha256: str
    config_sha256: str
    runtime: str
    variant: str
    cameras: tuple[str, ...]
    segmenter_threshold: Unit
    gate_threshold: Unit | None


class StateReport(Stamped):
    """Topic `state`: how it goes, on change and at least every 30 s."""

    schema_: Literal["state/1"] = Field(default="state/1", alias="schema")
    state: Literal["starting", "running", "paused", "degraded", "stopped"]
    mission_id: str | None
    frames: int = Field(ge=0)
    skipped: int = Field(ge=0)
    cracks: int = Field(ge=0)
    frames_per_second: Positive | None
    runtime: str
    variant: str
    alarms: tuple[str, ...] = Field(default=(), description="What somebody should look at; `cmd/clear` ends them.")
    cameras: tuple[str, ...] = Field(default=(), description="By name; the lists below are in the same order.")
    camera_states: tuple[Literal["opening", "live", "lost", "ended", "hung"], ...] = ()
    camera_problems: tuple[str, ...] = Field(default=(), description="Why it is not live; empty where it is.")
    camera_fps: tuple[Positive | None, ...] = Field(default=(), description="At which pictures arrive.")
    pictures: int | None = Field(default=None, ge=0, description="Arrived since the service began, all cameras.")
    pictures_dropped: int | None = Field(
        default=None, ge=0, description="Of those: a newer one came before the networks were free."
    )
    pictures_repeated: int | None = Field(default=None, ge=0, description="Of those: the same as the one before.")
    pictures_damaged: int | None = Field(default=None, ge=0, description="Of those: could not be decoded.")
    pictures_poor: int | None = Field(default=None, ge=0, description="Skipped as blurred, black or white.")
    pictures_not_kept: int | None = Field(
        default=None, ge=0, description="Were to be kept in the record, for which there was no room."
    )
    camera_losses: int | None = Field(default=None, ge=0, description="Times that a camera was lost.")
    pace: Literal["full", "slow", "stopped"] | None = Field(default=None, description="Set by heat and power.")
    pace_reason: str | None = None
    temperature_c: float | None = Field(default=None, description="Of the hottest zone; null: nothing can be read.")
    power_w: Positive | None = Field(default=None, description="Of the whole board; null: nothing measures it.")
    degraded_reason: str | None = Field(
        default=None, description="Why the run is not on the runtime that its settings ask for; null where it is."
    )


class MissionReport(Stamped):
    """Topic `mission`: retained."""

    schema_: Literal["mission/1"] = Field(default="mission/1", alias="schema")
    id: str
    mission_id: str
    event: Literal["start", "end", "report"]
    mode: Literal["live", "replay"]
    complete: bool
    frames: int = Field(ge=0)
    skipped: int = Field(ge=0)
    cracks: int = Field(ge=0)
    structure: str | None = Field(default=None, description="What is inspected, as its owner names it.")
    inspector: str | None = None
    standard: str | None = Field(default=None, description="By which severity is graded.")


class CrackReport(Stamped):
    """Topic `crack`. mm fields are null where the scale is unknown, never guessed."""

    schema_: Literal["crack/1"] = Field(default="crack/1", alias="schema")
    id: str = Field(description="UUID; in a replay the same every time.")
    seq: int = Field(ge=0, description="Counts the reports of one boot.")
    boot_id: str
    mission_id: str
    crack_id: str
    event: CrackEvent
    parents: tuple[str, ...] = Field(
        default=(),
        description="Crack ids: of a merge, those that became one with this; of a split, the one that this was part "
        "of; of a retraction, the one that took its place, if any.",
    )
    revision: int = Field(ge=0)
    mode: Literal["live", "replay"]
    kind: Kind
    pattern: Literal["single", "branched", "map"] | None = None
    backfill: bool = False
    clock_synced: bool
    mono_ns: int | None = Field(default=None, description="Monotonic clock of this boot; null in a replay.")
    camera: str
    frame: int = Field(ge=0)
    severity: Severity
    severity_standard: str | None = None
    severity_class: str | None = None
    severity_clause: str | None = None
    severity_p: Unit | None = Field(default=None, description="Of severity_class, given the interval of the width.")
    severity_reason: str | None = Field(default=None, description="Why it is ungraded although a standard was given.")
    gradable: bool
    not_gradable_reason: str | None
    review: Verdict | None = Field(default=None, description="What a person said of it last, and has not taken back.")
    reviewer: str | None = Field(default=None, description="Who said so.")
    review_note: str | None = Field(default=None, description="The newest note of a person on it.")
    review_id: str | None = Field(
        default=None,
        description="Of the line in reviews.jsonl that this report tells; null: it tells what the agent saw.",
    )
    confidence: Unit
    width_mm: Positive | None = Field(
        description="95th percentile along the centre line; of the mask alone, often too wide, where not gradable."
    )
    width_p50_mm: Positive | None
    width_max_mm: Positive | None
    width_lo_mm: Positive | None = Field(default=None, description="Lower end of the 90 % interval of width_mm.")
    width_hi_mm: Positive | None = Field(default=None, description="Upper end of the 90 % interval of width_mm.")
    length_mm: Positive | None
    area_mm2: Positive | None
    orientation_deg: float | None = Field(description="[0, 180), 0 = along x, counter-clockwise as seen.")
    width_px: Positive | None
    width_lo_px: Positive | None = Field(default=None, description="Lower end of the 90 % interval of width_px.")
    width_hi_px: Positive | None = Field(default=None, description="Upper end of the 90 % interval of width_px.")
    branch_points: Annotated[int, Field(ge=0)] | None = None
    length_px: Positive
    scale_mm_px: Positive | None
    scale_source: ScaleSource
    lat: float | None = None
    lon: float | None = None
    alt_m: float | None = None
    chainage_m: float | None = None
    clock_deg: float | None = None
    bbox_x: int = Field(ge=0)
    bbox_y: int = Field(ge=0)
    bbox_w: int = Field(ge=1)
    bbox_h: int = Field(ge=1)
    evidence_sha256: str | None = None
    evidence_url: str | None = None
    bundle: str = Field(description="First 12 digits of the bundle's sha256.")


class GapReport(Stamped):
    """Topic `gap`: reports that nobody will get. Never dropped itself; those of one cause are told together."""

    schema_: Literal["gap/1"] = Field(default="gap/1", alias="schema")
    id: str
    boot_id: str
    reason: Literal["full", "refused_full", "refused", "corrupt"] = Field(
        description="full: dropped unsent, to make room; refused_full: found no room; refused: the broker will never "
        "take it; corrupt: the outbox was broken, and what could be read of it was sent."
    )
    class_: str | None = Field(alias="class", description="Of the reports: evidence, crack_low, ...; null: unknown.")
    count: int | None = Field(ge=0, description="null: unknown.")
    first_seq: int | None = Field(default=None, description="Of the outbox's own count; null: never got one.")
    last_seq: int | None = None
    ids: tuple[str, ...] = Field(default=(), description="Of the reports, as far as they are not too many.")


class AckReport(Payload):
    """Topic `ack/<id>`: what became of a command."""

    schema_: Literal["ack/1"] = Field(default="ack/1", alias="schema")
    id: str = Field(description="The command's.")
    cmd: str
    status: Literal["accepted", "done", "rejected"]
    code: Literal["bad_json", "unknown", "out_of_range", "expired", "duplicate", "too_large", "failed"] | None = None
    error: str | None = Field(default=None, description="What was wrong, in words.")
    ts: int = Field(description="Milliseconds since 1970, UTC.")


class TelemetryReport(Stamped):
    """Topic `telemetry`: where the vehicle is. At QoS 0."""

    schema_: Literal["telemetry/1"] = Field(default="telemetry/1", alias="schema")
    lat: float | None = None
    lon: float | None = None
    alt_m: float | None = None
    heading_deg: float | None = None
    chainage_m: float | None = None
    standoff_m: Positive | None = Field(default=None, description="From the camera to the surface, as measured.")
    armed: bool | None = None


class CoverageReport(Stamped):
    """Topic `coverage`: retained, sent when the run ends. Null where it is not known."""

    schema_: Literal["coverage/1"] = Field(default="coverage/1", alias="schema")
    id: str
    mission_id: str
    mode: Literal["live", "replay"]
    complete: bool = Field(description="Whether the run has ended.")
    inspected_m2: Positive | None = Field(
        description="Of the surface, each place once; null where no frame had a pose."
    )
    not_gradable_m2: Positive | None = Field(description="Seen, but too blurred, dark, bright or covered.")
    never_seen_m2: Positive | None = Field(
        description="Of the target area; without one, gaps enclosed by what was seen."
    )
    not_gradable_blur_m2: Positive | None
    not_gradable_dark_m2: Positive | None
    not_gradable_bright_m2: Positive | None
    not_gradable_ignored_m2: Positive | None
    smallest_width_mm: Positive | None = Field(
        description="That could have been found: median over the inspected area."
    )
    smallest_width_worst_mm: Positive | None = Field(description="The same, 95th percentile.")
    unplaced_inspected_m2: Positive | None = Field(
        description="Frames with a scale and no pose, summed frame by frame: what two frames show counts twice."
    )
    unplaced_not_gradable_m2: Positive | None
    unscaled_frames: int = Field(ge=0, description="Frames without a scale.")
    unscaled_gradable: Positive = Field(description="Their gradable shares, summed: in frames.")


REPORTS: Final[dict[Topic, type[Payload]]] = {
    "connection": ConnectionReport,
    "info": InfoReport,
    "state": StateReport,
    "mission": MissionReport,
    "crack": CrackReport,
    "coverage": CoverageReport,
    "gap": GapReport,
    "ack": AckReport,
    "telemetry": TelemetryReport,
}
