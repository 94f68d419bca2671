"""Flights that ask for TensorRT: real settings and parts, frames for as long as a test wants them, and the record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from agent.contract.flight import FrameRow
from agent.contract.frame import Frame
from agent.contract.reports import StateReport
from agent.deliver import Publisher
from agent.deliver.publisher import DeliveryStatus, Report
from agent.inference import Inference
from agent.listeners import Publishing
from agent.measure import measure_cracks
from agent.pipeline import Pipeline, Tally
from agent.record import FlightRecorder, read_flight
from agent.settings import Settings
from agent.track import Survey
from tests.support import flights

PATIENCE_S = 240  # of what is expected to end much sooner
TENSORRT = "tensorrt 10.3.0 A CPU"
AROUND = 2  # frames before what a test waits for, and after it


def settings(cache: Path, **runtime: object) -> Settings:
    """Return a device's settings that ask for TensorRT, with engines in `cache`."""
    engine = {"cache": cache, "timeout_s": 120}
    return Settings.model_validate({"runtime": {"name": "tensorrt", "workers": 2, "engine": engine, **runtime}})


def wall(seed: int) -> np.ndarray:
    """Return a wall with one crack."""
    picture = np.random.default_rng(seed).integers(190, 200, (100, 140, 3)).astype(np.uint8)
    picture[50:53, 20:120] = 60
    return picture


@dataclass(frozen=True)
class Flown:
    """What a flight recorded and told."""

    rows: list[FrameRow]
    states: list[StateReport]
    tally: Tally

    @property
    def runtimes(self) -> list[str]:
        """What inferred the frames, one name after the other: a name comes again if it took over again."""
        return [name for name, _ in groupby(str(row.runtime) for row in self.rows)]

    @property
    def reasons(self) -> list[str]:
        """Why it was degraded, without repeats, as `state` had it."""
        told = [state.degraded_reason for state in self.states if state.state == "degraded"]
        return list(dict.fromkeys(str(reason) for reason in told))


def fly(inference: Inference, out: Path, until: Callable[[], bool]) -> Flown:
    """See frames until it is so, and some more; then hold the record to what no fault may change.

    Each frame that was given is recorded, in order, with its crack and the runtime that inferred it.
    """
    given = 0

    def frames() -> Iterator[Frame]:
        nonlocal given
        deadline, left = time.monotonic() + PATIENCE_S, AROUND
        while left:
            if given >= AROUND and until():
                left -= 1
            elif given >= AROUND:
                assert time.monotonic() < deadline, inference.degraded
                time.sleep(0.05)
            yield Frame(
                index=given, name=f"{given}", source="s", camera="c", image_rgb=wall(given), sha256="0" * 64,
                media_time_ns=None,
            )  # fmt: skip
            given += 1

    header = flights.header().model_copy(update={"mode": "live"})
    publisher = _Kept()
    typed: Publisher = publisher
    with FlightRecorder.open(out, header) as recorder:
        listener = Publishing(typed, recorder=recorder, header=header, info={
            "config_sha256": "0" * 64, "cameras": ("c",), "segmenter_threshold": 0.5, "gate_threshold": 0.5,
        }, serving=inference)  # fmt: skip
        listener.start()
        tally = Pipeline(
            finder=inference,
            backend=inference,
            measure=partial(measure_cracks, threshold=0.5, settings=Settings().measure),
            survey=Survey("m", Settings().track, Settings().coverage),
            record=recorder,
            listeners=[listener],
            mission_id="m",
        ).run(frames())
        listener.end()
    inference.close()
    rows = list(read_flight(out).frames())
    assert [row.index for row in rows] == list(range(given))
    assert [row.cracks for row in rows] == [1] * given
    assert {row.variant for row in rows} == {"fp32"}
    assert (tally.frames, tally.skipped) == (given, 0)
    return Flown(rows, publisher.states, tally)


class _Kept:
    """A publisher that keeps what it is told."""

    def __init__(self) -> None:
        self.states: list[StateReport] = []
        self.status = DeliveryStatus()

    def publish(self, *reports: Report) -> None:
        self.states += [report for report in reports if isinstance(report, StateReport)]

    def flush(self, timeout_s: float) -> int:
        return 0

    def close(self) -> None:
        pass
