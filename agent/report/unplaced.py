"""A record as it is handed on to those who are not to know where it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.contract.flight import Coverage, CrackRow, FrameRow
from agent.record import FlightRecord

REMOVED: Final = "removed"
_OF_FRAMES: Final = dict.fromkeys(("lat", "lon", "alt_m", "chainage_m", "clock_deg", "pose"))
_OF_CRACKS: Final = dict.fromkeys(("lat", "lon", "alt_m", "chainage_m", "clock_deg", "position_of"))
_OF_COVERAGE: Final = {"areas": (), "widths": (), "ground_lat": None, "ground_lon": None}
_OF_SETTINGS: Final = frozenset({"start_m", "ring_zero_m", "clock_deg", "target_m"})  # that tell a place


class UnplacedRecord(FlightRecord):
    """The same record without a position: degrees, heights, chainages, poses, and outlines on the surface.

    Lengths, widths and areas stay. Names stay as they are: whoever writes a place into a file's name or a mission's
    structure hands it on.
    """

    __slots__ = ()

    @classmethod
    def of(cls, record: FlightRecord) -> UnplacedRecord:
        """Return `record` without positions; nothing on disk changes."""
        header = record.header.model_copy(update={"settings": _without_places(record.header.settings)})
        return cls(record.folder, header, record.torn_lines)

    def frames(self) -> Iterator[FrameRow]:
        """See `FlightRecord.frames`."""
        for frame in super().frames():
            yield frame.model_copy(update=_OF_FRAMES)

    def sightings(self) -> Iterator[tuple[FrameRow, tuple[CrackRow, ...]]]:
        """See `FlightRecord.sightings`."""
        for frame, cracks in super().sightings():
            yield frame, tuple(crack.model_copy(update=_OF_CRACKS) for crack in cracks)

    def coverage(self) -> Coverage | None:
        """See `FlightRecord.coverage`."""
        found = super().coverage()
        return None if found is None else found.model_copy(update=_OF_COVERAGE)


def _without_places(value: Any) -> Any:  # noqa: ANN401 - what JSON can hold
    if isinstance(value, Mapping):
        return {
            key: REMOVED if key in _OF_SETTINGS and item is not None else _without_places(item)
            for key, item in value.items()
        }
    return [_without_places(item) for item in value] if isinstance(value, list) else value
