"""What lies under the map: tiles of an MBTiles file, or a plan with corner points. Never an address on the internet."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np

from agent.capture.decode import decode_image
from agent.dashboard.settings import DashboardSettings, PlanSettings
from agent.errors import ConfigError, InputError

PLAN_EDGE_PX: Final = 2048
_SIGNATURES: Final[Mapping[bytes, str]] = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"RIFF": "image/webp"}


class Background(Protocol):
    """Something under the map."""

    def described(self) -> dict[str, Any]:
        """Return what the page needs to know of it."""
        ...

    def picture(self, z: int, x: int, y: int) -> tuple[bytes, str] | None:
        """Return a tile (of a plan there is one, 0 0 0) and its media type; None where there is none."""
        ...


def open_background(settings: DashboardSettings) -> Background | None:
    """Return what the settings ask for.

    Raises:
        ConfigError: it cannot be read.
    """
    if settings.tiles is not None:
        return Tiles(settings.tiles)
    return None if settings.plan is None else Plan(settings.plan)


class Tiles:
    """An MBTiles file (specification 1.3), read-only.

    Raises:
        ConfigError: it is none, or holds something else than pictures.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            # immutable: no lock files beside it, it may lie on a read-only medium
            self._database = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            self._facts = {
                str(name): str(value)
                for name, value in self._database.execute("SELECT name, value FROM metadata").fetchall()
            }
            low, high = self._database.execute("SELECT MIN(zoom_level), MAX(zoom_level) FROM tiles").fetchone()
        except sqlite3.Error as exc:
            raise ConfigError(f"dashboard.tiles: {path} is no MBTiles file that can be read ({exc})") from exc
        if low is None:
            raise ConfigError(f"dashboard.tiles: {path} holds no tiles")
        if self._facts.get("format") == "pbf":
            raise ConfigError(f"dashboard.tiles: {path} holds vector tiles; PNG, JPEG or WebP tiles are drawn")
        self._zooms = int(low), int(high)

    def described(self) -> dict[str, Any]:
        """See `Background.described`."""
        try:
            west, south, east, north = (float(part) for part in self._facts.get("bounds", "").split(","))
            bounds = [[south, west], [north, east]]
        except ValueError:
            bounds = None
        return {
            "kind": "tiles",
            "name": self._facts.get("name", ""),
            "attribution": self._facts.get("attribution", ""),
            "min_zoom": self._zooms[0],
            "max_zoom": self._zooms[1],
            "bounds": bounds,
        }

    def picture(self, z: int, x: int, y: int) -> tuple[bytes, str] | None:
        """See `Background.picture`."""
        if not 0 <= z <= 30 or not 0 <= x < 2**z or not 0 <= y < 2**z:
            return None
        query = "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"
        with self._lock:
            found = self._database.execute(query, (z, x, 2**z - 1 - y)).fetchone()  # rows count from the south
        if found is None or not isinstance(found[0], bytes):
            return None
        kind = next((kind for start, kind in _SIGNATURES.items() if found[0].startswith(start)), None)
        return None if kind is None else (found[0], kind)


@dataclass
class Plan:
    """A picture laid onto the map by its corners: warped once, so that north is up.

    Raises:
        ConfigError: it cannot be read, or its corners are no quadrangle.
    """

    settings: PlanSettings
    _bounds: list[list[float]] = field(init=False)
    _png: bytes = field(init=False)

    def __post_init__(self) -> None:
        path, corners = self.settings.picture, self.settings.corners
        try:
            image = decode_image(path.read_bytes())
        except (OSError, InputError) as exc:
            raise ConfigError(f"dashboard.plan.picture: {path} cannot be read ({exc})") from exc
        onto = np.array([(lon, math.degrees(math.asinh(math.tan(math.radians(lat))))) for lat, lon in corners])
        (west, south), (east, north) = onto.min(axis=0), onto.max(axis=0)
        if not cv2.isContourConvex(onto.astype(np.float32)) or min(east - west, north - south) < 1e-9:
            raise ConfigError(
                "dashboard.plan.corners: no quadrangle; give upper left, upper right, lower right, lower left"
            )
        scale = PLAN_EDGE_PX / max(east - west, north - south)
        width, height = max(1, round((east - west) * scale)), max(1, round((north - south) * scale))
        target = np.column_stack([(onto[:, 0] - west) * scale, (north - onto[:, 1]) * scale]).astype(np.float32)
        rows, columns = image.shape[:2]
        source = np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], np.float32)
        bgra = cv2.cvtColor(image, cv2.COLOR_RGB2BGRA)
        warped = cv2.warpPerspective(
            bgra, cv2.getPerspectiveTransform(source, target), (width, height), flags=cv2.INTER_AREA
        )
        self._png = cv2.imencode(".png", warped)[1].tobytes()
        latitudes = [lat for lat, _ in corners]
        self._bounds = [[min(latitudes), float(west)], [max(latitudes), float(east)]]

    def described(self) -> dict[str, Any]:
        """See `Background.described`."""
        return {"kind": "plan", "bounds": self._bounds}

    def picture(self, z: int, x: int, y: int) -> tuple[bytes, str] | None:
        """See `Background.picture`."""
        return (self._png, "image/png") if (z, x, y) == (0, 0, 0) else None


def as_json(background: Background | None) -> dict[str, Any] | None:
    """Return the description, held to what JSON can say."""
    return None if background is None else json.loads(json.dumps(background.described()))
