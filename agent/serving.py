"""Builds the service's own parts, which outlive its missions: pulse, logs, metrics, the page, reload."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent import app, logs, settings
from agent.about import version
from agent.capture.telemetry.links import MavlinkLinks
from agent.contract.reports import StateReport
from agent.control import Control
from agent.dashboard.reviews import by_command
from agent.dashboard.serving import ServicePage
from agent.deliver import Channel, clock_stamp
from agent.deliver.commands import CommandDesk
from agent.deliver.reporter import rfc3339
from agent.errors import ConfigError, CrackscoutError
from agent.health.metrics import ServiceCollector, serve_metrics
from agent.health.notify import notifier, watchdog_seconds
from agent.health.settings import MetricsSettings
from agent.health.vitals import Vitals
from agent.redact import without_passwords
from agent.service import Mission, Service
from agent.vehicle import ArmingWatch, mavlink_urls, take_vehicle

logger = logging.getLogger(__name__)


def serve(config: Path, environment: Mapping[str, str]) -> None:
    """Run the service until SIGTERM or Ctrl-C; whatever the settings are, it stays up.

    Args:
        config: the settings; read again at each reload.
        environment: the process's: settings, secrets, systemd's sockets.
    """
    notify = notifier(environment)
    vitals = Vitals(notify, watchdog_s=watchdog_seconds(environment, os.getpid()))
    logs.set_up(settings.load_usable(config, environment=environment).logging)

    def prepare() -> Mission:
        try:
            wanted = settings.load(config, environment=environment, overrides=control.overrides)
            arming = take_vehicle(wanted, links) if wanted.mission.start == "arming" else None
            goes = control.wants_mission(wanted.mission)
            mission = (
                app.prepare(wanted, channel, control, watching=[page.live]) if goes else _OnlyListen(channel, wanted)
            )
        except CrackscoutError:
            usable = settings.load_usable(config, environment=environment)
            if not metrics.answering:  # in safe mode somebody may be looking: what is fine by itself is used
                metrics.move(usable.metrics)
            if not page.answering:
                page.move(usable)
            raise
        control.reviewing.look_in(wanted.record.dir)
        links.keep(mavlink_urls(wanted))
        watch.follow(arming)
        metrics.move(wanted.metrics)
        page.move(wanted)
        logs.set_up(wanted.logging)
        return mission

    channel = Channel(environment)
    links = MavlinkLinks()
    control = Control(channel, reload=lambda: service.reload(), links=links)  # noqa: PLW0108 - there is none yet
    watch = ArmingWatch(control)
    desk = CommandDesk(control.handlers(), channel, needs_ts=lambda: channel.needs_ts)
    channel.listen(desk.receive, on_open=control.reviewing.tell_missed)

    def tell_safe_mode(problem: str) -> None:
        usable = settings.load_usable(config, environment=environment)
        if usable.mqtt.host is None:
            return
        try:
            channel.use(usable)
            channel.publish(_in_safe_mode(usable.device, problem))
        except CrackscoutError as exc:
            logger.warning("safe mode is not told over MQTT: %s", exc)

    service = Service(prepare, vitals=vitals, notify=notify, on_safe_mode=tell_safe_mode)
    metrics = _Metrics(
        ServiceCollector(
            vitals,
            problem=lambda: service.problem,
            version=version(),
            link_faults=links.faults,
            commands=lambda: Counter(dict(desk.counts.items())),
        )
    )
    page = ServicePage(
        vitals,
        problem=lambda: service.problem,
        environment=environment,
        keep=by_command(desk.submit, safe_mode=lambda: service.problem is not None),
    )
    try:
        service.run()
    finally:
        page.end()
        watch.close()
        links.close()
        metrics.end()
        desk.close()
        channel.close()


@dataclass(frozen=True)
class _OnlyListen:
    """Hear commands, and deliver what waits, without a mission: `cmd/start_mission` begins one."""

    channel: Channel
    wanted: settings.Settings

    def __call__(self, _vitals: Vitals, /) -> None:
        self.channel.use(self.wanted)

    def close(self) -> None:
        """Do nothing: it holds nothing."""


def _in_safe_mode(device: str, problem: str) -> StateReport:
    """Return the `state` of a device that captures nothing; `cmd/reload` tries again."""
    now = clock_stamp()
    return StateReport(
        device=device,
        ts=now.ts_ms,
        time=rfc3339(now.ts_ms),
        state="degraded",
        mission_id=None,
        frames=0,
        skipped=0,
        cracks=0,
        frames_per_second=None,
        runtime="none",
        variant="none",
        alarms=(without_passwords(f"safe mode, nothing is captured: {problem}"),),
    )


class _Metrics:
    """The page of figures, wherever the settings want it now."""

    def __init__(self, collector: ServiceCollector) -> None:
        self._collector = collector
        self._settings = MetricsSettings()
        self._end: Callable[[], None] = lambda: None

    @property
    def answering(self) -> bool:
        """Whether there is a page now."""
        return self._settings.port is not None

    def move(self, wanted: MetricsSettings) -> None:
        """Answer at another address; at the old one, and with an error in the log, should the new one not be free."""
        if wanted != self._settings:
            try:
                end = serve_metrics(wanted, self._collector)
            except ConfigError as exc:  # a flight without figures is better than none
                logger.error("%s", exc)  # noqa: TRY400 - its text says what to mend
                return
            self.end()
            self._settings, self._end = wanted, end

    def end(self) -> None:
        """Answer no more."""
        self._end()
        self._end = lambda: None
