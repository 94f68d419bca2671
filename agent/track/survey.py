"""What a run learns from its frames together: the cracks, each once, and the coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.contract import ids
from agent.contract.crack import Crack
from agent.contract.flight import Coverage, TrackRow
from agent.contract.frame import Frame
from agent.track.coverage import CoverageMap
from agent.track.grey import Grey
from agent.track.locator import SURFACE, Located
from agent.track.placement import placed
from agent.track.settings import CoverageSettings, TrackSettings
from agent.track.tracker import Followed, Name, Tracker


@dataclass(slots=True)
class Survey:
    """Sees the frames of a run in their order.

    Args:
        mission_id: of the run.
        track: how cracks are followed.
        coverage: what counts as inspected.
    """

    mission_id: str
    track: TrackSettings
    coverage: CoverageSettings
    tracker: Tracker = field(init=False)
    _covered: CoverageMap = field(init=False)

    def __post_init__(self) -> None:
        self.tracker = Tracker(self.mission_id, self.track)
        self._covered = CoverageMap(self.coverage)

    def see(self, frame: Frame, cracks: Sequence[Crack]) -> Followed:
        """Return which cracks those of the frame are, and what that changes."""
        grey = Grey(frame.image_rgb)
        followed = self.tracker.follow(frame, cracks, grey) if self.track.enabled else self._apart(frame, cracks)
        self._covered.add(frame, followed.located, grey)
        return followed

    def finish(self) -> list[TrackRow]:
        """Return the last word on every crack; after the last frame."""
        return self.tracker.finish()

    def covered(self, *, areas: bool = True) -> Coverage:
        """Return the coverage so far; see `CoverageMap.result`."""
        return self._covered.result(areas=areas)

    def _apart(self, frame: Frame, cracks: Sequence[Crack]) -> Followed:
        """Each sighting is a crack."""
        rows = [
            TrackRow(
                id=(sighting := ids.sighting_id(self.mission_id, frame.camera, frame.index, number)),
                crack_id=ids.crack_id(self.mission_id, frame.camera, frame.index, number),
                event="new",
                revision=0,
                camera=frame.camera,
                frame=frame.index,
                kind="crack",
                sightings=1,
                in_view=1,
                first_frame=frame.index,
                last_frame=frame.index,
                best_id=sighting,
                best_frame=frame.index,
                length_px=crack.length_px,
                length_mm=crack.length_mm,
            )
            for number, crack in enumerate(cracks)
        ]
        names = tuple(Name(crack_id=row.crack_id, revision=0, kind="crack") for row in rows)
        place = placed(frame.pose, frame.scale, (frame.height, frame.width))
        located = None if place is None else Located(patch=SURFACE, placement=place, metric=True, posed=True)
        return Followed(names=names, rows=tuple(rows), located=located)
