"""A rendered flight as a live camera, each frame when its time has come, or as a source drawn while it is read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError

from agent.capture.camera import Damaged, Picture
from agent.contract.flight import SourceRef
from agent.contract.frame import Frame
from agent.errors import CameraError, ConfigError
from agent.simulate.flight import RenderedFrame, render_flight
from agent.simulate.inspection.flight import InspectionFlight
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


class RenderedSource:
    """A rendered inspection whose frames are drawn while they are read: the first is there at once.

    Args:
        flight: the inspection.
        keep: is given each frame with its truth before it is passed on.
    """

    def __init__(self, flight: InspectionFlight, keep: Callable[[RenderedFrame], None] = lambda _: None) -> None:
        self._flight = flight
        self._keep = keep

    @property
    def ref(self) -> SourceRef:
        """See `Source.ref`; the settings say all that is in the pictures."""
        settings = self._flight.settings
        seal = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()
        return SourceRef(name=f"{settings.kind}-{settings.seed}", fingerprint=seal)

    @property
    def names(self) -> list[str]:
        """See `Source.names`."""
        return [f"{index:06d}" for index in range(len(self._flight))]

    @property
    def length(self) -> int | None:
        """See `Source.length`."""
        return len(self._flight)

    def frames(self, start: int) -> Iterator[Frame]:
        """See `Source.frames`."""
        for rendered in self._flight:
            self._keep(rendered)
            yield replace(rendered.frame, index=start + rendered.frame.index)


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
