"""Fragments of one straight line: a joint that the network finds in pieces is straight as a whole, not in any piece.

Each line in view is continued both ways. What lies on its continuation, and points along it, tells its direction
better, and so more of it is found. Where the pieces together are long, straighter than cracks are, and fill most of
what lies between the first and the last, they are one straight thing, told apart as a joint is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contract.arrays import Bool, Float64, Int64
from agent.track.kind import STRAIGHT_PX, STRAIGHT_SHARE
from agent.track.lines import Line

LEAST_SEED_PX: Final = 40.0  # a shorter piece tells no direction
LEAST_PIECE_PX: Final = 16.0
LEAST_RUN_PX: Final = 240.0  # of the pieces together: cracks are straight by accident over less
FILLED: Final = 0.5  # of the run, by its pieces
NEAR_PX: Final = 2.0  # mean distance of a piece's points from the run's line
REACH_SHARE: Final = 0.03  # off a seed's own line, more by this share of the distance: its direction is told roughly
ALONG_COS: Final = float(np.cos(np.radians(8)))
SPREAD_PX: Final = 1.6  # rms distance from the line, at most, however long the run
GROWTHS: Final = 5


def straight_runs(lines: Sequence[Line], unit: float) -> list[list[int]]:
    """Return which lines are pieces of one straight run, each run's in ascending order; no line is in two.

    Args:
        lines: on the surface, those of ended and branched cracks among them.
        unit: of the surface per px.
    """
    able = [number for number, line in enumerate(lines) if line.length >= LEAST_PIECE_PX * unit]
    fits = {number: _fit(lines[number].xy) for number in able}
    able = [number for number in able if _slim(lines[number], *fits[number], unit)]
    if len(able) < 2:
        return []
    pieces = _Pieces(
        number=np.array(able),
        middle=np.array([fits[number][0] for number in able]),
        along=np.array([fits[number][1] for number in able]),
        pointing=np.array([lines[number].length >= LEAST_SEED_PX * unit for number in able]),
    )
    free = set(able)
    runs = []
    for seed in sorted(able, key=lambda number: (-lines[number].length, number)):
        if seed not in free or lines[seed].length < LEAST_SEED_PX * unit:
            continue
        run = _grown(seed, free, pieces, lines, unit)
        if len(run) > 1 and _is_straight([lines[number] for number in run], unit):
            runs.append(run)
            free -= set(run)
    return sorted(runs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pieces:
    """The lines that may be pieces of a run."""

    number: Int64  # (N,) among all lines
    middle: Float64  # (N, 2)
    along: Float64  # (N, 2)
    pointing: Bool  # (N,) long enough to tell a direction


def _grown(seed: int, free: set[int], pieces: _Pieces, lines: Sequence[Line], unit: float) -> list[int]:
    run = [seed]
    for _ in range(GROWTHS):
        points = np.concatenate([lines[number].xy for number in run])
        middle, along = _fit(points)
        extent = float(np.ptp((points - middle) @ along))
        # a look at the middles first, which leaves out nearly all
        off = np.abs((pieces.middle - middle) @ np.array([-along[1], along[0]]))
        near = off <= NEAR_PX * unit + REACH_SHARE * extent
        near &= ~pieces.pointing | (np.abs(pieces.along @ along) >= ALONG_COS)
        chosen = {
            number
            for number in pieces.number[near].tolist()
            if number in free and _lies_on(lines[number], middle, along, extent, unit)
        }
        grown = sorted({seed} | chosen)
        if grown == run:
            break
        run = grown
    return run


def _lies_on(line: Line, middle: Float64, along: Float64, extent: float, unit: float) -> bool:
    gap = line.xy - middle
    beyond = max(0.0, float(np.abs(gap @ along).mean()) - extent / 2)
    off = float(np.abs(gap @ np.array([-along[1], along[0]])).mean())
    return beyond <= 1.5 * extent and off <= NEAR_PX * unit + REACH_SHARE * min(beyond, extent)


def _is_straight(pieces: Sequence[Line], unit: float) -> bool:
    points = np.concatenate([piece.xy for piece in pieces])
    middle, along = _fit(points)
    place = (points - middle) @ along
    extent = float(np.ptp(place))
    spread = float(np.sqrt(np.mean(np.square((points - middle) @ np.array([-along[1], along[0]])))))
    covered = len(np.unique(np.floor(place / (8 * unit)))) * 8 * unit  # what lies twice fills nothing twice
    allowed = min(max(STRAIGHT_PX * unit, STRAIGHT_SHARE * extent), SPREAD_PX * unit)
    return extent >= LEAST_RUN_PX * unit and covered >= FILLED * extent and spread <= allowed


def _slim(line: Line, middle: Float64, along: Float64, unit: float) -> bool:
    """Whether the line goes one way: no branch, no bow."""
    across = (line.xy - middle) @ np.array([-along[1], along[0]])
    extent = float(np.ptp((line.xy - middle) @ along))
    bent: Bool = np.abs(across) > max(2 * STRAIGHT_PX * unit, 0.02 * extent)
    return bool(bent.mean() < 0.2)


def _fit(points: Float64) -> tuple[Float64, Float64]:
    middle = points.mean(axis=0)
    _, _, axes = np.linalg.svd(points - middle, full_matrices=False)
    return middle, np.asarray(axes[0], np.float64)
