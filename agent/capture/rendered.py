"""A rendered flight as a live camera: each frame when its time has come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError

from agent.capture.camera import Damaged, Picture
from agent.errors import CameraError, ConfigError
from agent.simulate.flight import RenderedFrame, render_flight
from agent.simulate.scene import SceneSettings


class RenderedCamera:
    """A flight over rendered concrete, at its own pace; after a loss it goes on where it would be by then.

    Args:
        scene: what it flies over. The camera ends with it.
    """

    def __init__(self, scene: SceneSettings) -> None:
        self._flight = render_flight(scene)
        self._fps = scene.fps
        self._began: float | None = None
        self._frames: Iterator[RenderedFrame] | None = None

    def open(self) -> None:
        """See `Camera.open`."""
        if self._began is None:
            self._began = time.monotonic()
        reached = int((time.monotonic() - self._began) * self._fps)
        self._frames = self._flight.frames(min(reached, len(self._flight)))

    def read(self) -> Picture | Damaged | None:
        """See `Camera.read`."""
        if self._frames is None or self._began is None:
            raise CameraError("the rendered camera is not open")
        rendered = next(self._frames, None)
        if rendered is None:
            return None
        frame = rendered.frame
        time.sleep(max(0.0, self._began + frame.index / self._fps - time.monotonic()))
        return Picture(
            image_rgb=frame.image_rgb, encoded=frame.encoded, suffix=frame.suffix, scale=frame.scale, pose=frame.pose
        )

    def close(self) -> None:
        """See `Camera.close`."""
        self._frames = None


def scene_of(source: str) -> SceneSettings:
    """Return what `rendered://facade?seconds=60&fps=10&seed=3` asks for.

    Raises:
        ConfigError: there is no such flight.
    """
    parts = urlsplit(source)
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    try:
        return SceneSettings.model_validate({"kind": parts.hostname or "tunnel", **asked})
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors())
        raise ConfigError(f"{source}: cannot be rendered: {faults}") from exc
