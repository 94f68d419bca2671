"""From what the pipeline holds to what the record says."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np

from agent.contract import ids
from agent.contract.crack import Branch, Crack
from agent.contract.flight import BranchRow, CrackRow, FrameRow, MaskRle, PoseRow, SightRow
from agent.contract.frame import Frame, Place, Pose, Quality, SkippedFrame
from agent.contract.reports import Kind
from agent.measure import mask_rle


def frame_row(
    frame: Frame,
    *,
    cracks: int,
    runtime: str | None = None,
    variant: str | None = None,
    tiles: int = 0,
    tiles_segmented: int = 0,
    tiles_ignored: int = 0,
    file: str | None = None,
    rendered: bool = False,
) -> FrameRow:
    """Return the line of a frame.

    Args:
        frame: the frame.
        cracks: how many were found in it.
        runtime: which inferred it.
        variant: of the network.
        tiles: of the frame.
        tiles_segmented: how many of them passed the gate.
        tiles_ignored: how many of them lay under the ignored part as a whole.
        file: where its picture lies in the record, if it was kept.
        rendered: it was drawn and no agent has seen it yet.
    """
    pose = frame.pose
    return FrameRow(
        index=frame.index,
        name=frame.name,
        source=frame.source,
        camera=frame.camera,
        status="rendered" if rendered else "inferred",
        media_time_ns=frame.media_time_ns,
        sha256=frame.sha256,
        width=frame.width,
        height=frame.height,
        scale_mm_px=frame.scale.mm_per_px,
        scale_source=frame.scale.source,
        scale_method=frame.scale.method,
        scale_error=frame.scale.error,
        scale_reason=frame.scale_reason,
        sight=_sight_row(frame),
        **_placed(frame.place),
        pose=None if pose is None else _pose_row(pose),
        runtime=runtime,
        variant=variant,
        tiles=tiles,
        tiles_segmented=tiles_segmented,
        tiles_ignored=tiles_ignored,
        ignored_share=frame.ignored_share,
        cracks=cracks,
        file=file,
        captured_ms=frame.captured_ms,
        **_quality_fields(frame.quality),
    )


def skipped_row(frame: SkippedFrame) -> FrameRow:
    """Return the line of a picture that could not be read."""
    return FrameRow(
        index=frame.index,
        name=frame.name,
        source=frame.source,
        camera=frame.camera,
        status="skipped",
        reason=frame.reason,
        captured_ms=frame.captured_ms,
        **_quality_fields(frame.quality),
    )


def quality_of(row: FrameRow) -> Quality | None:
    """Return the quality that a line tells; None where it was not measured."""
    if row.sharpness is None or row.exposure is None or row.clipped_dark is None or row.clipped_bright is None:
        return None
    return Quality(
        sharpness=row.sharpness,
        exposure=row.exposure,
        clipped_dark=row.clipped_dark,
        clipped_bright=row.clipped_bright,
    )


def crack_row(
    crack: Crack,
    frame: Frame,
    *,
    number: int,
    mission_id: str,
    crack_id: str | None = None,
    revision: int = 0,
    kind: Kind = "crack",
) -> CrackRow:
    """Return the line of a crack in a frame.

    Args:
        crack: as measured.
        frame: that it was seen in.
        number: the crack's place in the frame, from 0.
        mission_id: of the run.
        crack_id: which of the cracks that are followed over frames it is; None: one that nobody follows.
        revision: of what is known about that crack.
        kind: what it is by its geometry, as far as known in this frame.
    """
    x, y, width, height = crack.bbox_xywh_px
    where = frame.where(x + width / 2, y + height / 2)
    size, counts = mask_rle(crack.bbox_xywh_px, crack.mask, (frame.height, frame.width))
    return CrackRow(
        id=ids.sighting_id(mission_id, frame.camera, frame.index, number),
        crack_id=crack_id or ids.crack_id(mission_id, frame.camera, frame.index, number),
        revision=revision,
        frame=frame.index,
        camera=frame.camera,
        kind=kind,
        confidence=crack.confidence,
        severity=crack.grade.severity,
        severity_standard=crack.grade.standard,
        severity_class=crack.grade.name,
        severity_clause=crack.grade.clause,
        severity_p=crack.grade.p,
        severity_reason=crack.grade.reason,
        gradable=crack.gradable,
        not_gradable_reason=crack.not_gradable_reason,
        bbox_x=x,
        bbox_y=y,
        bbox_w=width,
        bbox_h=height,
        length_px=crack.length_px,
        width_px=crack.width_px,
        width_lo_px=crack.width_lo_px,
        width_hi_px=crack.width_hi_px,
        width_p50_px=crack.width_p50_px,
        width_max_px=crack.width_max_px,
        area_px=crack.area_px,
        branch_points=crack.branch_points,
        pattern=crack.pattern,
        orientation_deg=crack.orientation_deg,
        scale_mm_px=crack.scale.mm_per_px,
        scale_source=crack.scale.source,
        length_mm=crack.length_mm,
        width_mm=crack.width_mm,
        width_lo_mm=crack.width_lo_mm,
        width_hi_mm=crack.width_hi_mm,
        width_p50_mm=crack.width_p50_mm,
        width_max_mm=crack.width_max_mm,
        area_mm2=crack.area_mm2,
        **_placed(where),
        position_of=where.of if where.lat is not None or where.chainage_m is not None else None,
        branches=tuple(map(_branch_row, crack.branches)),
        mask=MaskRle(size=size, counts=tuple(counts)),
    )


def _quality_fields(quality: Quality | None) -> dict[str, float]:
    return {} if quality is None else asdict(quality)


def _placed(place: Place | None) -> dict[str, float | None]:
    place = place or Place()
    names = ("lat", "lon", "alt_m", "chainage_m", "clock_deg")
    return {name: getattr(place, name) for name in names}


def _pose_row(pose: Pose) -> PoseRow | None:
    """Telemetry may hold anything; JSON has no NaN."""
    known = (pose.x_mm, pose.y_mm, pose.rotation_deg, pose.radius_mm or 0.0, pose.standoff_mm or 0.0)
    if not all(map(math.isfinite, known)):
        return None
    return PoseRow(
        x_mm=pose.x_mm,
        y_mm=pose.y_mm,
        rotation_deg=pose.rotation_deg,
        radius_mm=pose.radius_mm,
        standoff_mm=pose.standoff_mm,
    )


def _sight_row(frame: Frame) -> SightRow | None:
    geometry = frame.scale.geometry
    return None if geometry is None else SightRow(**asdict(geometry.sight))


def _branch_row(branch: Branch) -> BranchRow:
    """Return a branch's line; what was measured is not validated point by point: JSON refuses what is no number."""
    x, y = branch.line_xy_px.T.tolist()
    width: list[float | None] = branch.width_px.tolist()
    for at in np.flatnonzero(np.isnan(branch.width_px)).tolist():
        width[at] = None
    return BranchRow.model_construct(line_px=tuple(zip(x, y, strict=True)), width_px=tuple(width))
