"""Small flights for tests: drawn frames, cracks with masks, headers."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.crack import Branch, Crack
from agent.contract.flight import BundleUsed, CrackRow, FlightHeader, FrameRow, SourceRef, TrackRow
from agent.contract.frame import Frame, Scale, SkippedFrame
from agent.contract.reports import CrackEvent
from agent.record import FlightRecorder, crack_row, frame_row, skipped_row

MISSION = "mission-1"
HALF_MM = Scale(mm_per_px=0.5, source="setting")
HOSTILE = "<img src=x onerror=alert(1)>\"'&\n\u202egnp.exe\ud83d =cmd|' /C calc'!A0"


def header(**changed: object) -> FlightHeader:
    """Return the header of a replay with a bundle."""
    return FlightHeader(
        mission_id=MISSION,
        mode="replay",
        device="bench",
        complete=False,
        sources=(SourceRef(name="photos", fingerprint="ab" * 32),),
        bundle=BundleUsed(name="default", sha256="cd" * 32),
        runtime="onnxruntime",
        variant="fp32",
        settings={"detect": {"segmenter_threshold": 0.5, "gate": True}, "record": {"frames": "none"}},
        version="0.1.0",
    ).model_copy(update=changed)


def frame(index: int, name: str | None = None, *, width: int = 320, height: int = 200, scale: Scale = HALF_MM) -> Frame:
    """Return a grey, grainy frame with two dark lines where `cracks_of` says."""
    random = np.random.default_rng(index)
    image: UInt8 = random.integers(120, 160, (height, width, 3), np.uint8)
    for crack in cracks_of(width, height, scale):
        x, y, w, h = crack.bbox_xywh_px
        image[y : y + h, x : x + w][crack.mask] = 30
    return Frame(
        index=index,
        name=name if name is not None else f"photo{index}",
        source=f"{name if name is not None else f'photo{index}'}.jpg",
        camera="cam0",
        image_rgb=image,
        sha256=hashlib.sha256(image.tobytes()).hexdigest(),
        media_time_ns=index * 40_000_000,
        scale=scale,
    )


def with_encoded(picture: Frame, encoded: bytes, suffix: str) -> Frame:
    """Return the frame with the camera's own file."""
    return replace(picture, encoded=encoded, suffix=suffix, sha256=hashlib.sha256(encoded).hexdigest())


def cracks_of(width: int = 320, height: int = 200, scale: Scale = HALF_MM) -> tuple[Crack, ...]:
    """Return a slanted crack, 3 px wide, and a level one, 1 px wide and not gradable."""
    slanted = [(width // 8, height // 4), (width // 2, height * 3 // 4)]
    level = [(width * 5 // 8, height // 4), (width * 7 // 8, height // 4)]
    return (
        _crack(slanted, 3, (height, width), scale, None),
        _crack(level, 1, (height, width), scale, "narrower than the blur"),
    )


def rows(index: int, name: str | None = None, *, scale: Scale = HALF_MM) -> tuple[FrameRow, list[CrackRow]]:
    """Return the lines of a frame with two cracks."""
    picture = frame(index, name, scale=scale)
    cracks = [
        crack_row(crack, picture, number=number, mission_id=MISSION)
        for number, crack in enumerate(cracks_of(scale=scale))
    ]
    return frame_row(picture, cracks=len(cracks), runtime="onnxruntime", variant="fp32", tiles=2), cracks


def event(crack_id: str, revision: int, word: CrackEvent = "update") -> TrackRow:
    """Return what happened to the first crack of one of the first frames, which shows it best, 500 px long or more."""
    best = next(row for index in range(3) for row in rows(index)[1] if row.crack_id == crack_id)
    return TrackRow(
        id=f"{crack_id}-{revision}",
        crack_id=crack_id,
        event=word,
        revision=revision,
        camera=best.camera,
        frame=best.frame,
        kind="crack",
        sightings=revision + 1,
        in_view=revision + 1,
        first_frame=best.frame,
        last_frame=best.frame,
        best_id=best.id,
        best_frame=best.frame,
        length_px=500.0 + revision,
        length_mm=None,
    )


def skipped(index: int, reason: str = "truncated JPEG", name: str = "broken") -> FrameRow:
    """Return the line of a picture that could not be read."""
    return skipped_row(SkippedFrame(index=index, name=name, source=f"{name}.jpg", camera="cam0", reason=reason))


def write_flight(folder: Path, frames: int, **changed: object) -> None:
    """Write a record of frames with two cracks each, and one that was skipped."""
    with FlightRecorder.open(folder, header(**changed)) as recorder:
        for index in range(frames):
            recorder.add(*rows(index))
        recorder.add(skipped(frames))


def _crack(
    points: list[tuple[int, int]], thickness: int, frame_hw: tuple[int, int], scale: Scale, reason: str | None
) -> Crack:
    canvas = np.zeros(frame_hw, np.uint8)
    line = np.array(points, np.int32)
    cv2.polylines(canvas, [line], False, 1, thickness)
    x, y, w, h = cv2.boundingRect(canvas)
    width = None if reason else float(thickness)
    return Crack(
        bbox_xywh_px=(x, y, w, h),
        mask=canvas[y : y + h, x : x + w].astype(bool),
        branches=(
            Branch(
                line_xy_px=line.astype(np.float32),
                width_px=np.array([np.nan, np.nan if reason else thickness], np.float32),
            ),
        ),
        length_px=float(np.hypot(*(line[1] - line[0]))),
        width_px=width,
        width_p50_px=width,
        width_max_px=width,
        area_px=int(canvas.sum()),
        orientation_deg=float(np.degrees(np.arctan2(-(line[1, 1] - line[0, 1]), line[1, 0] - line[0, 0])) % 180),
        confidence=0.875,
        not_gradable_reason=reason,
        scale=scale,
    )
