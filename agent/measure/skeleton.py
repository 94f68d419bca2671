"""Thinning to a centre line one pixel wide, on the list of crack pixels only.

Paper: Guo and Hall, Parallel thinning with two-subiteration algorithms, CACM 32(3), 1989, algorithm A1. A pixel's fate
depends on its 8 neighbours alone, so each test is one look into a table of 256 entries, and after the first round only
pixels that lost a neighbour are tested again.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import Bool, Int32, UInt8

OFFSETS_YX: Final = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))  # clockwise from north
BOTH_TURNS: Final = 3


def neighbour_table(pixels: Int32, stride: int) -> Int32:
    """Return each pixel's 8 neighbours as positions in the list, (N, 8), clockwise from north; N where there is none.

    Args:
        pixels: (N,) flat indices in the padded frame, ascending.
        stride: width of the padded frame.
    """
    count = len(pixels)
    table = np.full((count, 8), count, np.int32)
    guarded = np.append(pixels, np.int32(np.iinfo(np.int32).max))
    at = np.searchsorted(pixels, pixels - np.int32(stride + 1))  # where the three above begin in the list
    _link(table, at, guarded[at] == pixels - (stride + 1), 7)
    for bit, above in ((0, stride), (1, stride - 1)):
        at += guarded[at] < pixels - above
        _link(table, at, guarded[at] == pixels - above, bit)
    _link(table, np.arange(-1, count - 1), np.diff(pixels, prepend=-1) == 1, 6)
    return table


def _link(table: Int32, at: NDArray[np.intp], there: Bool, bit: int) -> None:
    """Enter a neighbour in this direction, and this pixel as the neighbour's in the other."""
    here = np.flatnonzero(there)
    table[here, bit] = at[here]
    table[at[here], (bit + 4) % 8] = here


def subset_table(table: Int32, keep: Bool) -> Int32:
    """Return the neighbour table of the kept pixels alone, as positions among them."""
    renamed = np.append(np.cumsum(keep, dtype=np.int32) - 1, 0).astype(np.int32)
    renamed[:-1][~keep] = renamed[-1] = np.count_nonzero(keep)
    return renamed[table[keep]]


def neighbour_code(table: Int32) -> UInt8:
    """Return for each pixel one bit per neighbour that is there, (N,); bit 0 is north, clockwise."""
    return np.packbits(table < len(table), axis=1, bitorder="little").ravel()


def guo_hall(table: Int32) -> Bool:
    """Return which pixels of the list remain as the skeleton, (N,).

    Args:
        table: (N, 8) neighbours as positions in the list, N where there is none.
    """
    count = len(table)
    alive = np.ones(count + 1, np.bool_)
    alive[count] = False
    code = np.append(neighbour_code(table), np.uint8(0))
    columns = np.ascontiguousarray(table.T)
    pending = np.full(count + 1, BOTH_TURNS, np.uint8)  # one bit per turn: to be tested in it
    rest = np.arange(count)
    while pending[rest].any():
        for turn in (0, 1):
            tested = rest[pending[rest] & np.uint8(1 << turn) > 0]
            pending[tested] &= np.uint8(BOTH_TURNS - (1 << turn))
            dead = tested[_DELETE[turn][code[tested]]]
            alive[dead] = False
            for bit in range(8):
                losers = columns[bit][dead]
                code[losers] &= np.uint8(255 - (1 << (bit + 4) % 8))
                pending[losers] = BOTH_TURNS
            rest = rest[alive[rest]]
    return alive[:count]


def _deletions() -> Bool:
    """Tabulate the paper's conditions G1 to G3 for all 256 neighbourhoods and both turns, (2, 256)."""
    code = np.arange(256)
    north, north_east, east, south_east, south, south_west, west, north_west = ((code >> bit) & 1 for bit in range(8))
    crossings = (
        (1 - north & (north_east | east))
        + (1 - east & (south_east | south))
        + (1 - south & (south_west | west))
        + (1 - west & (north_west | north))
    )
    pairs = np.minimum(
        (north_west | north) + (north_east | east) + (south_east | south) + (south_west | west),
        (north | north_east) + (east | south_east) + (south | south_west) + (west | north_west),
    )
    kept_by_side = np.stack(
        [(south | south_west | (1 - north_west)) & west, (north | north_east | (1 - south_east)) & east]
    )
    table: Bool = (crossings == 1) & (pairs >= 2) & (pairs <= 3) & (kept_by_side == 0)
    return table


_DELETE: Final = _deletions()
