"""What a user may set about the page."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from agent.contract.strict import Section

LatLon = tuple[Annotated[float, Field(ge=-85, le=85)], Annotated[float, Field(ge=-180, le=180)]]


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this computer only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bare(name: str) -> str:
    """Refuse what can never stand in a Host header without its port."""
    if not name or not name.isascii() or any(character in name for character in "/:@ ") or not name.isprintable():
        raise ValueError("must be the name of a host alone, without scheme, port or path")
    return name.lower()


class PlanSettings(Section):
    """A picture of the structure that lies under the map: a site plan, an elevation, an aerial picture."""

    picture: Path = Field(description="PNG or JPEG.")
    corners: tuple[LatLon, LatLon, LatLon, LatLon] = Field(
        description="Latitude and longitude of its upper left, upper right, lower right and lower left corner."
    )


class DashboardSettings(Section):
    """The agent's own page, over HTTP. It needs no broker and no internet."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="The address to answer at; any but this computer's own needs a token.",
    )
    port: int | None = Field(default=8470, ge=0, le=65535, description="null: no page; 0: whichever is free.")
    token_file: Path | None = Field(
        default=None,
        description="Holds the token alone, 16 characters at least; $CRACKSCOUT_DASHBOARD__TOKEN goes before, "
        "$CREDENTIALS_DIRECTORY/dashboard_token after it. With one, the page asks for it, wherever it is opened.",
    )
    names: tuple[Annotated[str, AfterValidator(_bare)], ...] = Field(
        default=(), description="Under which browsers may call it, beside its addresses: for instance robot.local."
    )
    live_fps: float = Field(
        default=5, ge=0.1, le=5, description="Pictures a second of the live view, while somebody looks."
    )
    tiles: Path | None = Field(default=None, description="An MBTiles file of PNG, JPEG or WebP tiles under the map.")
    plan: PlanSettings | None = Field(default=None, description="A picture under the map.")

    @model_validator(mode="after")
    def _one_background(self) -> Self:
        if self.tiles is not None and self.plan is not None:
            raise ValueError("tiles and plan are both set; the map has one background: choose one")
        return self
