"""One run over frames: builds its real parts from the settings, and takes it to its record, reports and delivery."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from agent import progress
from agent.bundles import open_bundle
from agent.choose import open_inference
from agent.contract.bundle import Bundle
from agent.contract.flight import FlightHeader, SourceRef
from agent.contract.frame import Frame, SkippedFrame
from agent.deliver import Channel, NullPublisher, Publisher, open_delivery
from agent.heading import Heading
from agent.health.device import DeviceState
from agent.health.vitals import Vitals
from agent.heap import keep_freed_memory
from agent.inference import Inference
from agent.listeners import Advancing, Publishing, Reporting
from agent.measure import measure_cracks
from agent.pipeline import Listener, Pipeline
from agent.place import surfaced
from agent.place.locate import Locator
from agent.place.located import missing
from agent.record import FlightRecorder, read_flight
from agent.record.reviews import Reviews
from agent.record.room import Room
from agent.report import ReportWriter
from agent.settings import Settings
from agent.severity.grading import grading
from agent.summary import Summary
from agent.track import Survey, untangling

CONNECT_S: Final = 10.0  # how long a replay that publishes waits for its broker


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """What one replay is asked for, beside the device's settings."""

    sources: tuple[Path, ...]
    out: Path
    mm_per_px: float | None = None
    telemetry: Path | None = None
    camera: str | None = None  # of the settings' cameras, whose scale and lens are used
    save_probabilities: bool = False
    video: bool = False
    publish: bool = False
    recursive: bool = False
    overwrite: bool = False


class Frames(Protocol):
    """Gives the frames of a run; calls `idle` while it waits for them, and ends if that returns False."""

    def __call__(self, *, idle: Callable[[], bool]) -> Iterator[Frame | SkippedFrame]:
        """Yield each frame in its turn."""
        ...


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What a run goes over."""

    refs: tuple[SourceRef, ...]
    frames: Frames
    located: Sequence[Locator] = ()  # for what they counted
    length: int | None = None  # frames to expect, where that is known
    device: DeviceState | None = None  # of a live run
    room: Room | None = None  # likewise
    reviews: Reviews | None = None  # likewise
    vehicle: Callable[[], Mapping[str, Any] | None] = lambda: None  # for `telemetry`
    replayed: FlightHeader | None = None  # of the record, where one is replayed and nothing else


@dataclass(frozen=True)
class Run:
    """A bundle on a runtime with settings, ready to go over sources."""

    settings: Settings
    mode: Literal["live", "replay"]
    watching: tuple[Listener, ...] = ()
    bundle: Bundle = field(init=False)
    inference: Inference = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bundle", open_bundle(self.settings.bundle))
        object.__setattr__(self, "inference", open_inference(self.settings, self.bundle, mode=self.mode))

    def over(
        self,
        stream: Stream,
        options: ReplayOptions,
        *,
        show_progress: bool,
        vitals: Vitals | None = None,
        channel: Channel | None = None,
    ) -> Summary:
        """See every frame of the stream; write record and reports; publish if asked, a live run by `channel`."""
        start = time.monotonic()
        keep_freed_memory()
        with ExitStack() as stack:
            stack.callback(self.inference.close)
            header = self._header(stream, options)
            # what may fail comes first: --overwrite must not remove a run that cannot be replaced
            publisher = channel.use(self.settings) if channel else self._replays_publisher(options, stack)
            recorder = FlightRecorder.open(options.out, header, overwrite=options.overwrite, room=stream.room)
            writer = stack.enter_context(
                ReportWriter(options.out, probabilities=options.save_probabilities, video=options.video)
            )
            publishing = Publishing(
                publisher,
                recorder=recorder,
                header=header,
                info=self._heading.info(),
                serving=self.inference,
                evidence=self._sends_evidence(options),
                device=stream.device,
                vehicle=stream.vehicle,
                reviews=stream.reviews,
            )
            advance = stack.enter_context(progress.bar("frames", stream.length, shown=show_progress))
            pipeline = self._pipeline(
                recorder,
                [Reporting(writer, stream.room), publishing, Advancing(advance), *self.watching],
                header.mission_id,
            )
            frames = stream.frames(idle=partial(_idle, publishing, vitals))
            if vitals:
                vitals.watch(pipeline.tally, publisher)
                frames = vitals.over(frames)
            stopped = False
            try:
                publishing.start()
                pipeline.run(frames)
                stopped = vitals is not None and vitals.ending
            except KeyboardInterrupt:
                stopped = True
            except BaseException:
                _end(pipeline, recorder, writer, publishing, complete=False)
                raise
            page, unacknowledged = _end(pipeline, recorder, writer, publishing, complete=not stopped)
        if stopped and self.mode == "replay":  # to stop is how a service ends, but not how a replay does
            raise KeyboardInterrupt
        return Summary(
            out=options.out,
            report=page,
            tally=pipeline.tally,
            wall_seconds=time.monotonic() - start,
            ignored=sum((Counter(ref.ignored) for ref in stream.refs), Counter()),
            unplaced=missing(stream.located),
            unacknowledged=unacknowledged if options.publish else None,
        )

    @property
    def _heading(self) -> Heading:
        return Heading(self.settings, self.bundle, self.inference)

    def _header(self, stream: Stream, options: ReplayOptions) -> FlightHeader:
        mission_id = options.out.name
        if self.mode == "replay":
            mission_id = self._heading.replays_id(stream.refs, mm_per_px=options.mm_per_px, replayed=stream.replayed)
        return self._heading.header(mission_id, self.mode, stream.refs)

    def _pipeline(self, recorder: FlightRecorder, listeners: list[Listener], mission_id: str) -> Pipeline:
        return Pipeline(
            finder=self.inference,
            backend=self.inference,
            measure=grading(
                untangling(
                    surfaced(
                        partial(
                            measure_cracks, threshold=self._heading.segmenter_threshold, settings=self.settings.measure
                        )
                    )
                ),
                self.settings.severity,
            ),
            survey=Survey(mission_id, self.settings.track, self.settings.coverage),
            record=recorder,
            listeners=listeners,
            mission_id=mission_id,
        )

    def _replays_publisher(self, options: ReplayOptions, stack: ExitStack) -> Publisher:
        if not options.publish:
            return NullPublisher()
        # a replay can be repeated, and must not take over the session of an agent that runs on the same device
        client_id = f"crackscout-{self.settings.device}-replay-{os.getpid()}"
        delivery = open_delivery(self.settings, os.environ, client_id=client_id)
        stack.callback(delivery.close)
        delivery.wait_connected(CONNECT_S)
        return delivery

    def _sends_evidence(self, options: ReplayOptions) -> bool:
        return options.publish and self.settings.delivery.evidence


def _idle(publishing: Publishing, vitals: Vitals | None) -> bool:
    """Go on while there is nothing to infer, and return whether to wait any longer."""
    publishing.idle()
    if vitals is None:
        return True
    vitals.beat()
    vitals.told()
    return not vitals.ending


def _end(
    pipeline: Pipeline, recorder: FlightRecorder, writer: ReportWriter, publishing: Publishing, *, complete: bool
) -> tuple[Path, int]:
    """End tracks, record, report and delivery, each whatever becomes of the one before."""
    try:
        try:
            pipeline.end()
        finally:
            recorder.close(complete=complete)
        page = writer.finish(read_flight(recorder.folder))
    finally:
        unacknowledged = publishing.end()
    return page, unacknowledged
