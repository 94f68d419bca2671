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
from agent.contract.flight import Coverage, CrackRow, FrameRow, TrackRow
from agent.contract.frame import Frame, Scale, SkippedFrame
from agent.detect import Detection
from agent.errors import InferenceError
from agent.record import BestSightings, Ledger, crack_row, frame_row, skipped_row
from agent.track import Followed

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


class Surveyor(Protocol):
    """Frames and their cracks -> which cracks these are, each once; and what was inspected."""

    def see(self, frame: Frame, cracks: Sequence[Crack]) -> Followed:
        """See `agent.track.Survey.see`."""
        ...

    def finish(self) -> list[TrackRow]:
        """See `agent.track.Survey.finish`."""
        ...

    def covered(self, *, areas: bool = True) -> Coverage:
        """See `agent.track.Survey.covered`."""
        ...


class Record(Protocol):
    """What is written before anybody is told."""

    def keep_frame(self, frame: Frame, *, evidence: bool) -> str | None:
        """See `agent.record.FlightRecorder.keep_frame`."""
        ...

    def add(self, frame: FrameRow, cracks: Sequence[CrackRow] = (), tracks: Sequence[TrackRow] = ()) -> None:
        """See `agent.record.FlightRecorder.add`."""
        ...

    def end_tracks(self, tracks: Sequence[TrackRow]) -> None:
        """See `agent.record.FlightRecorder.end_tracks`."""
        ...

    def write_coverage(self, coverage: Coverage) -> None:
        """See `agent.record.FlightRecorder.write_coverage`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sighting:
    """A frame and everything that was found in it."""

    frame: Frame
    probability: UInt8  # (H, W) x 255
    cracks: list[Crack]
    row: FrameRow
    crack_rows: list[CrackRow]
    told: list[CrackRow]  # cracks as wholes that there is news of: new, changed, ended


class Listener(Protocol):
    """Hears of each frame once it is recorded: reports, pictures, MQTT."""

    def saw(self, sighting: Sighting) -> None:
        """Take note of a frame that was inferred."""
        ...

    def skipped(self, row: FrameRow) -> None:
        """Take note of a frame that was not."""
        ...

    def ended(self, told: list[CrackRow], coverage: Coverage) -> None:
        """Take note of the end: the last word on every crack, and what was inspected."""
        ...


@dataclass(slots=True)
class Tally:
    """What a run has done so far."""

    frames: int = 0
    skipped: int = 0
    sightings: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    tiles: int = 0
    tiles_segmented: int = 0
    megapixels: float = 0.0
    run_seconds: float = 0.0  # CPU seconds inside the runtime's calls
    stage_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # CPU seconds of the process

    @property
    def cracks(self) -> int:
        """Cracks so far, each once; joints and the like not."""
        return self.ledger.cracks

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
    survey: Surveyor
    record: Record
    listeners: Sequence[Listener]
    mission_id: str
    tally: Tally = field(default_factory=Tally)
    best: BestSightings = field(default_factory=BestSightings)

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
            with tally.stage("track"):
                followed = self.survey.see(frame, cracks)
        except (InferenceError, MemoryError, cv2.error) as exc:  # one frame must not end a flight
            reason = str(exc) or type(exc).__name__
            return self._skip(
                SkippedFrame(
                    index=frame.index, name=frame.name, source=frame.source, camera=frame.camera, reason=reason
                )
            )
        with tally.stage("record"):
            row, crack_rows, told = self._record(frame, found, cracks, followed)
        sighting = Sighting(
            frame=frame, probability=found.probability, cracks=cracks, row=row, crack_rows=crack_rows, told=told
        )
        with tally.stage("report"):
            for listener in self.listeners:
                listener.saw(sighting)
        tally.frames += 1
        tally.sightings += len(cracks)
        tally.tiles += found.tiles
        tally.tiles_segmented += found.tiles_segmented
        tally.megapixels += frame.image_rgb.shape[0] * frame.image_rgb.shape[1] / 1e6
        tally.run_seconds += found.run_seconds
        return None

    def end(self) -> None:
        """Say the last word on every crack, and what was inspected; after the last frame."""
        with self.tally.stage("track"):
            rows = self.survey.finish()
            coverage = self.survey.covered()
        with self.tally.stage("record"):
            self.record.end_tracks(rows)
            self.record.write_coverage(coverage)
        told = self._tell(rows, [])
        for listener in self.listeners:
            listener.ended(told, coverage)

    def _record(
        self, frame: Frame, found: Detection, cracks: list[Crack], followed: Followed
    ) -> tuple[FrameRow, list[CrackRow], list[CrackRow]]:
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
            crack_row(
                crack,
                frame,
                number=number,
                mission_id=self.mission_id,
                crack_id=name.crack_id,
                revision=name.revision,
                kind=name.kind,
            )
            for number, (crack, name) in enumerate(zip(cracks, followed.names, strict=True))
        ]
        self.record.add(row, crack_rows, followed.rows)
        return row, crack_rows, self._tell(followed.rows, crack_rows)

    def _tell(self, rows: Sequence[TrackRow], crack_rows: Sequence[CrackRow]) -> list[CrackRow]:
        seen = {row.id: row for row in crack_rows}
        for row in rows:
            self.tally.ledger.note(row)
        told = [self.best.tell(row, seen) for row in rows]
        return [row for row in told if row is not None]

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
