"""Who hears of each frame once it is recorded."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from agent.contract.flight import Coverage, CrackRow, FlightHeader, FrameRow
from agent.contract.reports import CrackReport, StateReport
from agent.deliver import Evidence, Publisher, Report, Reporter
from agent.deliver.evidence import evidence_jpeg
from agent.health.device import DeviceState
from agent.pipeline import Sighting
from agent.progress import Advance
from agent.record import FlightRecorder
from agent.record.reviews import Reviews
from agent.record.room import Room
from agent.report import ReportWriter
from agent.reviewing import review_fields

FLUSH_S: Final = 30.0  # how long the end of a replay waits for the broker
FLUSH_LIVE_S: Final = 10.0  # the same of a live run: less than systemd's watchdog and its patience with a stop
STATE_EVERY_S: Final = 5.0  # counts in `state` are at most this old in a live run
TELEMETRY_EVERY_S: Final = 1.0
MISSION_EVERY_S: Final = 300.0  # how far a live run is, for those who were away: unlike `state` it is kept and told

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reporting:
    """Draws pictures for the report, as long as there is room for them."""

    writer: ReportWriter
    room: Room | None = None

    def saw(self, sighting: Sighting) -> None:
        """See `Listener.saw`."""
        if self.room is not None and not self.room.enough:
            return
        self.writer.add(
            sighting.row,
            sighting.crack_rows,
            image_rgb=sighting.frame.image_rgb,
            probability=sighting.probability,
            masks=[crack.mask for crack in sighting.cracks],
        )

    def skipped(self, row: FrameRow) -> None:
        """See `Listener.skipped`; the report names it from the record."""
        logger.warning("%r was skipped: %s", row.name, row.reason)  # a name may hold anything

    def ended(self, told: list[CrackRow], coverage: Coverage) -> None:
        """See `Listener.ended`; the report reads both from the record."""


@dataclass(frozen=True)
class Advancing:
    """Moves a progress bar."""

    advance: Advance

    def saw(self, sighting: Sighting) -> None:  # noqa: ARG002 - only that it passed
        """See `Listener.saw`."""
        self.advance()

    def skipped(self, row: FrameRow) -> None:  # noqa: ARG002 - only that it passed
        """See `Listener.skipped`."""
        self.advance()

    def ended(self, told: list[CrackRow], coverage: Coverage) -> None:
        """See `Listener.ended`."""


class Infers(Protocol):
    """What infers, as far as `state` tells of it; see `agent.inference.Inference`."""

    @property
    def runtime(self) -> str:
        """Of the newest frame."""
        ...

    @property
    def variant(self) -> str:
        """Of the newest frame."""
        ...

    @property
    def degraded(self) -> str | None:
        """Why it is not what was asked for."""
        ...


class Publishing:
    """Tells the broker of the run and its cracks.

    Args:
        publisher: the way out.
        recorder: whose header counts.
        header: of the run.
        info: what `Reporter.info` is told.
        serving: what infers; `state` says `degraded` while it is not what was asked for.
        evidence: whether a picture goes with each crack.
        device: how cameras, heat and power do, in a live run: then it calls it.
        vehicle: what `Reporter.telemetry` is told, None while there is nothing to tell; of a live run.
        reviews: of the run's cracks by people, who may review them while it goes on.
        mission_every_s: how often a live run says how far it is.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        recorder: FlightRecorder,
        header: FlightHeader,
        info: dict[str, Any],
        serving: Infers | None = None,
        evidence: bool = False,
        device: DeviceState | None = None,
        vehicle: Callable[[], Mapping[str, Any] | None] = lambda: None,
        reviews: Reviews | None = None,
        mission_every_s: float = MISSION_EVERY_S,
    ) -> None:
        self._publisher = publisher
        self._recorder = recorder
        self._reporter = Reporter(header)
        self._info = info
        self._serving = serving
        self._evidence = evidence
        self._device = device
        self._vehicle = vehicle
        self._reviews = reviews
        self._vehicle_at = -math.inf
        self._told: object = None
        self._live = header.mode == "live"
        self._state_at = self._mission_at = time.monotonic()
        self._mission_every_s = mission_every_s
        self._time_ns: int | None = None  # of the last frame's media
        self._pictures: dict[str, str] = {}  # sha256 of the picture that was sent of a crack that has not ended

    def start(self) -> None:
        """Say what runs here, and that the run begins."""
        header = self._recorder.header
        self._publisher.publish(
            self._reporter.info(**self._info), self._state("running"), self._reporter.mission("start", header)
        )

    def saw(self, sighting: Sighting) -> None:
        """See `Listener.saw`."""
        self._time_ns = sighting.frame.media_time_ns
        reports: list[Report] = []
        for row in sighting.told:
            evidence = self._picture(sighting, row) if self._evidence and row.frame == sighting.frame.index else None
            if evidence:
                self._pictures[row.crack_id] = hashlib.sha256(evidence.jpeg).hexdigest()
            reports.append(self._report(row))
            reports += [evidence] if evidence else []
        if reports:
            self._publisher.publish(*reports)
        self._renew_state()

    def skipped(self, row: FrameRow) -> None:  # noqa: ARG002 - counted in the header
        """See `Listener.skipped`."""
        self._renew_state()

    def idle(self) -> None:
        """Take note that there is nothing to infer: dashboards want to hear of that too."""
        self._renew_state()

    def ended(self, told: list[CrackRow], coverage: Coverage) -> None:
        """See `Listener.ended`."""
        reports: list[Report] = [self._report(row) for row in told]
        self._publisher.publish(*reports, self._reporter.coverage(coverage, complete=True))

    def end(self) -> int:
        """Say that the run ended; wait for the broker and return how many reports it has not taken."""
        self._publisher.publish(self._reporter.mission("end", self._recorder.header), self._state("stopped"))
        waiting = self._publisher.flush(FLUSH_LIVE_S if self._live else FLUSH_S)
        return waiting + self._publisher.status.lost

    def _report(self, row: CrackRow) -> CrackReport:
        ended = row.event in {"final", "retracted"}
        sha256 = self._pictures.pop(row.crack_id, None) if ended else self._pictures.get(row.crack_id)
        changes: dict[str, Any] = {}
        if self._reviews is not None:  # the row is in the record by now: see `Reviews.revision`
            changes["revision"], said = self._reviews.revision(row.crack_id, row.revision)
            changes |= review_fields(said)
        return self._reporter.crack(row, media_time_ns=self._time_ns, evidence_sha256=sha256, changes=changes)

    def _renew_state(self) -> None:
        # a replay says the same every time, so it goes by no clock
        if not self._live:
            return
        if self._gist() != self._told or time.monotonic() - self._state_at >= STATE_EVERY_S:
            self._state_at = time.monotonic()
            self._publisher.publish(self._state("running"))
        if time.monotonic() - self._mission_at >= self._mission_every_s:
            self._mission_at = time.monotonic()
            self._publisher.publish(self._reporter.mission("report", self._recorder.header))
        self._renew_telemetry()

    def _renew_telemetry(self) -> None:
        """Tell where the vehicle is, once a second at most; without a broker it would be old when it is heard."""
        if time.monotonic() - self._vehicle_at < TELEMETRY_EVERY_S:
            return
        self._vehicle_at = time.monotonic()
        told = self._vehicle()
        if told is not None and self._publisher.status.connected:
            self._publisher.publish(self._reporter.telemetry(told))

    def _gist(self) -> object:
        """What `state` is told of at once when it changes."""
        serving = self._serving
        return self._device and self._device.gist(), serving and (serving.runtime, serving.degraded)

    def _state(self, state: Literal["running", "stopped"]) -> StateReport:
        header, device, serving = self._recorder.header, self._device, self._serving
        self._told = self._gist()
        word: Literal["running", "paused", "degraded", "stopped"] = state
        vitals: dict[str, Any] = {}
        if device is not None:
            vitals = device.fields()
            word = state if state == "stopped" else device.word()
        if serving is not None:
            word = "degraded" if word == "running" and serving.degraded else word
            vitals |= {"runtime": serving.runtime, "variant": serving.variant, "degraded_reason": serving.degraded}
        return self._reporter.state(
            word,
            header,
            frames_per_second=device.frames_per_second(header.frames) if device else None,
            alarms=self._publisher.status.alarms,
            vitals=vitals,
        )

    @staticmethod
    def _picture(sighting: Sighting, row: CrackRow) -> Evidence:
        box = row.bbox_x, row.bbox_y, row.bbox_w, row.bbox_h
        jpeg = evidence_jpeg(sighting.frame.image_rgb, box)
        return Evidence(crack_id=row.crack_id, report_id=row.id, jpeg=jpeg)
