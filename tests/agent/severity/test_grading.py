from __future__ import annotations

import math

import numpy as np
import pytest

from agent.contract.crack import UNGRADED, Crack
from agent.contract.frame import UNKNOWN_SCALE, Scale
from agent.severity.grading import Grader
from agent.severity.settings import SeveritySettings

MBEI = SeveritySettings(standard="aashto-mbei", category="reinforced")  # 0.30 and 1.27 mm


def crack(
    *,
    width: float | None = 3.0,
    low: float | None = 2.5,
    high: float | None = 4.0,
    mm_per_px: float | None = 0.1,
    reason: str | None = None,
    length: float = 500,
    scale_error: float = 0.0,
) -> Crack:
    return Crack(
        bbox_xywh_px=(0, 0, 1, 1),
        mask=np.ones((1, 1), np.bool_),
        branches=(),
        length_px=length,
        width_px=width,
        width_p50_px=width,
        width_max_px=width,
        area_px=1,
        orientation_deg=0,
        confidence=1,
        not_gradable_reason=reason,
        width_lo_px=low,
        width_hi_px=high,
        scale_error=scale_error,
        scale=UNKNOWN_SCALE if mm_per_px is None else Scale(mm_per_px=mm_per_px, source="setting"),
    )


@pytest.mark.parametrize(
    ("width", "name", "severity"),
    [
        (1.0, "CS1", "low"),
        (2.99, "CS1", "low"),
        (3.0, "CS2", "moderate"),
        (12.6, "CS2", "moderate"),
        (12.8, "CS3", "high"),
    ],
)
def test_the_class_is_the_one_that_the_width_lies_in(width: float, name: str, severity: str) -> None:
    grade = Grader(MBEI).grade(crack(width=width, low=0.9 * width, high=1.1 * width))
    assert (grade.name, grade.severity) == (name, severity)
    assert grade.standard == "aashto-mbei r1 reinforced"
    assert grade.clause == "Defect 1130"
    assert grade.reason is None


def test_a_width_on_a_limit_is_as_likely_on_either_side() -> None:
    grade = Grader(MBEI).grade(crack(width=3.0, low=2.0, high=5.0))
    assert grade.p == pytest.approx(0.5, abs=1e-3)


def test_the_ends_of_the_interval_leave_five_percent_outside() -> None:
    assert Grader(MBEI).grade(crack(width=2.0, low=1.5, high=3.0)).p == pytest.approx(0.95, abs=1e-3)
    assert Grader(MBEI).grade(crack(width=5.0, low=3.0, high=6.0)).p == pytest.approx(0.95, abs=1e-3)


def test_the_probability_is_that_of_drawing_widths_from_the_interval() -> None:
    rng = np.random.default_rng(4)
    z = rng.standard_normal(400_000)
    drawn = 4.0 * np.exp(np.where(z < 0, math.log(4 / 2.2), math.log(14 / 4)) / 1.645 * z)
    expected = np.mean((drawn >= 3.0) & (drawn < 12.7))
    assert Grader(MBEI).grade(crack(width=4.0, low=2.2, high=14)).p == pytest.approx(expected, abs=0.003)


def test_an_uncertain_scale_makes_the_class_less_sure() -> None:
    sure = Grader(MBEI).grade(crack(width=4.0, low=3.5, high=4.6)).p
    unsure = Grader(MBEI).grade(crack(width=4.0, low=3.5, high=4.6, scale_error=0.3)).p
    assert sure is not None
    assert unsure is not None
    assert unsure < sure - 0.05


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        pytest.param(crack(mm_per_px=None), "no scale", id="no scale"),
        pytest.param(crack(reason="glare", low=None, high=None), "glare", id="not gradable"),
        pytest.param(crack(width=None, low=None, high=None), "not measured", id="no width"),
    ],
)
def test_what_has_no_width_in_mm_is_ungraded_with_the_reason(one: Crack, reason: str) -> None:
    grade = Grader(MBEI).grade(one)
    assert grade.severity == "ungraded"
    assert grade.name is None
    assert grade.p is None
    assert reason in (grade.reason or "")


@pytest.mark.parametrize(("metres", "severity"), [(4.9, "low"), (5.0, "high")])
def test_a_class_for_long_cracks_does_not_hold_for_short_ones(metres: float, severity: str) -> None:
    grader = Grader(SeveritySettings(standard="mlit-tunnel"))
    grade = grader.grade(crack(width=4, low=3.6, high=4.4, mm_per_px=1, length=1000 * metres))
    assert grade.severity == severity
    assert grade.p == pytest.approx(1.0, abs=0.01)


def test_without_a_standard_cracks_stay_ungraded() -> None:
    one = crack()
    assert Grader(SeveritySettings()).graded([one])[0].grade == UNGRADED


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"standard": "aashto-mbei"}, "needs a category; there are reinforced, prestressed"),
        ({"standard": "aashto-mbei", "category": "wood"}, "'wood' is no category of aashto-mbei"),
        ({"standard": "din"}, "'din' is no standard"),
        ({"category": "reinforced"}, "needs a standard"),
    ],
)
def test_a_wrong_choice_is_refused_with_what_there_is(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeveritySettings(**values)
