"""How the agent itself does, as the page shows it: now, and over the last minutes."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from agent.deliver.reporter import TIME_SYNCHRONISED
from agent.health.vitals import Vitals
from agent.pipeline import Tally
from agent.redact import without_passwords

SAMPLE_S: Final = 2.0
SAMPLES: Final = 300  # ten minutes


class Status(Protocol):
    """Tells how the agent does."""

    def now(self) -> dict[str, Any]:
        """Return what JSON can hold; called from the page's threads."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """Nothing runs: a record is looked at."""

    version: str

    def now(self) -> dict[str, Any]:
        """See `Status.now`."""
        return {"kind": "record", "version": self.version, "problem": None}


@dataclass(slots=True)
class Running:
    """A run of this process: a service's missions, or the demo.

    Args:
        version: of the agent.
        vitals: of the run.
        problem: why nothing is captured; None while all is well.
        folder: where records go.
        device: its name; changes with the settings.
    """

    version: str
    vitals: Vitals
    problem: Callable[[], str | None]
    folder: Callable[[], Path]
    device: Callable[[], str]
    _began: float = field(default_factory=time.monotonic)

    def now(self) -> dict[str, Any]:
        """See `Status.now`."""
        vitals, tally = self.vitals, self.vitals.tally
        device, delivery = vitals.device, vitals.publisher.status
        problem = self.problem()
        found: dict[str, Any] = {
            "kind": "running",
            "version": self.version,
            "device": self.device(),
            "problem": None if problem is None else without_passwords(problem),
            "up_s": round(time.monotonic() - self._began, 1),
            "beat_age_s": round(max(0.0, time.monotonic() - vitals.beat_at), 2),
            "frames": tally.frames,
            "skipped": tally.skipped,
            "cracks": tally.cracks,
            "stages": {name: round(seconds, 4) for name, seconds in list(tally.stage_seconds.items())},
            "delivery": {**asdict(delivery), "lost": delivery.lost},
            "disk": _disk(self.folder()),
            "clock_synced": TIME_SYNCHRONISED.exists(),
            "word": None,
            "state": {},
            "cameras": [],
        }
        if device is not None:
            found["word"] = device.word()
            found["state"] = device.fields()
            found["cameras"] = [asdict(status) for status in device.cameras]
        return found


def _disk(folder: Path) -> dict[str, float] | None:
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
    try:
        usage = None if there is None else shutil.disk_usage(there)
    except OSError:
        return None
    return None if usage is None else {"free_gb": round(usage.free / 1e9, 2), "total_gb": round(usage.total / 1e9, 2)}


class History:
    """The last minutes, sampled while the page is served, whether or not somebody looks.

    Args:
        vitals: of the run.
    """

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals
        self._samples: deque[dict[str, Any]] = deque(maxlen=SAMPLES)
        self._before: tuple[float, Tally, int, dict[str, float]] | None = None

    def sample(self) -> None:
        """Add how it goes now."""
        vitals, now = self._vitals, time.monotonic()
        tally, stages = vitals.tally, dict(list(vitals.tally.stage_seconds.items()))
        fps: float | None = None
        spent: dict[str, float] = {}
        if self._before is not None and self._before[1] is tally:
            then, _, frames, before = self._before
            new = tally.frames - frames
            fps = round(new / (now - then), 3) if now > then else None
            if new > 0:
                spent = {name: round(1000 * (value - before.get(name, 0.0)) / new, 2) for name, value in stages.items()}
        self._before = now, tally, tally.frames, stages
        fields = vitals.device.fields() if vitals.device is not None else {}
        self._samples.append(
            {
                "ts": time.time_ns() // 1_000_000,
                "fps": fps,
                "stage_ms": spent,
                "temperature_c": fields.get("temperature_c"),
                "power_w": fields.get("power_w"),
                "pending": vitals.publisher.status.pending,
            }
        )

    def samples(self) -> list[dict[str, Any]]:
        """Return them, the oldest first."""
        return list(self._samples)
