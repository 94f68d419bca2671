"""From rows of the flight record to reports.

Times: a live run stamps reports with this computer's clock and says whether that was synchronised. A replay stamps
them with the media's time (a photo's EXIF, a video's own, which begins at 1970), so that it says the same every time: a
crack with its frame's, and `mission`, `info` and `state` with that of the latest crack reported, 0 before the first.
Where the media has no time, `ts` is 0.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, Literal

from agent.contract.flight import Coverage, CrackRow, FlightHeader
from agent.contract.reports import (
    CoverageReport,
    CrackEvent,
    CrackReport,
    InfoReport,
    MissionReport,
    StateReport,
    TelemetryReport,
)

TIME_SYNCHRONISED: Final = Path("/run/systemd/timesync/synchronized")
BUNDLE_DIGITS: Final = 12
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Stamp:
    """When something happened."""

    ts_ms: int  # since 1970, UTC
    clock_synced: bool
    mono_ns: int | None  # monotonic clock of this boot; None in a replay


def media_stamp(media_time_ns: int | None) -> Stamp:
    """Return the stamp of a frame's media time; 0 where the media has none."""
    return Stamp((media_time_ns or 0) // 1_000_000, clock_synced=False, mono_ns=None)


def clock_stamp() -> Stamp:
    """Return this moment, by this computer's clock."""
    return Stamp(
        time.time_ns() // 1_000_000,
        clock_synced=TIME_SYNCHRONISED.exists(),
        mono_ns=time.clock_gettime_ns(time.CLOCK_MONOTONIC),
    )


class Reporter:
    """Makes the reports of one run, and counts those of cracks.

    Args:
        header: of the run's record.
        clock: of a live run.

    Raises:
        ValueError: no agent has run: the header names no bundle, runtime or variant.
    """

    def __init__(self, header: FlightHeader, *, clock: Callable[[], Stamp] = clock_stamp) -> None:
        if header.bundle is None or header.runtime is None or header.variant is None:
            raise ValueError(f"flight {header.mission_id} names no bundle, runtime or variant: nothing to report")
        self._bundle = header.bundle
        self._device = header.device
        self._mission_id = header.mission_id
        self._runtime, self._variant, self._version = header.runtime, header.variant, header.version
        self._mode: Literal["live", "replay"] = "live" if header.mode == "live" else "replay"
        self._clock = clock
        self._mission = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:crackscout:mission:{header.mission_id}")
        self._boot_id = str(uuid.uuid4() if self._mode == "live" else uuid.uuid5(self._mission, "boot"))
        self._seq = 0
        self._latest = media_stamp(None)

    def crack(
        self,
        row: CrackRow,
        *,
        media_time_ns: int | None,
        event: CrackEvent | None = None,
        evidence_sha256: str | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> CrackReport:
        """Report a crack.

        Args:
            row: the crack as a whole; of a sighting, it is told as a new crack.
            media_time_ns: of the frame in which it happened.
            event: what happened to the crack; None: what the row says.
            evidence_sha256: of the picture that goes with it on `evidence/<crack_id>`.
            changes: fields that are not as the row says, since people reviewed the crack.
        """
        self._latest = self._clock() if self._mode == "live" else media_stamp(media_time_ns)
        self._seq += 1
        fields = row.model_dump(include=set(CrackReport.model_fields) & set(CrackRow.model_fields) - {"event"})
        told = {
            **fields,
            **self._stamped(self._latest),
            "seq": self._seq,
            "boot_id": self._boot_id,
            "mission_id": self._mission_id,
            "event": event or row.event or "new",
            "mode": self._mode,
            "clock_synced": self._latest.clock_synced,
            "mono_ns": self._latest.mono_ns,
            "bundle": self._bundle.sha256[:BUNDLE_DIGITS],
            "evidence_sha256": evidence_sha256,
        }
        return CrackReport(**{**told, **(changes or {})})

    def coverage(self, coverage: Coverage, *, complete: bool) -> CoverageReport:
        """Report what was inspected.

        Args:
            coverage: so far.
            complete: whether the run has ended.
        """
        fields = coverage.model_dump(
            include=set(CoverageReport.model_fields) & set(Coverage.model_fields) - {"schema_"}
        )
        return CoverageReport(
            **fields,
            **self._stamped(self._now()),
            id=str(uuid.uuid5(self._mission, f"coverage|{complete}")),
            mission_id=self._mission_id,
            mode=self._mode,
            complete=complete,
        )

    def mission(self, event: Literal["start", "end", "report"], header: FlightHeader) -> MissionReport:
        """Report that the run begins, ends, or how far it is.

        Args:
            event: which of the three.
            header: of the record, as it stands now.
        """
        counts = (header.frames, header.skipped, header.cracks) if event == "report" else ()
        return MissionReport(
            **self._stamped(self._now()),
            id=str(uuid.uuid5(self._mission, "|".join(map(str, ("mission", event, *counts))))),
            mission_id=self._mission_id,
            event=event,
            mode=self._mode,
            complete=header.complete,
            frames=header.frames,
            skipped=header.skipped,
            cracks=header.cracks,
            structure=header.structure,
            inspector=header.inspector,
            standard=header.standard,
        )

    def info(
        self,
        *,
        config_sha256: str,
        cameras: tuple[str, ...],
        segmenter_threshold: float,
        gate_threshold: float | None,
    ) -> InfoReport:
        """Report what runs here.

        Args:
            config_sha256: of the settings as resolved.
            cameras: by name.
            segmenter_threshold: on the probability of a pixel, as used.
            gate_threshold: on the gate's probability, as used; None without a gate.
        """
        return InfoReport(
            **self._stamped(self._now()),
            version=self._version,
            bundle=self._bundle.name,
            bundle_sha256=self._bundle.sha256,
            config_sha256=config_sha256,
            runtime=self._runtime,
            variant=self._variant,
            cameras=cameras,
            segmenter_threshold=segmenter_threshold,
            gate_threshold=gate_threshold,
        )

    def state(
        self,
        state: Literal["starting", "running", "paused", "degraded", "stopped"],
        header: FlightHeader,
        *,
        frames_per_second: float | None = None,
        alarms: tuple[str, ...] = (),
        vitals: Mapping[str, Any] | None = None,
    ) -> StateReport:
        """Report how it goes.

        Args:
            state: in one word.
            header: of the record, as it stands now.
            frames_per_second: measured; None where nothing was.
            alarms: what somebody should look at.
            vitals: more fields of `StateReport`: cameras, heat, power, and the runtime where it is another by now.
        """
        return StateReport(
            **self._stamped(self._now()),
            state=state,
            mission_id=self._mission_id,
            frames=header.frames,
            skipped=header.skipped,
            cracks=header.cracks,
            frames_per_second=frames_per_second,
            alarms=alarms,
            **{"runtime": self._runtime, "variant": self._variant, **(vitals or {})},
        )

    def telemetry(self, fields: Mapping[str, Any]) -> TelemetryReport:
        """Report where the vehicle is now: fields of `TelemetryReport`."""
        return TelemetryReport(**self._stamped(self._now()), **fields)

    def _now(self) -> Stamp:
        return self._clock() if self._mode == "live" else self._latest

    def _stamped(self, stamp: Stamp) -> dict[str, Any]:
        return {"device": self._device, "ts": stamp.ts_ms, "time": rfc3339(stamp.ts_ms)}


def rfc3339(ts_ms: int) -> str:
    """Return `1970-01-01T00:00:00.000Z`."""
    moment = _EPOCH + timedelta(milliseconds=ts_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
