"""What each command sets going. Only here and in `mission` is it known which class stands behind a protocol."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent import logs
from agent.capture import open_sources
from agent.capture.cameras import Cameras
from agent.capture.open_cameras import open_cameras
from agent.capture.recorded import Recorded
from agent.capture.rendered import RenderedSource
from agent.capture.settings import CameraSettings
from agent.capture.source import Source
from agent.contract.frame import Frame, Scale, SkippedFrame
from agent.control import Control
from agent.deliver import Channel
from agent.errors import ConfigError, OutputError
from agent.health.device import DeviceState
from agent.health.disk import check_writable
from agent.health.governor import open_governor
from agent.health.notify import notifier
from agent.health.vitals import Vitals
from agent.mission import ReplayOptions, Run, Stream
from agent.pipeline import Listener
from agent.place.locate import Locator
from agent.place.located import LiveLocators, Located, located
from agent.place.settings import PlaceSettings
from agent.record.reviews import Reviews
from agent.record.room import Room
from agent.settings import Settings
from agent.severity.settings import severity_of
from agent.simulate.inspection.flight import render_inspection
from agent.simulate.inspection.telemetry import place_settings
from agent.simulate.recall import Recall, recall_of
from agent.simulate.write import TELEMETRY_FILE, kept_flight
from agent.summary import Summary
from agent.tools import scene_settings
from agent.vehicle import vehicle_now


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
    return Run(settings, mode="replay", watching=tuple(watching)).over(
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
        agent_run = Run(settings, mode="live", watching=tuple(watching))
        stack.callback(agent_run.inference.close)
        out = settings.record.dir / str(uuid.uuid4())
        options = ReplayOptions(sources=(), out=out, publish=settings.mqtt.host is not None)
        room = Room(settings.record, running=out)
        reviews = Reviews(out)
        device = DeviceState(cameras, governor, not_kept=lambda: room.not_kept)
        places = {one.name: one.place or settings.place for one in settings.cameras}
        locators = stack.enter_context(closing(LiveLocators(places, links=None if control is None else control.links)))
        stream = Stream(
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
    drawn = render_inspection(scene_settings(None, {"kind": flight, "seconds": seconds}))
    record, rendered = out / "record", out / "flight"
    if settings.record.frames == "none":  # the page zooms to the pixels of what was kept
        settings = settings.model_copy(update={"record": settings.record.model_copy(update={"frames": "evidence"})})
    place = PlaceSettings.model_validate(place_settings(drawn.settings))
    settings = settings.model_copy(update={"place": place})
    if settings.severity.standard is None:  # three ranks to look at
        settings = settings.model_copy(update={"severity": severity_of("aashto-mbei reinforced")})
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


def _of_files(sources: list[Located], locator: Locator) -> Stream:
    one = sources[0].inner if len(sources) == 1 and sources[0].ref == sources[0].inner.ref else None
    lengths = [source.length for source in sources]
    return Stream(
        refs=tuple(source.ref for source in sources),
        frames=lambda *, idle: _chained(sources),  # noqa: ARG005 - files keep nobody waiting
        length=None if None in lengths else sum(length or 0 for length in lengths),
        located=[locator],
        replayed=one.header if isinstance(one, Recorded) else None,
    )


def _chained(sources: Sequence[Source]) -> Iterator[Frame | SkippedFrame]:
    start = 0
    for source in sources:
        for frame in source.frames(start):
            start = frame.index + 1
            yield frame
