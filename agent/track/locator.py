"""Puts each frame of a camera on a surface: by telemetry, by what its picture shares with those before it, or by both.

A patch is a surface with coordinates of its own. Frames with a pose share one, in mm. Frames without, but with motion
between the pictures, share one in px of its latest frame: it moves on with the camera, so errors of a long chain never
pile up where cracks are compared. A frame that shares nothing with those before it begins a patch.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from agent.contract.arrays import Float64
from agent.contract.frame import Frame
from agent.track.grey import Grey
from agent.track.placement import Placement, Plane, corners, placed
from agent.track.registration import LEAST_INLIERS, Features, describe, register
from agent.track.settings import TrackSettings

REFERENCES: Final = 3  # pictures that a new one is compared with: a bad one or two do not end a patch
AGREE_PX: Final = 2.0  # pose and pictures say the same
JUMP_SHARE: Final = (
    0.25  # of the frame's diagonal: a pose that departs so far from what the pictures say is not believed
)
PULL: Final = 0.1  # of the way from what the pictures say to what the pose says, each frame
MOST_CONFLICTS: Final = 10  # in a row; then the pose is believed after all
SURFACE: Final = 0  # the patch of all poses


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moved:
    """A patch whose coordinates changed."""

    patch: int
    onto: int  # the same patch, or the one that it became part of
    matrix: Float64  # (3, 3), old coordinates -> new


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Located:
    """Where a frame lies."""

    patch: int
    placement: Placement
    metric: bool  # the patch's unit is mm, not px of its latest frame
    posed: bool  # telemetry had a part in it
    moved: Moved | None = None
    alive: frozenset[int] = frozenset()  # patches that a later frame may still lie on


@dataclass(slots=True, kw_only=True, eq=False)
class _Reference:
    features: Features
    patch: int
    matrix: Float64  # px -> patch


@dataclass(slots=True)
class Locator:
    """Locates the frames of one camera, in their order."""

    settings: TrackSettings
    conflicts: int = 0  # poses that were not believed
    lost: int = 0  # frames without a pose that share nothing with those before
    _references: deque[_Reference] = field(default_factory=lambda: deque(maxlen=REFERENCES))
    _next_patch: int = SURFACE + 1
    _in_conflict: int = 0

    def locate(self, frame: Frame, grey: Grey) -> Located:
        """Return where the frame, of which the grey is given too, lies."""
        pose = placed(frame.pose, frame.scale, (frame.height, frame.width))
        features = describe(frame.image_rgb, grey, most=self.settings.features) if self._pictures_help(pose) else None
        seen = self._seen(features)
        if pose is not None:
            found = self._posed(frame, pose, seen)
        elif seen is not None:
            found = self._carried(*seen)
        else:
            self.lost += 1
            found = Located(patch=self._next_patch, placement=Plane(np.eye(3)), metric=False, posed=False)
            self._next_patch += 1
        if features is not None and isinstance(found.placement, Plane) and len(features.xy) >= LEAST_INLIERS:
            self._references.append(_Reference(features=features, patch=found.patch, matrix=found.placement.matrix))
        alive = {reference.patch for reference in self._references} | {SURFACE, found.patch}
        return Located(
            patch=found.patch,
            placement=found.placement,
            metric=found.metric,
            posed=found.posed,
            moved=found.moved,
            alive=frozenset(alive),
        )

    def _pictures_help(self, pose: Placement | None) -> bool:
        return self.settings.register_pictures and (pose is None or isinstance(pose, Plane))

    def _seen(self, features: Features | None) -> tuple[_Reference, Float64] | None:
        """The newest reference that the picture shares something with, and px -> its patch."""
        if features is None:
            return None
        for reference in reversed(self._references):
            motion = register(features, reference.features)
            if motion is not None:
                return reference, reference.matrix @ motion
        return None

    def _posed(self, frame: Frame, pose: Placement, seen: tuple[_Reference, Float64] | None) -> Located:
        moved = None
        if isinstance(pose, Plane) and seen is not None:
            reference, matrix = seen
            if reference.patch == SURFACE:
                pose = self._believed(frame, pose, Plane(matrix))
            else:  # the first pose after frames without
                moved = Moved(
                    patch=reference.patch, onto=SURFACE, matrix=np.asarray(pose.matrix @ np.linalg.inv(matrix))
                )
                self._move(moved)
        return Located(patch=SURFACE, placement=pose, metric=True, posed=True, moved=moved)

    def _believed(self, frame: Frame, pose: Plane, pictures: Plane) -> Plane:
        corner = corners((frame.height, frame.width))
        told, shown = pose.to_surface(corner), pictures.to_surface(corner)
        mm_per_px = frame.scale.mm_per_px or 1.0
        gap_px = float(np.hypot(*(told - shown).T).max()) / mm_per_px
        if gap_px <= AGREE_PX:
            self._in_conflict = 0
            return pose
        if gap_px > JUMP_SHARE * float(np.hypot(frame.height, frame.width)):
            self.conflicts += 1
            self._in_conflict += 1
            if self._in_conflict <= MOST_CONFLICTS:
                return pictures
            self._in_conflict = 0
            return pose
        self._in_conflict = 0
        return Plane(_through(corner, shown + PULL * (told - shown)))

    def _carried(self, reference: _Reference, matrix: Float64) -> Located:
        if reference.patch == SURFACE:
            return Located(patch=SURFACE, placement=Plane(matrix), metric=True, posed=False)
        moved = Moved(patch=reference.patch, onto=reference.patch, matrix=np.asarray(np.linalg.inv(matrix), np.float64))
        self._move(moved)
        return Located(patch=reference.patch, placement=Plane(np.eye(3)), metric=False, posed=False, moved=moved)

    def _move(self, moved: Moved) -> None:
        for reference in self._references:
            if reference.patch == moved.patch:
                reference.patch = moved.onto
                reference.matrix = moved.matrix @ reference.matrix


def _through(source: Float64, target: Float64) -> Float64:
    """The homography through four points: the eight equations of the direct linear transform."""
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
    solved = np.linalg.solve(np.array(rows, np.float64), target.ravel())
    return np.append(solved, 1.0).reshape(3, 3)


def unit_per_px(placement: Placement, hw: tuple[int, int]) -> float:
    """Return how many units of the surface a px measures in the middle of the frame."""
    middle = np.array([[(hw[1] - 1) / 2, (hw[0] - 1) / 2]])
    steps = placement.to_surface(middle + np.array([(0, 0), (1, 0), (0, 1)]))
    return float(np.sqrt(abs(np.linalg.det(steps[1:] - steps[0]))))
