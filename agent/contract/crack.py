"""A crack as measured in one frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from agent.contract.arrays import Bool, Float32
from agent.contract.frame import UNKNOWN_SCALE, Scale
from agent.contract.reports import Severity

Pattern: TypeAlias = Literal["single", "branched", "map"]
NORMAL_90: Final = 1.645  # half a 90 % interval in standard deviations


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Branch:
    """One unbranched stretch of a crack's centre line."""

    line_xy_px: Float32  # (K, 2), K >= 1, in the frame, pixel centres at integers
    width_px: Float32  # (K,) width at each point; NaN where it could not be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What a standard says of a crack."""

    severity: Severity  # the common rank
    standard: str | None = None  # id, revision of its table, category
    name: str | None = None  # of the class
    clause: str | None = None
    p: float | None = None  # probability of the class, given the width's interval
    reason: str | None = None  # why it is ungraded although a standard was asked for


UNGRADED: Final = Grade(severity="ungraded")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crack:
    """One connected crack. Lengths in px of the frame; figures in mm follow from the scale, or are None."""

    bbox_xywh_px: tuple[int, int, int, int]  # x, y, width, height
    mask: Bool  # (height, width) of the box: the crack's pixels
    branches: tuple[Branch, ...]
    length_px: float  # along the centre line, all branches
    width_px: float | None  # 95th percentile along the centre line; of the mask alone where not gradable
    width_p50_px: float | None
    width_max_px: float | None
    area_px: int
    orientation_deg: float | None  # length-weighted axial mean, [0, 180), 0 = along x, counter-clockwise as seen
    confidence: float  # mean probability over its pixels, [0, 1]
    not_gradable_reason: str | None = None  # why the picture does not tell the width; masks are often too wide
    width_lo_px: float | None = None  # lower end of the 90 % interval of width_px; None where not gradable
    width_hi_px: float | None = None  # its upper end
    branch_points: int = 0  # where three or more branches meet
    pattern: Pattern = "single"
    scale_error: float = 0.0  # standard error of the scale, as a share of it
    grade: Grade = UNGRADED
    scale: Scale = UNKNOWN_SCALE

    @property
    def gradable(self) -> bool:
        """Whether the width can be relied on."""
        return self.not_gradable_reason is None

    @property
    def length_mm(self) -> float | None:
        """Length along the centre line; None where the scale is unknown."""
        in_mm = self._in_mm(self.length_px)
        return None if in_mm is None else in_mm / self.scale.across * self.scale.along

    @property
    def width_mm(self) -> float | None:
        """95th percentile of the width; None where the scale is unknown or the width was not measured."""
        return self._in_mm(self.width_px)

    @property
    def width_lo_mm(self) -> float | None:
        """Lower end of the 90 % interval of `width_mm`, the scale's own error included; None where unknown."""
        return self._end_mm(self.width_lo_px)

    @property
    def width_hi_mm(self) -> float | None:
        """Upper end of the 90 % interval of `width_mm`; None where unknown."""
        return self._end_mm(self.width_hi_px)

    @property
    def width_p50_mm(self) -> float | None:
        """Median width; None where unknown."""
        return self._in_mm(self.width_p50_px)

    @property
    def width_max_mm(self) -> float | None:
        """Largest width; None where unknown."""
        return self._in_mm(self.width_max_px)

    @property
    def area_mm2(self) -> float | None:
        """Area of the crack's pixels; None where the scale is unknown."""
        mm_per_px = self.scale.mm_per_px
        return None if mm_per_px is None else self.area_px * mm_per_px**2 * self.scale.area

    def _end_mm(self, end_px: float | None) -> float | None:
        if end_px is None or not self.width_px:
            return None
        apart = math.log(max(end_px, 1e-6) / self.width_px)
        both = math.copysign(math.hypot(apart, NORMAL_90 * self.scale_error), apart)
        return self._in_mm(self.width_px * math.exp(both))

    def _in_mm(self, px: float | None) -> float | None:
        mm_per_px = self.scale.mm_per_px
        return None if px is None or mm_per_px is None else px * mm_per_px * self.scale.across
