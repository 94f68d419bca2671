"""The class of a crack by a standard, and how sure that is."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Final, Protocol

from agent.contract.arrays import UInt8
from agent.contract.crack import NORMAL_90, UNGRADED, Crack, Grade
from agent.contract.frame import Scale
from agent.severity.settings import SeveritySettings
from agent.severity.standard import Category, SeverityClass, Standard, standard

NO_SCALE: Final = "no scale: a standard's widths are in mm (--mm-per-px, or a camera's mm_per_px)"


class Grader:
    """Grades by one category of one standard, or not at all.

    Args:
        settings: which.
    """

    def __init__(self, settings: SeveritySettings) -> None:
        self._standard: Standard | None = None if settings.standard is None else standard(settings.standard)
        if self._standard is not None:
            self._name = settings.category or next(iter(self._standard.categories))
            self._category: Category = self._standard.categories[self._name]

    def graded(self, cracks: list[Crack]) -> list[Crack]:
        """Return the cracks with their grades."""
        return cracks if self._standard is None else [replace(crack, grade=self.grade(crack)) for crack in cracks]

    def grade(self, crack: Crack) -> Grade:
        """Return the class that the width lies in; `ungraded` with the reason where it is not known.

        The probability is that of the class, given the 90 % interval of the width: a normal distribution of its
        logarithm with the width as its median, one half for each end of the interval.
        """
        if self._standard is None:
            return UNGRADED
        cited = replace(UNGRADED, standard=f"{self._standard.name} {self._name}", clause=self._category.clause)
        if crack.scale.mm_per_px is None:
            return replace(cited, reason=NO_SCALE)
        low, width, high = crack.width_lo_mm, crack.width_mm, crack.width_hi_mm
        if not crack.gradable or low is None or width is None or high is None:
            return replace(cited, reason=crack.not_gradable_reason or "the width was not measured")
        classes = _that_hold(self._category, crack.length_mm or 0.0)
        bounds = [one.below_mm or math.inf for one in classes]
        shares = [b - a for a, b in itertools.pairwise([0.0, *(_share_below(x, low, width, high) for x in bounds)])]
        chosen = next(index for index, bound in enumerate(bounds) if width < bound)
        one = classes[chosen]
        return replace(cited, severity=one.rank, name=one.name, p=min(max(shares[chosen], 0.0), 1.0))


class _Measure(Protocol):
    def __call__(self, probability: UInt8, image_rgb: UInt8, *, scale: Scale) -> list[Crack]: ...


def grading(measure: _Measure, settings: SeveritySettings) -> _Measure:
    """Return `measure`, of which the cracks are graded as well."""
    grader = Grader(settings)

    def measured(probability: UInt8, image_rgb: UInt8, *, scale: Scale) -> list[Crack]:
        return grader.graded(measure(probability, image_rgb, scale=scale))

    return measured


def _that_hold(category: Category, length_mm: float) -> list[SeverityClass]:
    """Return the classes for a crack of this length: one that it is too short for is part of the class before."""
    classes: list[SeverityClass] = []
    for one in category.classes:
        if one.from_length_mm is not None and length_mm < one.from_length_mm:
            classes[-1] = classes[-1].model_copy(update={"below_mm": one.below_mm})
        else:
            classes.append(one)
    return classes


def _share_below(bound: float, low: float, width: float, high: float) -> float:
    """Return the probability that the true width lies below the bound, given the 90 % interval."""
    if math.isinf(bound):
        return 1.0
    end = low if bound < width else high
    sigma = max(abs(math.log(max(end, 1e-9) / width)) / NORMAL_90, 1e-9)
    return 0.5 * (1 + math.erf(math.log(bound / width) / sigma / math.sqrt(2)))
