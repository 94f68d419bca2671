"""How large and where what is seen is: lens, scale, slant, lasers, telemetry -> mm and a position for each crack."""

from agent.place.surface import surfaced

__all__ = ["surfaced"]
