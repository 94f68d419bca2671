"""What finds the cracks of a run: chosen at its start, and exchanged between two frames when something better is ready.

A live run that asks for TensorRT begins on ONNX Runtime where no engine fits, and says `degraded`, while an engine is
built by a process of its own. A frame is inferred by one runtime from its first tile to its last. A replay waits for
the build instead and never exchanges: all of its frames are to be comparable.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from agent.contract.arrays import Bool, UInt8
from agent.detect import Detection
from agent.errors import CrackscoutError, InferenceError

JOIN_S: Final = 30.0  # how long the end of a run waits for a build that was told to stop

logger = logging.getLogger(__name__)


class Detects(Protocol):
    """Frame -> probability map; see `agent.detect.Detector`."""

    def detect(self, image_rgb: UInt8, *, ignored: Bool | None = None) -> Detection:
        """Return the crack probability of every pixel."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A detector and what it runs on."""

    detector: Detects
    runtime: str
    variant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Better:
    """What is to take over, and is not ready yet."""

    reason: str  # why not
    prepare: Callable[[], Serving]  # takes minutes; raises a CrackscoutError if it will never be
    stop: Callable[[], None]  # ends `prepare` early, from another thread


class Inference:
    """Detects with what serves now.

    Args:
        first: serves from the start, and again if what took over from it fails.
        ahead: has taken over from it before the first frame.
        degraded: why `first` is not what the settings ask for; None where it is.
        better: takes over once it is ready.
    """

    def __init__(
        self,
        first: Serving,
        *,
        ahead: Serving | None = None,
        degraded: str | None = None,
        better: Better | None = None,
    ) -> None:
        self._first = first
        self._serving = ahead or first
        self._degraded = better.reason if better else degraded
        self._better = better
        self._ready: Serving | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._thread: threading.Thread | None = None  # from the first frame on: a run may be prepared and never begin

    @property
    def runtime(self) -> str:
        """Of the newest frame; see `Backend.runtime`."""
        return self._serving.runtime

    @property
    def variant(self) -> str:
        """Of the newest frame; see `Backend.variant`."""
        return self._serving.variant

    @property
    def degraded(self) -> str | None:
        """Why the run is not on what its settings ask for; None where it is."""
        return self._degraded

    def detect(self, image_rgb: UInt8, *, ignored: Bool | None = None) -> Detection:
        """See `Detector.detect`. One runtime infers the whole frame.

        Raises:
            InferenceError: see there. A frame on which the better runtime fails is inferred by the first one.
        """
        self._begin()
        self._exchange()
        if self._serving is self._first:
            return self._first.detector.detect(image_rgb, ignored=ignored)
        try:
            return self._serving.detector.detect(image_rgb, ignored=ignored)
        except InferenceError as exc:
            found = self._first.detector.detect(image_rgb, ignored=ignored)  # fails too if the frame is at fault
            failed, self._serving = self._serving, self._first
            self._degraded = f"{failed.runtime} failed in mid-run: {exc}"
            logger.warning("degraded to %s: %s", self.runtime, self._degraded)
            _closed(failed)
            return found

    def close(self) -> None:
        """End the preparation, if a frame began it, and give everything back; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._better and self._thread:
            self._better.stop()
            self._thread.join(JOIN_S)
        self._exchange()
        for serving in {id(each): each for each in (self._serving, self._first)}.values():
            _closed(serving)

    def _begin(self) -> None:
        if self._better and self._thread is None:
            self._thread = threading.Thread(target=self._prepare, name="better-runtime", daemon=True)
            self._thread.start()

    def _prepare(self) -> None:
        better = self._better
        if better is None:
            return
        try:
            ready = better.prepare()
        except CrackscoutError as exc:
            if not self._closed:
                self._degraded = str(exc)
                logger.warning("degraded to %s for the rest of the run: %s", self.runtime, exc)
        except Exception as exc:
            self._degraded = f"{type(exc).__name__}: {exc}"
            logger.exception("degraded to %s for the rest of the run", self.runtime)
        else:
            with self._lock:
                self._ready = ready

    def _exchange(self) -> None:
        with self._lock:
            ready, self._ready = self._ready, None
        if ready is None:
            return
        logger.info("from now on %s, %s, instead of %s", ready.runtime, ready.variant, self.runtime)
        self._serving = ready
        self._degraded = None


def _closed(serving: Serving) -> None:
    try:
        serving.detector.close()
    except CrackscoutError as exc:  # a GPU that failed may refuse to give back too
        logger.warning("%s did not close: %s", serving.runtime, exc)
