"""Figures for Prometheus. They are read from the run when somebody asks, so that nothing has to keep them up to date.

Counters go on over the missions of one process; a new process begins at 0, which Prometheus expects of counters.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from agent.deliver import NullPublisher, Publisher
from agent.deliver.reporter import TIME_SYNCHRONISED
from agent.errors import ConfigError
from agent.health.camera_metrics import device_metrics
from agent.health.settings import MetricsSettings
from agent.health.vitals import Vitals
from agent.pipeline import Tally

REFUSED_MAX: Final = 64  # reasons that are told apart; a broker could invent more


@dataclass
class _Totals:
    """What counters show."""

    frames: Counter[str] = field(default_factory=Counter)
    cracks: int = 0
    tiles: Counter[str] = field(default_factory=Counter)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    commands_ignored: int = 0

    def plus(self, tally: Tally, publisher: Publisher) -> _Totals:
        """Return these and a run's."""
        delivery = publisher.status
        stages = dict(self.stage_seconds)
        for name, seconds in list(tally.stage_seconds.items()):  # a copy: the loop goes on adding to it
            stages[name] = stages.get(name, 0.0) + seconds
        return _Totals(
            frames=self.frames + Counter(seen=tally.frames, skipped=tally.skipped),
            cracks=self.cracks + tally.sightings,
            tiles=self.tiles + Counter(seen=tally.tiles, segmented=tally.tiles_segmented),
            stage_seconds=stages,
            reasons=self.reasons + Counter({"Success": delivery.acknowledged, **delivery.reasons}),
            dropped=self.dropped + Counter(delivery.dropped),
            commands_ignored=self.commands_ignored + delivery.commands_ignored,
        )


class ServiceCollector(Collector):
    """The figures of a service.

    Args:
        vitals: of the service.
        problem: why nothing is captured, or None: the service's.
        version: of the agent.
        synchronised: the file that exists once the clock was set.
        link_faults: what of MAVLink links was lost or left out, by reason.
        commands: what became of commands; those that the delivery ignored are told beside.
    """

    def __init__(
        self,
        vitals: Vitals,
        *,
        problem: Callable[[], str | None],
        version: str,
        synchronised: Path = TIME_SYNCHRONISED,
        link_faults: Callable[[], Counter[str]] = Counter,
        commands: Callable[[], Counter[str]] = Counter,
    ) -> None:
        self._commands = commands
        self._link_faults = link_faults
        self._vitals = vitals
        self._problem = problem
        self._version = version
        self._synchronised = synchronised
        self._lock = threading.Lock()
        self._before = _Totals()  # of the runs that are over
        vitals.retire = self._retire

    def collect(self) -> Iterator[Metric]:
        """Return every figure as it is now."""
        with self._lock:
            publisher = self._vitals.publisher
            totals = self._before.plus(self._vitals.tally, publisher)
        status = publisher.status
        yield InfoMetricFamily("crackscout", "What runs.", {"version": self._version})
        yield _counter("frames", "Frames, by what became of them.", "result", totals.frames, ("seen", "skipped"))
        yield CounterMetricFamily("cracks", "Crack sightings.", value=totals.cracks)
        yield _counter(
            "tiles", "Tiles, all and those that were segmented.", "which", totals.tiles, ("seen", "segmented")
        )
        stages = SummaryMetricFamily("stage_seconds", "CPU seconds of the process in each stage.", labels=["stage"])
        for name, seconds in sorted(totals.stage_seconds.items()):
            stages.add_metric([name], count_value=sum(totals.frames.values()), sum_value=seconds)
        yield stages
        yield from device_metrics(self._vitals.device)
        yield GaugeMetricFamily("mqtt_connected", "1 while the broker answers.", value=float(status.connected))
        yield GaugeMetricFamily("outbox_pending", "Reports that the broker has not acknowledged.", value=status.pending)
        yield GaugeMetricFamily("outbox_oldest_seconds", "Age of the oldest of them; 0: none.", value=status.oldest_s)
        yield _counter("outbox_dropped", "Reports given up, by class.", "class", totals.dropped, ())
        yield _counter("publish_reason", "Answers of the broker, by MQTT reason.", "code", totals.reasons, ("Success",))
        yield _counter("mavlink_faults", "What MAVLink links lost or left out.", "reason", self._link_faults(), ())
        commands = self._commands() + Counter(ignored=totals.commands_ignored)
        yield _counter("commands", "Commands, by what became of them.", "result", commands, ("done", "rejected"))
        synced = float(self._synchronised.exists())
        yield GaugeMetricFamily("clock_synced", "1 once the clock was set since boot.", value=synced)
        yield GaugeMetricFamily("safe_mode", "1 while nothing is captured.", value=float(self._problem() is not None))

    def _retire(self, tally: Tally, publisher: Publisher) -> None:
        with self._lock:
            goes_on = self._vitals.publisher is publisher  # its counts are not over yet
            self._before = self._before.plus(tally, NullPublisher() if goes_on else publisher)


def serve_metrics(settings: MetricsSettings, collector: Collector) -> Callable[[], None]:
    """Answer at http://host:port/metrics in a thread of its own, and return what ends it.

    Raises:
        ConfigError: the address cannot be used.
    """
    if settings.port is None:
        return lambda: None
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(settings.port, settings.host, registry)
    except OSError as exc:
        raise ConfigError(
            f"metrics: {settings.host}:{settings.port} cannot be used ({exc.strerror}); choose another metrics.port"
        ) from exc

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end


def _counter(
    name: str, text: str, label: str, values: Mapping[str, int], always: tuple[str, ...]
) -> CounterMetricFamily:
    """Return a counter with a value for each label; those of `always` also at 0, so that a rate can be told from it."""
    family = CounterMetricFamily(name, text, labels=[label])
    for value in sorted({*always, *list(values)[:REFUSED_MAX]}):
        family.add_metric([value], values.get(value, 0))
    return family
