"""How figures, names and colours are shown, the same in overlays and in the page."""

from __future__ import annotations

import math
import unicodedata
from typing import Final

from agent.contract.flight import CrackRow
from agent.contract.reports import Kind, Severity

Rank = tuple[int, bool, float, float, float]

SEVERITIES: Final[tuple[Severity, ...]] = ("severe", "high", "moderate", "low", "none", "ungraded")  # the worst first
SEVERITY_RGB: Final[dict[Severity, tuple[int, int, int]]] = {
    "severe": (232, 62, 140),
    "high": (240, 62, 62),
    "moderate": (253, 126, 20),
    "low": (250, 204, 21),
    "none": (64, 192, 87),
    "ungraded": (0, 205, 245),
}
KIND_RGB: Final[dict[Kind, tuple[int, int, int]]] = {  # of what is no crack; muted, so that cracks stand out
    "joint": (120, 144, 190),
    "cable": (150, 120, 190),
    "shadow": (140, 140, 150),
    "stain": (170, 140, 100),
    "print": (150, 170, 130),
}
LONGEST_NAME: Final = 300  # characters shown


def colour(crack: CrackRow) -> tuple[int, int, int]:
    """Return what a crack is drawn in: its severity, or the kind of what is none."""
    return SEVERITY_RGB[crack.severity] if crack.kind == "crack" else KIND_RGB[crack.kind]


def badness(crack: CrackRow) -> Rank:
    """Return what cracks are ordered by, the worst the highest: severity, gradable, width, length.

    Widths in mm go before widths in px, which say less; a crack without a width ranks by its length alone.
    """
    severity = len(SEVERITIES) - SEVERITIES.index(crack.severity)
    return severity, crack.gradable, crack.width_mm or 0.0, crack.width_px or 0.0, crack.length_px


def short_id(crack: CrackRow) -> str:
    """Return the start of the crack's id: enough to find it in the page, the CSV and the GeoJSON."""
    return crack.crack_id[:6]


def width(crack: CrackRow) -> str:
    """Return the width in mm, in px where the scale is unknown, or a question mark where it was not measured.

    A crack that is not gradable has its mask's width, marked by a tilde.
    """
    mark = "" if crack.gradable or crack.width_px is None else "~"
    return mark + _mm_or_px(crack.width_mm, crack.width_px)


def interval(crack: CrackRow) -> str:
    """Return the ends of the 90 % interval of the width, in the width's unit, or nothing."""
    low, high = (crack.width_lo_mm, crack.width_hi_mm)
    if crack.width_mm is None:
        low, high = (crack.width_lo_px, crack.width_hi_px)
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def grade(crack: CrackRow) -> str:
    """Return the class and how sure it is, or nothing."""
    if crack.severity_class is None:
        return ""
    sure = "" if crack.severity_p is None else f" ({crack.severity_p:.0%})"
    return f"{crack.severity_class}{sure}"


def length(crack: CrackRow) -> str:
    """Return the length in mm, or in px where the scale is unknown."""
    return _mm_or_px(crack.length_mm, crack.length_px)


def number(value: float) -> str:
    """Return about three digits: 0.42, 3.14, 31.4, 314, 31400."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{decimals}f}"


def round_length(longest: float) -> float:
    """Return the longest of 1, 2, 5, 10, 20, ... that is at most `longest`, > 0: of a scale bar."""
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))


def plain(text: str) -> str:
    """Return `text` on one line with every character that could disguise it spelled out, cut where it is overlong.

    Control characters, direction marks and half characters of undecodable file names become their code points.
    """
    shown = "".join(map(_visible, text[:LONGEST_NAME]))
    return shown if len(text) <= LONGEST_NAME else f"{shown}… ({len(text)} characters)"


def _visible(character: str) -> str:
    hidden = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return f"\\u{{{ord(character):x}}}" if hidden else character


def _mm_or_px(in_mm: float | None, in_px: float | None) -> str:
    if in_mm is not None:
        return f"{number(in_mm)} mm"
    return "?" if in_px is None else f"{number(in_px)} px"
