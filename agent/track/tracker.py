"""Follows cracks over frames: which sightings are one crack, how that is told, and what is forgotten when.

A frame's cracks are put on the surface and linked with the tracks there (`linking`). Everything goes in a fixed order,
so a replay says the same twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from agent.contract import ids
from agent.contract.arrays import Bool, Float64
from agent.contract.crack import Crack
from agent.contract.flight import TrackRow
from agent.contract.frame import Frame
from agent.contract.reports import CrackEvent, Kind
from agent.track.grey import Grey
from agent.track.kind import evenly_spaced, look_at
from agent.track.lines import BESIDE, SPACING_PX, Line, beside
from agent.track.linking import SIDE_PX, Group, closer, grouped, in_view, link
from agent.track.locator import Located, Locator, unit_per_px
from agent.track.placement import projected
from agent.track.runs import straight_runs
from agent.track.settings import TrackSettings
from agent.track.tracks import Track

VIEW_SHARE: Final = 0.6  # of a track that must be in view to count as missed
LEAST_VIEWS: Final = 5  # before a track may be retracted
PARALLEL_COS: Final = math.cos(math.radians(3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """What one sighting turned out to be."""

    crack_id: str
    revision: int
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Followed:
    """What a frame brought."""

    names: tuple[Name, ...]  # of the frame's cracks, in their order
    rows: tuple[TrackRow, ...]  # what happened to tracks
    located: Located | None  # None without tracking


@dataclass(slots=True, eq=False)
class _Camera:
    locator: Locator
    tracks: dict[int, list[Track]] = field(default_factory=dict)  # by patch
    frames: int = 0
    centre: Float64 | None = None  # of the last frame on its patch
    patch: int = -1


@dataclass(slots=True)
class Tracker:
    """Follows the cracks of a run.

    Args:
        mission_id: of the run; cracks are named after it.
        settings: how.
    """

    mission_id: str
    settings: TrackSettings
    forgotten: int = 0  # ended cracks that memory had no room for
    retracted: int = 0
    _cameras: dict[str, _Camera] = field(default_factory=dict)

    def follow(self, frame: Frame, cracks: Sequence[Crack], grey: Grey | None = None) -> Followed:
        """Take note of a frame and its cracks, and say which cracks they are.

        Args:
            frame: in the order of the run.
            cracks: those found in it.
            grey: the frame's, if it is looked at elsewhere too.
        """
        camera = self._cameras.setdefault(frame.camera, _Camera(Locator(self.settings)))
        located = camera.locator.locate(frame, grey or Grey(frame.image_rgb))
        ended = self._move_on(camera, located, frame)
        tracks = camera.tracks.setdefault(located.patch, [])
        unit = unit_per_px(located.placement, (frame.height, frame.width))
        travel = self._travel(camera, located, frame)
        if not located.posed:  # where pictures alone tell the motion, what moves against them may be their own error
            travel = 0.0
        groups, lines = grouped(frame, cracks, located, unit, self.settings)
        near = in_view(tracks, located, frame, unit)
        owners, merges = link(groups, near, unit)
        changed: dict[str, tuple[CrackEvent, tuple[str, ...]]] = {}
        rows = list(ended)
        for survivor, gone in merges:
            survivor.absorb(gone, nearest=self.settings.tolerance_px * unit, spacing=SPACING_PX * unit)
            tracks.remove(gone)
            rows.append(self._row(gone, "retracted", frame.index, (survivor.crack_id,)))
            _, parents = changed.get(survivor.crack_id, ("merge", ()))
            changed[survivor.crack_id] = ("merge", (*parents, gone.crack_id))
        gone_ids = {gone.crack_id for _, gone in merges}
        seen: dict[str, Track] = {}
        names: dict[int, Track] = {}
        for number, group in enumerate(groups):
            track = owners.get(number)
            if track is None:
                track = self._new(group, frame)
                tracks.append(track)
                changed[track.crack_id] = ("new", ())
            elif self._split_off(groups, owners, number, track):
                other = self._new(group, frame)
                other.parents = (track.crack_id,)
                tracks.append(other)
                changed[other.crack_id] = ("split", (track.crack_id,))
                owners[number] = other
                track = other
            else:
                self._extend(track, group, frame, unit, travel, first=track.crack_id not in seen)
            seen[track.crack_id] = track
            for member in group.members:
                names[member] = track
                track.evidence.add(look_at(cracks[member], lines[member], frame.image_rgb))
        self._count_views(camera, near, seen, gone_ids)
        self._judge(seen, [track for track, _ in near], tracks, unit)
        rows += self._told(seen, changed, frame.index)
        self._forget(camera)
        return Followed(
            names=tuple(
                Name(
                    crack_id=names[number].crack_id,
                    revision=max(names[number].revision, 0),
                    kind=names[number].kind,
                )
                for number in range(len(cracks))
            ),
            rows=tuple(rows),
            located=located,
        )

    def finish(self) -> list[TrackRow]:
        """Return the last word on every crack that has not ended yet."""
        rows = []
        for camera in self._cameras.values():
            for patch in sorted(camera.tracks):
                rows += [self._end(track) for track in camera.tracks[patch] if track.ended is None]
        return rows

    # what leaves ------------------------------------------------------------------------------------------------

    def _move_on(self, camera: _Camera, located: Located, frame: Frame) -> list[TrackRow]:
        """Follow the patches' coordinates; end what cannot come back or has been away for long."""
        camera.frames += 1
        move = located.moved
        if move is not None:
            tracks = camera.tracks.pop(move.patch, [])
            for track in tracks:
                track.remap(move.matrix)
            camera.tracks.setdefault(move.onto, []).extend(tracks)
            camera.tracks[move.onto].sort(key=lambda track: track.first_frame)
        rows = []
        reach = 2 * float(np.hypot(frame.height, frame.width))
        for patch in sorted(camera.tracks):
            kept = []
            for track in camera.tracks[patch]:
                away = camera.frames - track.last_in_view > self.settings.final_after_frames
                lost = patch not in located.alive
                # beyond the horizon of a patch of pixels, coordinates mean nothing
                far = patch != 0 and not (np.abs(track.line.xy) < reach + max(frame.width, frame.height)).all()
                if (away or lost or far) and track.ended is None:
                    rows.append(self._end(track))
                if patch == 0 or not (lost or far or away):
                    kept.append(track)
            if kept:
                camera.tracks[patch] = kept
            else:
                del camera.tracks[patch]
        return rows

    def _end(self, track: Track) -> TrackRow:
        fleeting = track.in_view >= LEAST_VIEWS and track.sightings / track.in_view < self.settings.least_seen
        track.ended = "retracted" if fleeting else "final"
        self.retracted += fleeting
        return self._row(track, track.ended, track.last_frame, ())

    def _forget(self, camera: _Camera) -> None:
        points = sum(len(track.line) for tracks in camera.tracks.values() for track in tracks)
        if points <= self.settings.most_points:
            return
        ended = sorted(
            (track.last_frame, track.crack_id, patch)
            for patch, tracks in camera.tracks.items()
            for track in tracks
            if track.ended is not None
        )
        for _, crack_id, patch in ended:
            (gone,) = [track for track in camera.tracks[patch] if track.crack_id == crack_id]
            camera.tracks[patch].remove(gone)
            self.forgotten += 1
            points -= len(gone.line)
            if points <= 0.9 * self.settings.most_points:
                return

    # what is seen -----------------------------------------------------------------------------------------------

    def _split_off(self, groups: Sequence[Group], owners: dict[int, Track], number: int, track: Track) -> bool:
        """Take out of a track what is this group's, if that runs beside an earlier one of the same track."""
        group = groups[number]
        for other in range(number):
            if owners.get(other) is not track:
                continue
            spacing = SPACING_PX * group.best.unit_per_px
            farthest = SIDE_PX * group.best.unit_per_px
            if beside(groups[other].line, group.line, nearest=spacing / 2, farthest=farthest, spacing=spacing) > BESIDE:
                mine = closer(track.line, group.line, groups[other].line, farthest)
                track.line = track.line.part(~mine) if (~mine).any() else track.line
                track.longest = min(track.longest, track.line.length)
                return True
        return False

    def _new(self, group: Group, frame: Frame) -> Track:
        return Track(
            crack_id=ids.crack_id(self.mission_id, frame.camera, frame.index, group.members[0]),
            camera=frame.camera,
            line=group.line,
            first_frame=frame.index,
            last_frame=frame.index,
            longest=group.length,
            best=group.best,
        )

    @staticmethod
    def _extend(track: Track, group: Group, frame: Frame, unit: float, travel: float, *, first: bool) -> None:
        shift = track.see(group.line, nearest=group.nearest, spacing=SPACING_PX * unit)
        if first:
            track.sightings += 1
            track.evidence.shift += shift
            track.evidence.travel += travel
        track.ended = None
        track.last_frame = frame.index
        track.longest = max(track.longest, group.length)
        track.best = max(track.best, group.best, key=lambda one: one.rank)

    @staticmethod
    def _travel(camera: _Camera, located: Located, frame: Frame) -> float:
        """How far the frame's middle moved on the surface since the last frame, units."""
        middle = np.array([[(frame.width - 1) / 2, (frame.height - 1) / 2]])
        centre = located.placement.to_surface(middle)[0]
        before = camera.centre
        if located.moved is not None and before is not None and camera.patch == located.moved.patch:
            before = projected(located.moved.matrix, before[None])[0]
        elif camera.patch != located.patch:
            before = None
        camera.centre, camera.patch = centre, located.patch
        return 0.0 if before is None else float(np.hypot(*(centre - before)))

    @staticmethod
    def _count_views(
        camera: _Camera,
        near: Sequence[tuple[Track, Bool]],
        seen: dict[str, Track],
        gone: set[str],
    ) -> None:
        for track in seen.values():
            track.last_in_view = camera.frames
        for track, inside in near:
            if track.crack_id in gone:
                continue
            if track.crack_id in seen:
                track.in_view += 1
                continue
            share = float(track.line.weight[inside].sum()) / max(float(track.line.weight.sum()), 1e-9)
            track.in_view += share >= VIEW_SHARE
            if inside.any():
                track.last_in_view = camera.frames

    # what is told -----------------------------------------------------------------------------------------------

    def _judge(self, seen: Mapping[str, Track], near: Sequence[Track], tracks: Sequence[Track], unit: float) -> None:
        """Say what each track is; straight lines at one pitch, and pieces of one line, speak for each other."""
        known = set(map(id, tracks))  # some were merged meanwhile
        around = {track.crack_id: track for track in near if id(track) in known and track.ended is None} | dict(seen)
        order = [around[name] for name in sorted(around)]
        runs = straight_runs([track.line for track in order], unit)
        in_run = {order[number].crack_id for run in runs for number in run}
        straight = [track for track in tracks if track.evidence.straight]
        for track in order:
            if track.crack_id not in seen and track.crack_id not in in_run:
                continue  # nothing new is known of it
            track.evidence.in_run |= track.crack_id in in_run
            track.evidence.evenly_spaced = track in straight and _repeats(track, straight)
            track.kind = track.evidence.kind()

    def _told(
        self, seen: dict[str, Track], changed: dict[str, tuple[CrackEvent, tuple[str, ...]]], frame: int
    ) -> list[TrackRow]:
        rows = []
        for crack_id, track in seen.items():
            event, parents = changed.get(crack_id, ("update", ()))
            if (
                event == "update"
                and track.told is not None
                and not track.told.differs(track.figures(), self.settings.change)
            ):
                continue
            rows.append(self._row(track, event, frame, parents))
        return rows

    def _row(self, track: Track, event: CrackEvent, frame: int, parents: tuple[str, ...]) -> TrackRow:
        track.revision += 1
        track.told = track.figures()
        best = track.best
        length_px = track.length / best.unit_per_px
        return TrackRow(
            id=ids.report_id(self.mission_id, track.camera, frame, track.crack_id, track.revision),
            crack_id=track.crack_id,
            event=event,
            revision=track.revision,
            parents=parents,
            camera=track.camera,
            frame=frame,
            kind=track.kind,
            sightings=track.sightings,
            in_view=max(track.in_view, track.sightings),
            first_frame=track.first_frame,
            last_frame=track.last_frame,
            best_id=ids.sighting_id(self.mission_id, track.camera, best.frame, best.number),
            best_frame=best.frame,
            length_px=length_px,
            length_mm=None if best.mm_per_px is None else length_px * best.mm_per_px,
        )


def _repeats(track: Track, straight: Sequence[Track]) -> bool:
    """Whether a straight line is one of several at one pitch."""
    direction = _direction(track.line)
    normal = np.array([-direction[1], direction[0]])
    offsets = [
        float(other.line.xy.mean(axis=0) @ normal)
        for other in straight
        if abs(float(_direction(other.line) @ direction)) >= PARALLEL_COS
    ]
    return evenly_spaced(offsets)


def _direction(line: Line) -> Float64:
    double = np.arctan2(line.along[:, 1], line.along[:, 0]) * 2
    angle = math.atan2(float(np.sin(double).mean()), float(np.cos(double).mean())) / 2
    return np.array([math.cos(angle), math.sin(angle)])
