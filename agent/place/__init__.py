"""How large and where what is seen is: lens, scale, slant, lasers, telemetry -> mm and a position for each crack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.lazy import names_from

if TYPE_CHECKING:
    from agent.place.surface import surfaced

__all__ = ["surfaced"]

__getattr__ = names_from(
    __name__,
    {
        "surfaced": "surface",
    },
)
