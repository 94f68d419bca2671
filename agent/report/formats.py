"""In which forms a record can be handed on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

from agent.errors import ConfigError

Format = Literal["html", "pdf", "geojson", "gpkg", "csv", "overlays", "coco", "dxf", "video"]
Positions = Literal["keep", "none"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
# what needs neither a browser, nor an extra, nor the disk that a second copy of all pictures takes
DEFAULT: Final[frozenset[Format]] = frozenset({"html", "geojson", "gpkg", "csv", "overlays"})


def parse_formats(
    names: Iterable[str], *, pdf: bool = False, positions: str = "keep"
) -> tuple[frozenset[Format], Positions]:
    """Return the formats asked for, and what becomes of positions.

    Args:
        names: formats, also several in one name with commas between them, or `all`; none: DEFAULT.
        pdf: the PDF as well.
        positions: `keep` or `none`.

    Raises:
        ConfigError: a name is no format; or a drawing without positions is asked for, which would be empty.
    """
    kept: dict[str, Positions] = {one: one for one in get_args(Positions)}
    if positions not in kept:
        raise ConfigError(f"--position {positions}: there are {', '.join(kept)}")
    wanted = [part.strip().lower() for name in names for part in name.split(",") if part.strip()]
    known: dict[str, Format] = {one: one for one in FORMATS}
    if unknown := [name for name in wanted if name not in known and name != "all"]:
        raise ConfigError(f"--format {unknown[0]}: there are {', '.join(FORMATS)}, all")
    if "all" in wanted:
        chosen = frozenset(FORMATS) - (frozenset({"dxf"}) if positions == "none" else frozenset())
    else:
        chosen = frozenset(known[name] for name in wanted) or DEFAULT
    if positions == "none" and "dxf" in wanted:
        raise ConfigError("--format dxf is made of positions, and --position none leaves none; choose another format")
    return (chosen | {"pdf"} if pdf else chosen), kept[positions]
