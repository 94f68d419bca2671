from __future__ import annotations

import cv2
import numpy as np
import pytest

from agent.contract.arrays import UInt8
from agent.place.lasers import find_dots, laser_scale


def wall(*dots: tuple[float, float], colour: str = "red", strength: float = 200) -> UInt8:
    """Grainy grey concrete with glowing dots; sub-pixel middles."""
    rng = np.random.default_rng(0)
    frame = np.repeat(rng.normal(120, 8, (400, 600, 1)), 3, axis=2)
    rows, columns = np.mgrid[:400, :600]
    for x, y in dots:
        frame[..., 0 if colour == "red" else 1] += strength * np.exp(
            -((columns - x) ** 2 + (rows - y) ** 2) / (2 * 4.0)
        )
    return np.asarray(cv2.GaussianBlur(frame.clip(0, 255).astype(np.uint8), (0, 0), 0.6), np.uint8)


@pytest.mark.parametrize("colour", ["red", "green"])
@pytest.mark.parametrize("other", [(420.25, 260.75), (180.5, 60.5), (200.0, 300.0)])
def test_the_scale_is_spacing_over_distance(colour: str, other: tuple[float, float]) -> None:
    first = (200.5, 150.25)
    apart = np.hypot(first[0] - other[0], first[1] - other[1])
    mm, reason = laser_scale(wall(first, other, colour=colour), spacing_mm=100, colour=colour)
    assert reason is None
    assert mm == pytest.approx(100 / apart, rel=0.004)


@pytest.mark.parametrize(
    ("dots", "reason"),
    [
        pytest.param((), "0 red laser dots", id="none"),
        pytest.param(((100.0, 100.0),), "1 red laser dot in", id="one is hidden"),
        pytest.param(((100.0, 100.0), (300.0, 100.0), (500.0, 300.0)), "more than two", id="a reflection as bright"),
        pytest.param(((100.0, 100.0), (109.0, 100.0)), "dot", id="they touch"),
    ],
)
def test_what_tells_no_scale_says_why(dots: tuple[tuple[float, float], ...], reason: str) -> None:
    mm, why = laser_scale(wall(*dots), spacing_mm=100, colour="red")
    assert mm is None
    assert reason in (why or "")


def test_dots_of_the_other_colour_are_not_taken() -> None:
    assert isinstance(find_dots(wall((100.0, 100.0), (300.0, 100.0), colour="green"), "red"), str)
