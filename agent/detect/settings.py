"""What a user may set about the classical pre-gate."""

from __future__ import annotations

from pydantic import Field

from agent.contract.strict import Strict


class PreGateSettings(Strict):
    """A classical look at each tile before any network: is anything in it thin and darker than what lies around it?"""

    enabled: bool = Field(
        default=False,
        description="Skip tiles in which nothing thin is dark. Cheap; loses cracks that are lighter than the surface.",
    )
    contrast: int = Field(
        default=10, ge=1, le=255, description="How much darker than its surroundings, levels of 255 at half size."
    )
    pixels: int = Field(default=16, ge=1, description="How many such pixels a tile must have, at half size.")
    width_px: int = Field(
        default=13, ge=3, le=63, description="Dark lines up to about this width are looked for, px of the frame."
    )
