"""One frame's way through the agent. Sees protocols only; `app` builds the real parts."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import cv2

from agent.contract.arrays import Bool, UInt8
from agent.contract.crack import Crack
from agent.contract.flight import CrackRow, FrameRow
from agent.contract.frame import Frame, Scale, SkippedFrame
from agent.detect import Detection
from agent.errors import InferenceError
from agent.record import crack_row, frame_row, skipped_row

T = TypeVar("T")


class Finder(Protocol):
    """Frame -> probability map."""

    def detect(self, image_rgb: UInt8, *, ignored: Bool | None = None) -> Detection:
        """See `agent.detect.Detector.detect`."""
        ...


class Named(Protocol):
    """What inferred the frame that was seen last."""

    @property
    def runtime(self) -> str:
        """See `agent.infer.backend.Backend.runtime`."""
        ...

    @property
    def variant(self) -> str:
        """See `agent.infer.backend.Backend.variant`."""
        ...


class Measure(Protocol):
    """Probability map and frame -> cracks."""

    def __call__(self, probability: UInt8, image_rgb: UInt8, *, scale: Scale) -> list[Crack]:
        """See `agent.measure.measure_cracks`, with threshold and settings bound."""
        ...


class Record(Protocol):
    """What is written before anybody is told."""

    def keep_frame(self, frame: Frame, *, evidence: bool) -> str | None:
        """See `agent.record.FlightRecorder.keep_frame`."""
        ...

    def add(self, frame: FrameRow, cracks: Sequence[CrackRow] = ()) -> None:
        """See `agent.record.FlightRecorder.add`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sighting:
    """A frame and everything that was found in it."""

    frame: Frame
    probability: UInt8  # (H, W) x 255
    cracks: list[Crack]
    row: FrameRow
    crack_rows: list[CrackRow]


class Listener(Protocol):
    """Hears of each frame once it is recorded: reports, pictures, MQTT."""

    def saw(self, sighting: Sighting) -> None:
        """Take note of a frame that was inferred."""
        ...

    def skipped(self, row: FrameRow) -> None:
        """Take note of a frame that was not."""
        ...


@dataclass(slots=True)
class Tally:
    """What a run has done so far."""

    frames: int = 0
    skipped: int = 0
    cracks: int = 0
    tiles: int = 0
    tiles_segmented: int = 0
    megapixels: float = 0.0
    run_seconds: float = 0.0  # CPU seconds inside the runtime's calls
    stage_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # CPU seconds of the process

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the CPU seconds that the block takes."""
        start = time.process_time()
        try:
            yield
        finally:
            self.stage_seconds[name] += time.process_time() - start


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Frames in, recorded and reported cracks out."""

    finder: Finder
    backend: Named  # for the record
    measure: Measure
    record: Record
    listeners: Sequence[Listener]
    mission_id: str
    tally: Tally = field(default_factory=Tally)

    def run(self, frames: Iterable[Frame | SkippedFrame]) -> Tally:
        """See every frame, in order, one in memory at a time."""
        for frame in self._timed(frames):
            if isinstance(frame, SkippedFrame):
                self._skip(frame)
            else:
                self._see(frame)
        return self.tally

    def _see(self, frame: Frame) -> None:
        tally = self.tally
        try:
            with tally.stage("detect"):
                found = self.finder.detect(frame.image_rgb, ignored=frame.ignored)
            with tally.stage("measure"):
                cracks = self.measure(found.probability, frame.image_rgb, scale=frame.scale)
        except (InferenceError, MemoryError, cv2.error) as exc:  # one frame must not end a flight
            reason = str(exc) or type(exc).__name__
            return self._skip(
                SkippedFrame(
                    index=frame.index, name=frame.name, source=frame.source, camera=frame.camera, reason=reason
                )
            )
        with tally.stage("record"):
            row, crack_rows = self._record(frame, found, cracks)
        sighting = Sighting(frame=frame, probability=found.probability, cracks=cracks, row=row, crack_rows=crack_rows)
        with tally.stage("report"):
            for listener in self.listeners:
                listener.saw(sighting)
        tally.frames += 1
        tally.cracks += len(cracks)
        tally.tiles += found.tiles
        tally.tiles_segmented += found.tiles_segmented
        tally.megapixels += frame.image_rgb.shape[0] * frame.image_rgb.shape[1] / 1e6
        tally.run_seconds += found.run_seconds
        return None

    def _record(self, frame: Frame, found: Detection, cracks: list[Crack]) -> tuple[FrameRow, list[CrackRow]]:
        row = frame_row(
            frame,
            cracks=len(cracks),
            runtime=self.backend.runtime,
            variant=self.backend.variant,
            tiles=found.tiles,
            tiles_segmented=found.tiles_segmented,
            tiles_ignored=found.tiles_ignored,
            file=self.record.keep_frame(frame, evidence=bool(cracks)),
        )
        crack_rows = [
            crack_row(crack, frame, number=number, mission_id=self.mission_id) for number, crack in enumerate(cracks)
        ]
        self.record.add(row, crack_rows)
        return row, crack_rows

    def _skip(self, frame: SkippedFrame) -> None:
        row = skipped_row(frame)
        self.record.add(row)
        self.tally.skipped += 1
        for listener in self.listeners:
            listener.skipped(row)

    def _timed(self, frames: Iterable[T]) -> Iterator[T]:
        """Count what the source takes to give each frame as the stage `decode`."""
        iterator = iter(frames)
        while True:
            with self.tally.stage("decode"):
                item = next(iterator, None)
            if item is None:
                return
            yield item
