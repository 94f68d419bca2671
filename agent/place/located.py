"""Sources whose frames know their scale and place."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from agent.capture.source import Source
from agent.capture.telemetry import Track, open_telemetry
from agent.capture.telemetry.links import MavlinkLinks
from agent.capture.telemetry.mavlink import MavlinkLive
from agent.contract.flight import SourceRef
from agent.contract.frame import Frame, SkippedFrame
from agent.place.locate import Locator
from agent.place.settings import PlaceSettings


class Located:
    """A source whose frames pass a locator.

    Args:
        source: of the frames.
        locator: what is known about scale and place.
        telemetry: sha256 of the telemetry, part of what the source is; None without.
    """

    def __init__(self, source: Source, locator: Locator, *, telemetry: str | None = None) -> None:
        self._source = source
        self.locator = locator
        self._telemetry = telemetry

    @property
    def inner(self) -> Source:
        """The source without places."""
        return self._source

    @property
    def ref(self) -> SourceRef:
        """See `Source.ref`; other telemetry makes it another source."""
        ref = self._source.ref
        if self._telemetry is None:
            return ref
        both = hashlib.sha256(f"{ref.fingerprint}:{self._telemetry}".encode()).hexdigest()
        return ref.model_copy(update={"fingerprint": both})

    @property
    def names(self) -> list[str]:
        """See `Source.names`."""
        return self._source.names

    @property
    def length(self) -> int | None:
        """See `Source.length`."""
        return self._source.length

    def frames(self, start: int) -> Iterator[Frame | SkippedFrame]:
        """See `Source.frames`."""
        for frame in self._source.frames(start):
            yield self.locator(frame) if isinstance(frame, Frame) else frame


def located(
    sources: Sequence[Source], settings: PlaceSettings, *, telemetry: Path | None = None
) -> tuple[list[Located], Locator]:
    """Return the sources with scale and place added to their frames, and what adds them.

    Args:
        sources: of one camera.
        settings: of that camera.
        telemetry: a file on the clock of the frames, but for the offset that the settings name.

    Raises:
        ConfigError: a calibration or camera that cannot be used; MAVLink without pymavlink.
        InputError: telemetry that cannot be read.
    """
    track: Track | None = None
    seal = None
    if telemetry is not None:
        track = open_telemetry(telemetry, settings)
        seal = hashlib.sha256(telemetry.read_bytes()).hexdigest()
    locator = Locator(settings, track=track)
    return [Located(source, locator, telemetry=seal) for source in sources], locator


def missing(locators: Iterable[Locator]) -> dict[str, int]:
    """Return how often there was no scale or place, and what of the telemetry was left out, by reason."""
    counts: Counter[str] = Counter()
    for locator in locators:
        counts += locator.missing
        counts += Counter({f"telemetry: {reason}": n for reason, n in locator.faults.items()})
    return dict(counts)


class LiveLocators:
    """Adds scale and place to the frames of live cameras, each by its own settings.

    Args:
        cameras: settings by the camera's name.
        links: of a service, which closes them; None: opened and closed here.

    Raises:
        ConfigError: a calibration, camera or link that cannot be used.
    """

    def __init__(self, cameras: Mapping[str, PlaceSettings], *, links: MavlinkLinks | None = None) -> None:
        self._links = MavlinkLinks() if links is None else links
        self._own = links is None
        self._locators = {name: self._locator(place) for name, place in cameras.items()}
        urls = [place.telemetry.mavlink for place in cameras.values() if place.telemetry.mavlink is not None]
        self.vehicle: MavlinkLive | None = self._links.take(urls[0]) if urls else None  # that carries the cameras

    @property
    def locators(self) -> list[Locator]:
        """For what they counted."""
        return list(self._locators.values())

    def over(self, frames: Iterable[Frame | SkippedFrame]) -> Iterator[Frame | SkippedFrame]:
        """Yield the frames with their scale and place."""
        for frame in frames:
            locator = self._locators.get(frame.camera)
            yield locator(frame) if locator is not None and isinstance(frame, Frame) else frame

    def close(self) -> None:
        """Leave the links that were opened here."""
        if self._own:
            self._links.close()

    def _locator(self, place: PlaceSettings) -> Locator:
        telemetry = place.telemetry
        if telemetry.mavlink is None:
            return Locator(place)
        link = self._links.take(telemetry.mavlink)  # cameras of one carrier share it
        return Locator(place, live=partial(link.track, max_gap_s=telemetry.max_gap_s))
