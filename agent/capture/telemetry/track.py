"""Samples in order, without what cannot be, and what lies between them: never across a gap."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.capture.telemetry.sample import ANGLES, NUMBERS, Sample
from agent.contract.frame import ScaleMethod
from agent.place.earth import distance_m

_OWN: Final = frozenset({"ticks", "ring"})  # counts of a moment, not of the time between
NOISE_M: Final = 1.0  # of a fix: no jump, however fast fixes come


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Samples ordered by time, each time once, jumps left out. Make one with `Track.of`."""

    samples: tuple[Sample, ...]
    max_gap_ns: int
    faults: Counter[str] = field(default_factory=Counter)  # what was left out or put right, by reason
    _series: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = field(init=False)
    _methods: list[ScaleMethod | None] = field(init=False)  # of the distances

    def __post_init__(self) -> None:
        series = {}
        for name in NUMBERS:
            known = [(one.time_ns, getattr(one, name)) for one in self.samples if getattr(one, name) is not None]
            if known:
                times, values = zip(*known, strict=True)
                series[name] = np.array(times, np.int64), np.array(values, np.float64)
        object.__setattr__(self, "_series", series)
        object.__setattr__(self, "_methods", [one.method for one in self.samples if one.distance_m is not None])

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        *,
        max_gap_s: float = 2.0,
        max_speed_m_s: float = 60.0,
        faults: Counter[str] | None = None,
    ) -> Track:
        """Order the samples, drop repeated times and leave jumps out, each counted.

        Args:
            samples: in any order.
            max_gap_s: between samples further apart nothing is made up.
            max_speed_m_s: a position that would need more is a jump.
            faults: what their reader has counted already.
        """
        faults = Counter() if faults is None else faults
        earlier = sum(one.time_ns < before.time_ns for before, one in itertools.pairwise(samples))
        if earlier:
            faults["out of order: sorted by time"] += earlier
        ordered = sorted(samples, key=lambda one: one.time_ns)  # stable: of equal times the first read stays
        unique: list[Sample] = []
        for one in ordered:
            if unique and unique[-1].time_ns == one.time_ns:
                unique[-1] = _both(unique[-1], one, faults)
            else:
                unique.append(one)
        unique = _without_jumps(unique, ("lat", "lon"), _way, max_speed_m_s, faults, "position")
        unique = _without_jumps(unique, ("chainage_m",), _chain, max_speed_m_s, faults, "chainage")
        return cls(tuple(unique), round(max_gap_s * 1e9), faults)

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """First and last time, or None of an empty track."""
        return (self.samples[0].time_ns, self.samples[-1].time_ns) if self.samples else None

    def at(self, time_ns: int) -> Sample | None:
        """Return what holds at a time: between samples at most `max_gap` apart, angles the short way round.

        At the ends, and beside a gap, the nearest sample holds for half of `max_gap`. None where nothing is known.
        """
        values = {name: self._value(name, time_ns) for name in self._series}
        known: dict[str, Any] = {name: one for name, one in values.items() if one is not None and name not in _OWN}
        if ("lat" in known) != ("lon" in known):
            known = {name: value for name, value in known.items() if name not in {"lat", "lon"}}
        if not known:
            return None
        return Sample(time_ns=time_ns, method=self._method(time_ns) if "distance_m" in known else None, **known)

    def _value(self, name: str, time_ns: int) -> float | None:
        times, values = self._series[name]
        after = int(np.searchsorted(times, time_ns))
        if after < len(times) and times[after] == time_ns:
            return float(values[after])
        if 0 < after < len(times) and times[after] - times[after - 1] <= self.max_gap_ns:
            share = (time_ns - times[after - 1]) / (times[after] - times[after - 1])
            step = values[after] - values[after - 1]
            if name in ANGLES:
                step = (step + 180) % 360 - 180
            return float(values[after - 1] + share * step)
        near = min(
            (one for one in (after - 1, after) if 0 <= one < len(times)), key=lambda one: abs(times[one] - time_ns)
        )
        return float(values[near]) if abs(int(times[near]) - time_ns) <= self.max_gap_ns // 2 else None

    def _method(self, time_ns: int) -> ScaleMethod | None:
        """Return how the distance nearest to a time was measured."""
        return self._methods[int(np.abs(self._series["distance_m"][0] - time_ns).argmin())]


def _both(one: Sample, other: Sample, faults: Counter[str]) -> Sample:
    """Join two samples of one time: sources of several messages say parts of it each."""
    given = {name: getattr(other, name) for name in (*NUMBERS, "method") if getattr(other, name) is not None}
    news = {name: value for name, value in given.items() if getattr(one, name) is None}
    if any(getattr(one, name) != value for name, value in given.items() if name not in news):
        faults["two rows of one time: the first one stays"] += 1
    return replace(one, **news)


def _way(one: Sample, other: Sample) -> float:
    return distance_m((one.lat or 0.0, one.lon or 0.0), (other.lat or 0.0, other.lon or 0.0))


def _chain(one: Sample, other: Sample) -> float:
    return abs((one.chainage_m or 0.0) - (other.chainage_m or 0.0))


def _without_jumps(
    samples: list[Sample],
    names: tuple[str, ...],
    way: Callable[[Sample, Sample], float],
    max_speed: float,
    faults: Counter[str],
    what: str,
) -> list[Sample]:
    """Take out values that cannot be reached from the longest stretch without a jump."""
    known = [at for at, one in enumerate(samples) if all(getattr(one, name) is not None for name in names)]
    stretches: list[list[int]] = []
    for at in known:
        if stretches and _reaches(samples[stretches[-1][-1]], samples[at], way, max_speed):
            stretches[-1].append(at)
        else:
            stretches.append([at])
    if len(stretches) < 2:
        return samples
    longest = max(range(len(stretches)), key=lambda one: len(stretches[one]))
    kept = set(stretches[longest])
    edge = stretches[longest][-1]
    for stretch in stretches[longest + 1 :]:
        if _reaches(samples[edge], samples[stretch[0]], way, max_speed):
            kept.update(stretch)
            edge = stretch[-1]
    edge = stretches[longest][0]
    for stretch in reversed(stretches[:longest]):
        if _reaches(samples[edge], samples[stretch[-1]], way, max_speed):
            kept.update(stretch)
            edge = stretch[0]
    wrong = [at for at in known if at not in kept]
    faults[f"{what} jumps: left out"] += len(wrong)
    for at in wrong:
        nothing: dict[str, Any] = dict.fromkeys(names)
        samples[at] = replace(samples[at], **nothing)
    return samples


def _reaches(one: Sample, other: Sample, way: Callable[[Sample, Sample], float], max_speed: float) -> bool:
    seconds = abs(other.time_ns - one.time_ns) / 1e9
    return way(one, other) <= max_speed * seconds + NOISE_M
