"""A camera by script, for what real ones do on bad days, and patient waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from agent.capture.camera import Damaged, Picture
from agent.contract.arrays import UInt8
from agent.errors import CameraError


class ScriptedCamera:
    """Does one step per read, and a script per connection; after the last script it cannot be opened any more.

    Args:
        scripts: a step is a picture, its damage, None (the end), a fault to raise, or a function to call first.
    """

    def __init__(self, *scripts: Iterable[object]) -> None:
        self._scripts = iter(scripts)
        self._steps: Iterator[object] = iter(())
        self.opened = 0
        self.closed = 0

    def open(self) -> None:
        script = next(self._scripts, None)
        if script is None:
            raise CameraError("gone for good")
        self.opened += 1
        self._steps = iter(script)

    def read(self) -> Picture | Damaged | None:
        step = next(self._steps, CameraError("unplugged"))
        if callable(step):
            step = step()
        if isinstance(step, Exception):
            raise step
        if isinstance(step, np.ndarray):
            return Picture(image_rgb=step)
        assert step is None or isinstance(step, (Picture, Damaged))
        return step

    def close(self) -> None:
        self.closed += 1


def noise(seed: int, *, height: int = 48, width: int = 64) -> UInt8:
    """A grainy picture; each seed another."""
    return np.random.default_rng(seed).integers(60, 200, (height, width, 3)).astype(np.uint8)


def wait_until(
    condition: Callable[[], object], *, told: Callable[[], object] = lambda: "", seconds: float = 60
) -> None:
    """Wait for a condition, generously: the machine may be busy."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds:g} s in vain; {told()}"
        time.sleep(0.01)
