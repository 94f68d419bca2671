"""Builds the real parts from settings and runs them: the only place that knows which class stands behind a protocol."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from pydantic import ValidationError

from agent import logs, progress
from agent.bundles import open_bundle
from agent.capture import open_sources
from agent.capture.cameras import Cameras
from agent.capture.open_cameras import open_cameras
from agent.capture.photos import find_photos
from agent.capture.recorded import Recorded
from agent.capture.rendered import RenderedSource
from agent.capture.settings import CameraSettings
from agent.capture.source import Source
from agent.capture.telemetry import open_telemetry
from agent.capture.telemetry.clock import ClockOffset, estimate_offset
from agent.choose import open_inference
from agent.contract.bundle import Bundle
from agent.contract.flight import FlightHeader, SourceRef
from agent.contract.frame import Frame, Scale, SkippedFrame
from agent.control import Control
from agent.deliver import Channel, NullPublisher, Publisher, open_delivery
from agent.errors import ConfigError, InputError, OutputError
from agent.heading import Heading
from agent.health.device import DeviceState
from agent.health.disk import check_writable
from agent.health.governor import open_governor
from agent.health.notify import notifier
from agent.health.vitals import Vitals
from agent.heap import keep_freed_memory
from agent.inference import Inference
from agent.listeners import Advancing, Publishing, Reporting
from agent.measure import measure_cracks
from agent.pipeline import Listener, Pipeline
from agent.place import surfaced
from agent.place.calibrate import Calibration, calibrate, write_calibration
from agent.place.locate import Locator
from agent.place.located import LiveLocators, Located, located, missing
from agent.place.settings import PlaceSettings
from agent.record import FlightRecorder, read_flight
from agent.record.reviews import Reviews
from agent.record.room import Room
from agent.report import HandedOn, ReportWriter, report_again
from agent.report.formats import parse_formats
from agent.settings import Settings
from agent.severity.grading import grading
from agent.simulate.inspection.flight import render_inspection
from agent.simulate.inspection.settings import InspectionSettings
from agent.simulate.inspection.settings import load as load_inspection
from agent.simulate.inspection.telemetry import place_settings
from agent.simulate.recall import Recall, recall_of
from agent.simulate.write import TELEMETRY_FILE, kept_flight, write_flight
from agent.summary import Summary
from agent.track import Survey, untangling
from agent.vehicle import vehicle_now

logger = logging.getLogger(__name__)
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


def replay(
    options: ReplayOptions,
    settings: Settings,
    *,
    show_progress: bool = False,
    vitals: Vitals | None = None,
    watching: Sequence[Listener] = (),
) -> Summary:
    """Find the cracks in recorded pictures; leave a flight record and its reports in `options.out`.

    Args:
        options: what is asked for.
        settings: of the device.
        show_progress: on stderr.
        vitals: through which the run is looked at.
        watching: who else hears of each frame.

    Raises:
        CrackscoutError: see its kinds. What was written before stays, and is a valid record.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the record and the reports then hold what was done so far.
    """
    _keep_apart(options)
    camera = _camera(settings, options.camera)
    given = _scale(options.mm_per_px if options.mm_per_px is not None or camera is None else camera.mm_per_px)
    name = "camera" if camera is None else camera.name
    found = open_sources(options.sources, camera=name, scale=given, recursive=options.recursive)
    return _replayed(found, camera, options, settings, show_progress=show_progress, vitals=vitals, watching=watching)


def _replayed(
    found: Sequence[Source],
    camera: CameraSettings | None,
    options: ReplayOptions,
    settings: Settings,
    *,
    show_progress: bool,
    vitals: Vitals | None,
    watching: Sequence[Listener],
) -> Summary:
    """Go over open sources as `replay` does."""
    place = (camera and camera.place) or settings.place
    sources, locator = located(found, place, telemetry=options.telemetry)
    logging.getLogger("agent.deliver").setLevel(logging.ERROR)  # how delivery went is said once, at the end
    if options.publish and settings.mqtt.host is None:
        raise ConfigError("mqtt.host is not set: --publish needs a broker (CRACKSCOUT_MQTT__HOST or --config)")
    stream = _of_files(sources, locator)
    return _Run(settings, mode="replay", watching=tuple(watching)).over(
        stream, options, show_progress=show_progress, vitals=vitals
    )


def run(settings: Settings) -> Summary:
    """Watch the cameras of the settings until they end or the process is told to stop.

    Raises:
        CrackscoutError: see its kinds.
    """
    with closing(Channel(os.environ)) as channel:
        mission = prepare(settings, channel)
        logs.set_up(settings.logging)
        return mission(Vitals(notifier({})))


@dataclass(frozen=True)
class Prepared:
    """A live run whose parts are built and checked: call it to begin, or close it if it is never to."""

    begin: Callable[[Vitals], Summary]
    held: ExitStack

    def __call__(self, vitals: Vitals) -> Summary:
        """Watch the cameras until they end or the vitals are `ending`."""
        with self.held:
            return self.begin(vitals)

    def close(self) -> None:
        """Give back what is held: the network's memory on the GPU, tools, links. A second call does nothing."""
        self.held.close()


def prepare(
    settings: Settings, channel: Channel, control: Control | None = None, *, watching: Sequence[Listener] = ()
) -> Prepared:
    """Build and check what a live run needs, and return what begins it; nothing that runs is touched.

    Args:
        settings: of the device.
        channel: its reports' way out.
        control: what commands may do to it.
        watching: who else hears of each frame.

    Raises:
        CrackscoutError: see its kinds.
    """
    if not settings.cameras:
        raise ConfigError("cameras: none; name at least one under `cameras:`")
    check_writable(settings.record.dir, "record.dir")
    with ExitStack() as stack:
        governor = stack.enter_context(closing(open_governor(settings.heat)))
        cameras, refs = open_cameras(settings.cameras, settings.capture, pace=governor)
        agent_run = _Run(settings, mode="live", watching=tuple(watching))
        stack.callback(agent_run.inference.close)
        out = settings.record.dir / str(uuid.uuid4())
        options = ReplayOptions(sources=(), out=out, publish=settings.mqtt.host is not None)
        room = Room(settings.record, running=out)
        reviews = Reviews(out)
        device = DeviceState(cameras, governor, not_kept=lambda: room.not_kept)
        places = {one.name: one.place or settings.place for one in settings.cameras}
        locators = stack.enter_context(closing(LiveLocators(places, links=None if control is None else control.links)))
        stream = _Stream(
            refs=refs,
            frames=lambda *, idle: locators.over(cameras.frames(idle=idle)),
            located=locators.locators,
            device=device,
            room=room,
            reviews=reviews,
            vehicle=partial(vehicle_now, locators.vehicle) if locators.vehicle else lambda: None,
        )
        held = stack.pop_all()

    def begin(vitals: Vitals) -> Summary:
        vitals.device = device
        with room, cameras, _under(control, cameras, reviews):
            return agent_run.over(stream, options, show_progress=False, vitals=vitals, channel=channel)

    return Prepared(begin, held)


def demo(
    flight: str,
    out: Path,
    *,
    seconds: float,
    overwrite: bool,
    settings: Settings,
    show_progress: bool,
    on_page: Callable[[str], None] = lambda _: None,
    on_end: Callable[[Summary, Recall], None] = lambda *_: None,
    stay: bool = False,
) -> Summary:
    """Render a flight into `out`/flight, run the agent on it meanwhile into `out`/record, and say where the report is.

    Args:
        flight: tunnel or facade.
        out: where both go.
        seconds: length of the flight.
        overwrite: replace the runs that are there.
        settings: of the device.
        show_progress: on stderr.
        on_page: told where the page is, before the run begins.
        on_end: told what the run did and how much of the truth it found, while the page is still there.
        stay: go on serving the page afterwards, until Ctrl-C.

    Raises:
        CrackscoutError: see its kinds.
    """
    drawn = render_inspection(_inspection({"kind": flight, "seconds": seconds}))
    record, rendered = out / "record", out / "flight"
    if settings.record.frames == "none":  # the page zooms to the pixels of what was kept
        settings = settings.model_copy(update={"record": settings.record.model_copy(update={"frames": "evidence"})})
    place = PlaceSettings.model_validate(place_settings(drawn.settings))
    settings = settings.model_copy(update={"place": place})
    options = ReplayOptions(
        sources=(), out=record, telemetry=rendered / TELEMETRY_FILE, video=True, overwrite=overwrite
    )
    vitals = Vitals(notifier({}))
    from agent.dashboard.serving import open_run  # noqa: PLC0415 - a replay needs no web server

    with ExitStack() as stack:
        keep = stack.enter_context(kept_flight(drawn, rendered, overwrite=overwrite))
        page, live = open_run(record, settings.dashboard, vitals, os.environ, device=settings.device)
        stack.enter_context(closing(page))
        on_page(page.link)
        summary = _replayed(
            [RenderedSource(drawn, keep)],
            None,
            options,
            settings,
            show_progress=show_progress,
            vitals=vitals,
            watching=[live],
        )
        on_end(summary, recall_of(drawn, record))
        if stay:
            with suppress(KeyboardInterrupt):  # the way it ends
                page.wait()
    return summary


def view(record: Path, settings: Settings, *, on_page: Callable[[str], None]) -> None:
    """Serve the page on a record until Ctrl-C or SIGTERM.

    Args:
        record: finished, or still being written.
        settings: where, and what lies under the map.
        on_page: told where the page is.

    Raises:
        CrackscoutError: see its kinds.
        KeyboardInterrupt: the way it ends.
    """
    from agent.dashboard.serving import open_record  # noqa: PLC0415 - a replay needs no web server

    with closing(open_record(record, settings.dashboard, os.environ)) as page:
        on_page(page.link)
        page.wait()


def simulate(
    scene: Path | None, changes: Mapping[str, object], out: Path, *, overwrite: bool, show_progress: bool
) -> int:
    """Render an inspection with known cracks into `out`, and return how many frames it has.

    Args:
        scene: its settings, YAML; None takes the defaults.
        changes: what the command line says instead, by setting.
        out: becomes a flight record with truth, telemetry and the device's settings beside it.
        overwrite: replace the run that is there.
        show_progress: on stderr.

    Raises:
        ConfigError: the settings do not fit.
        OutputError: `out` cannot be used.
    """
    settings = scene_settings(scene, changes)
    with progress.bar("rendering", settings.frames, shown=show_progress) as advance:
        return write_flight(render_inspection(settings), out, overwrite=overwrite, progress=lambda _: advance())


def scene_settings(scene: Path | None, changes: Mapping[str, object]) -> InspectionSettings:
    """Return the settings of a rendered inspection: a file's, or the defaults, with some changed.

    Raises:
        ConfigError: they do not fit.
    """
    given = {} if scene is None else load_inspection(scene).model_dump()
    return _inspection({**given, **changes})


def _inspection(values: Mapping[str, object]) -> InspectionSettings:
    try:
        return InspectionSettings.model_validate(values)
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors())
        raise ConfigError(f"the flight cannot be rendered: {faults}") from exc


def report(
    record: Path, out: Path, *, overwrite: bool, formats: Sequence[str] = (), pdf: bool = False, position: str = "keep"
) -> HandedOn:
    """Write the reports of a flight record again, in the formats asked for.

    Raises:
        CrackscoutError: see its kinds.
    """
    wanted, positions = parse_formats(formats, pdf=pdf, positions=position)
    return report_again(record, out, overwrite=overwrite, formats=wanted, positions=positions)


def calibrate_lens(pictures: Path, out: Path, *, board: str, square_mm: float, overwrite: bool) -> Calibration:
    """Find a lens from a folder of pictures of a checkerboard, and write it to `out`.

    Raises:
        ConfigError: `board` is not columns x rows.
        InputError: no pictures, or too few with the board.
        OutputError: `out` is there already, or cannot be written.
    """
    columns, _, rows = board.lower().partition("x")
    if not (columns.isdecimal() and rows.isdecimal() and min(int(columns), int(rows)) >= 3):
        raise ConfigError(f"--board {board}: give the inner corners as columns x rows, 3 at least, for instance 9x6")
    if out.exists() and not overwrite:
        raise OutputError(f"{out}: exists; choose another --out, or replace it with --overwrite")
    if not pictures.is_dir():
        raise InputError(f"{pictures}: no folder of pictures")
    photos, _ = find_photos(pictures, recursive=False)
    found = calibrate(photos, columns=int(columns), rows=int(rows), square_mm=square_mm)
    write_calibration(found, out)
    return found


def clock_offset(video: Path, telemetry: Path, settings: Settings) -> ClockOffset:
    """Estimate telemetry's clock minus a video's.

    Raises:
        InputError: either cannot be read, or does not move.
    """
    (source,) = open_sources([video], camera="camera")
    return estimate_offset(source.frames(0), open_telemetry(telemetry, settings.place))


class _Frames(Protocol):
    """Gives the frames of a run; calls `idle` while it waits for them, and ends if that returns False."""

    def __call__(self, *, idle: Callable[[], bool]) -> Iterator[Frame | SkippedFrame]: ...


@dataclass(frozen=True, kw_only=True)
class _Stream:
    """What a run goes over."""

    refs: tuple[SourceRef, ...]
    frames: _Frames
    located: Sequence[Locator] = ()  # for what they counted
    length: int | None = None  # frames to expect, where that is known
    device: DeviceState | None = None  # of a live run
    room: Room | None = None  # likewise
    reviews: Reviews | None = None  # likewise
    vehicle: Callable[[], Mapping[str, Any] | None] = lambda: None  # for `telemetry`
    replayed: FlightHeader | None = None  # of the record, where one is replayed and nothing else


@dataclass(frozen=True)
class _Run:
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
        stream: _Stream,
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

    def _header(self, stream: _Stream, options: ReplayOptions) -> FlightHeader:
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


@contextmanager
def _under(control: Control | None, cameras: Cameras, reviews: Reviews) -> Iterator[None]:
    """Let commands reach a mission while it goes on."""
    if control is None:
        yield
        return
    control.began(cameras, reviews)
    try:
        yield
    finally:
        control.ended(cameras, reviews)


def _scale(mm_per_px: float | None) -> Scale | None:
    if mm_per_px is None:
        return None
    try:
        return Scale(mm_per_px=mm_per_px, source="setting", method="given")
    except ValueError as exc:
        raise ConfigError(f"{exc}; give the size of a pixel on the surface, for instance 0.5") from exc


def _camera(settings: Settings, name: str | None) -> CameraSettings | None:
    found = {camera.name: camera for camera in settings.cameras}
    if name is not None and name not in found:
        raise ConfigError(f"--camera {name}: not one of the settings' cameras ({', '.join(found) or 'there are none'})")
    return found[name] if name is not None else None


def _keep_apart(options: ReplayOptions) -> None:
    """Refuse to write a run over the pictures that it reads, or to read what it writes."""
    out = options.out.resolve()
    for source in options.sources:
        place = source.resolve()
        if place.is_relative_to(out):
            raise OutputError(f"{options.out}: {source}, a source of this run, lies in it; choose another folder")
        if options.recursive and out.is_relative_to(place):
            raise OutputError(f"{options.out}: lies in {source}, which is read with --recursive; choose another folder")


def _of_files(sources: list[Located], locator: Locator) -> _Stream:
    one = sources[0].inner if len(sources) == 1 and sources[0].ref == sources[0].inner.ref else None
    lengths = [source.length for source in sources]
    return _Stream(
        refs=tuple(source.ref for source in sources),
        frames=lambda *, idle: _chained(sources),  # noqa: ARG005 - files keep nobody waiting
        length=None if None in lengths else sum(length or 0 for length in lengths),
        located=[locator],
        replayed=one.header if isinstance(one, Recorded) else None,
    )


def _idle(publishing: Publishing, vitals: Vitals | None) -> bool:
    """Go on while there is nothing to infer, and return whether to wait any longer."""
    publishing.idle()
    if vitals is None:
        return True
    vitals.beat()
    vitals.told()
    return not vitals.ending


def _chained(sources: Sequence[Source]) -> Iterator[Frame | SkippedFrame]:
    start = 0
    for source in sources:
        for frame in source.frames(start):
            start = frame.index + 1
            yield frame


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
