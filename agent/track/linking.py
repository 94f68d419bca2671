"""Which crack a sighting is: the pieces of a frame's cracks on the surface, and the tracks that they lie on.

A sighting votes, point by point, for the nearest track of its direction; enough votes link the two, links join tracks
(union-find), and lines that run side by side are never joined, whatever links them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contract.arrays import Bool, Float64, Int64
from agent.contract.crack import Crack
from agent.contract.frame import Frame
from agent.track.grouping import pieces
from agent.track.lines import BESIDE, SPACING_PX, Line, beside, joined, line_of, moved, pairs
from agent.track.locator import Located
from agent.track.placement import outline
from agent.track.settings import TrackSettings
from agent.track.tracks import Best, Track

LEAST_LINK_PX: Final = 12.0  # of a sighting on a track
LINK_SHARE: Final = 0.3  # of the shorter of the two, as far as it is in view
SIDE_PX: Final = 60.0  # lines farther apart than this do not run side by side
WIDEST_PX: Final = 12.0  # of the crack's half width that is added to the tolerance
INSET_PX: Final = 12.0  # what lies nearer to the frame's edge is not counted as in view


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Pieces of one crack in this frame."""

    members: tuple[int, ...]
    line: Line  # on the surface
    nearest: float  # units
    best: Best
    length: float  # units


def grouped(
    frame: Frame, cracks: Sequence[Crack], located: Located, unit: float, settings: TrackSettings
) -> tuple[list[Group], list[Line]]:
    """Return the pieces of each crack of a frame, put together on the surface, and each piece's line in the frame.

    Args:
        frame: that shows them.
        cracks: found in it.
        located: where the frame lies.
        unit: units of the surface in a px.
        settings: how far apart pieces of one crack may lie.
    """
    lines = [line_of(crack) for crack in cracks]
    surface = [moved(line, located.placement) for line in lines]
    groups = []
    for members in pieces(cracks, lines, join_px=settings.join_px):
        whole = joined([surface[one] for one in members])
        length = sum(cracks[one].length_px for one in members)
        half = max(cracks[one].area_px / max(cracks[one].length_px, 1.0) / 2 for one in members)
        longest = max(members, key=lambda one: (cracks[one].length_px, -one))
        crack = cracks[longest]
        scale = crack.scale.mm_per_px
        best = Best(
            frame=frame.index,
            number=longest,
            rank=(crack.gradable, -round(math.log(scale) * 5) / 5 if scale else 0.0, round(length, 3)),
            width_px=crack.width_px,
            width_mm=crack.width_mm,
            gradable=crack.gradable,
            mm_per_px=scale,
            unit_per_px=unit,
        )
        nearest = (settings.tolerance_px + min(half, WIDEST_PX)) * unit
        groups.append(Group(tuple(members), whole, nearest, best, length * unit))
    return groups, lines


def in_view(tracks: Sequence[Track], located: Located, frame: Frame, unit: float) -> list[tuple[Track, Bool]]:
    """Return the tracks whose box meets the frame's, with which of their points are in view."""
    edge = outline(located.placement, (frame.height, frame.width), steps=8)
    slack = SIDE_PX * unit
    left, top = edge.min(axis=0) - slack
    right, bottom = edge.max(axis=0) + slack
    near = []
    for track in tracks:
        box = track.box
        if box[0] > right or box[2] < left or box[1] > bottom or box[3] < top:
            continue
        xy = located.placement.to_frame(track.line.xy)
        inside = (xy >= INSET_PX).all(axis=1) & (xy < (frame.width - INSET_PX, frame.height - INSET_PX)).all(axis=1)
        near.append((track, np.asarray(inside, np.bool_)))
    return near


def link(
    groups: Sequence[Group], near: Sequence[tuple[Track, Bool]], unit: float
) -> tuple[dict[int, Track], list[tuple[Track, Track]]]:
    """Return whose sighting each group is, and which tracks turn out to be one: (survivor, gone)."""
    if not groups or not near:
        return {}, []
    everything = joined([track.line for track, _ in near])
    owner = np.repeat(np.arange(len(near)), [len(track.line) for track, _ in near])
    visible = np.array([float(track.line.weight[inside].sum()) for track, inside in near])
    links: list[tuple[float, int, int]] = []
    for number, group in enumerate(groups):
        votes = _votes(group, everything, owner, len(near))
        for at in np.flatnonzero(votes).tolist():
            least = max(LEAST_LINK_PX * unit, LINK_SHARE * min(group.length, visible[at] or math.inf))
            if votes[at] >= min(least, 0.8 * group.length):
                links.append((float(votes[at]), number, at))
    links.sort(key=lambda link: (-link[0], link[1], link[2]))
    owners: dict[int, Track] = {}
    merges: list[tuple[Track, Track]] = []
    became: dict[str, Track] = {}
    for _, number, at in links:
        track = _now(near[at][0], became)
        mine = owners.get(number)
        if mine is None:
            owners[number] = track
            continue
        mine = _now(mine, became)
        if mine is track or _side_by_side(mine.line, track.line, groups[number].nearest, unit):
            continue
        survivor, gone = sorted((mine, track), key=lambda one: (one.first_frame, one.crack_id))
        became[gone.crack_id] = survivor
        merges.append((survivor, gone))
    return {number: _now(track, became) for number, track in owners.items()}, merges


def closer(line: Line, to: Line, than: Line, radius: float) -> Bool:
    """Return which points of a line lie closer to one line than to another, (N,)."""
    nearest = []
    for other in (to, than):
        found = pairs(line, other, radius)
        distance = np.full(len(line), np.inf)
        np.minimum.at(distance, found.one, found.distance)
        nearest.append(distance)
    return np.asarray(nearest[0] < nearest[1], np.bool_)


def _side_by_side(one: Line, two: Line, nearest: float, unit: float) -> bool:
    share = beside(one, two, nearest=nearest, farthest=SIDE_PX * unit, spacing=SPACING_PX * unit)
    return share > BESIDE


def _votes(group: Group, everything: Line, owner: Int64, tracks: int) -> Float64:
    """Return the length of the group that lies on each track: each point counts for the nearest line only."""
    found = pairs(group.line, everything, group.nearest * 1.5)
    good = found.agree & (np.abs(found.across) <= group.nearest)
    one, two, distance = found.one[good], found.two[good], found.distance[good]
    order = np.lexsort((two, distance, one))
    one, two = one[order], two[order]
    first = np.ones(len(one), np.bool_)
    first[1:] = one[1:] != one[:-1]
    votes = np.bincount(owner[two[first]], group.line.weight[one[first]], minlength=tracks)
    return np.asarray(votes, np.float64)


def _now(track: Track, became: dict[str, Track]) -> Track:
    while track.crack_id in became:
        track = became[track.crack_id]
    return track
