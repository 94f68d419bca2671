"""Keeps one camera alive: opens it, watches it, brings it back, and holds its newest picture ready."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from agent.capture.camera import Camera, Damaged, Picture
from agent.capture.settings import CaptureSettings
from agent.capture.status import CameraState, CameraStatus, counted
from agent.contract.arrays import UInt8
from agent.errors import CameraError, CameraSilentError, CrackscoutError

STEP: Final = 8  # two pictures are the same if each eighth pixel of each eighth row is
RATE_OVER: Final = 30  # pictures that the rate is told from
HUNG_AFTER_S: Final = 5.0  # beyond the time that the camera itself was given
LEFT_MOST: Final = 3  # threads that wait for a driver that does not come back, of one camera

logger = logging.getLogger(__name__)


class FrozenError(CameraError):
    """The camera repeats one picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A picture and when it came."""

    picture: Picture
    mono_ns: int  # monotonic clock
    utc_ms: int  # this computer's clock
    dropped_before: int = 0  # pictures dropped since the one that was taken before


class Feed(Protocol):
    """A camera as the scheduler sees it."""

    name: str

    @property
    def ready(self) -> bool:
        """Whether `take` would give something at once."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        ...

    @property
    def stuck(self) -> bool:
        """Whether a driver that does not come back keeps the camera, for so long that a new process is needed."""
        ...

    def look_after(self) -> None:
        """Leave a driver behind that does not come back; to be called from time to time."""
        ...

    def status(self) -> CameraStatus:
        """How it goes at this moment."""
        ...

    def newest(self) -> UInt8 | None:
        """The latest picture, RGB, whether or not it was taken."""
        ...

    def start(self) -> None:
        """Begin to watch."""
        ...

    def close(self) -> None:
        """Let go of the camera; a second call does nothing."""
        ...


class LiveFeed:
    """A live camera, watched by a thread of its own.

    Newest picture first: one that is not taken before the next arrives is dropped, and counted. A camera that cannot be
    opened, falls silent, repeats one picture or fails is closed and opened again, with pauses that double. A driver
    that does not come back is left behind with its thread, `LEFT_MOST` at once at most, and the camera opened anew.

    Args:
        name: the camera's.
        kind: for the status.
        camera: used by this feed alone.
        settings: how patient to be.
        news: notified at each picture and change; shared by all feeds.
        renew: makes another object for the same camera, which shares nothing with the one that hangs; None: it is
            waited for.
    """

    def __init__(
        self,
        name: str,
        *,
        kind: str,
        camera: Camera,
        settings: CaptureSettings,
        news: threading.Condition,
        renew: Callable[[], Camera] | None = None,
    ) -> None:
        self.name = name
        self._camera = camera
        self._settings = settings
        self._news = news
        self._renew = renew
        self._status = CameraStatus(name=name, kind=kind)
        self._slot: Arrived | None = None
        self._newest: Picture | None = None
        self._told_dropped = 0
        self._times: deque[float] = deque(maxlen=RATE_OVER)
        self._moved = time.monotonic()  # when the thread last came round, or will after its pause
        self._stop = threading.Event()
        self._thread = self._new_thread()
        self._left: list[threading.Thread] = []  # with drivers that do not come back
        self._hung_since: float | None = None  # without a picture from then on

    @property
    def ready(self) -> bool:
        """See `Feed.ready`."""
        return self._slot is not None

    @property
    def ended(self) -> bool:
        """See `Feed.ended`."""
        return self._status.state == "ended" and self._slot is None

    @property
    def stuck(self) -> bool:
        """See `Feed.stuck`: the camera was opened anew at least once, and the next long pause is over too."""
        since = self._hung_since
        waits = any(thread.is_alive() for thread in self._left)
        return waits and since is not None and time.monotonic() - since > self._patience_s + self._settings.retry_max_s

    def look_after(self) -> None:
        """See `Feed.look_after`."""
        with self._news:
            self._left = [thread for thread in self._left if thread.is_alive()]
            if self._renew is None or not self._hangs() or len(self._left) >= LEFT_MOST:
                return
            self._hung_since = self._hung_since or time.monotonic()
            self._left.append(self._thread)
            self._camera, self._thread, self._moved = self._renew(), self._new_thread(), time.monotonic()
            self._status = counted(self._status, hangs=1, losses=int(self._status.state == "live"))
            self._times.clear()
        self._tell("lost", "the driver does not come back: the camera is opened anew")
        logger.error(
            "camera %s: the driver does not come back; it is left behind, and the camera opened anew", self.name
        )
        self._thread.start()

    def take(self) -> Arrived | None:
        """Return the newest picture, once; None if there is no new one."""
        with self._news:
            arrived, self._slot = self._slot, None
            if arrived is None:
                return None
            self._status = counted(self._status, taken=1)
            dropped, self._told_dropped = self._status.dropped - self._told_dropped, self._status.dropped
        return replace(arrived, dropped_before=dropped)

    def count(self, **by: int) -> None:
        """Raise counts of the status."""
        with self._news:
            self._status = counted(self._status, **by)

    def status(self) -> CameraStatus:
        """See `Feed.status`."""
        now = time.monotonic()
        with self._news:
            status, times = self._status, list(self._times)
        if not times:
            age, fps = None, None
        else:
            age = now - times[-1]
            # a camera that falls silent slows down in the figures too
            fps = round((len(times) - 1) / (max(now - age, times[-1]) - times[0]), 2) if times[-1] > times[0] else None
        hung = self._hangs()
        return replace(
            status,
            state="hung" if hung else status.state,
            problem="the driver does not come back; restart the agent" if hung else status.problem,
            fps=fps if status.state == "live" else None,
            age_s=None if age is None else round(age, 3),
        )

    def newest(self) -> UInt8 | None:
        """See `Feed.newest`."""
        newest = self._newest
        return None if newest is None else newest.image_rgb

    def start(self) -> None:
        """See `Feed.start`."""
        self._thread.start()

    def close(self) -> None:
        """See `Feed.close`. A driver that does not come back is left to the end of the process."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._settings.stall_s + 1)

    @property
    def _patience_s(self) -> float:
        """How long a call of the driver may take before it is not believed in any more."""
        return max(self._settings.first_frame_s, self._settings.stall_s) + HUNG_AFTER_S

    def _hangs(self) -> bool:
        waits = self._status.state != "ended" and self._thread.is_alive()
        return waits and time.monotonic() - self._moved > self._patience_s

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._watch, name=f"camera-{self.name}", daemon=True)

    def _watch(self) -> None:
        camera = self._camera  # ours, also when we were left behind
        pause_s = self._settings.retry_s
        while not self._stop.is_set() and self._camera is camera:
            opened = self._moved = time.monotonic()
            try:
                camera.open()
                self._read(camera)
                if self._camera is camera:
                    self._tell("ended", None)
                    self._stop.set()
            except CrackscoutError as exc:
                self._lost(camera, exc)
            except Exception as exc:  # a fault in a driver's library must not leave a robot blind for good
                logger.exception("camera %s", self.name)
                self._lost(camera, CameraError(f"{type(exc).__name__}: {exc}"))
            finally:
                camera.close()
            if self._camera is not camera:
                break
            if time.monotonic() - opened > self._settings.first_frame_s + self._settings.stall_s:
                pause_s = self._settings.retry_s  # it was well for a while
            self._moved = time.monotonic() + pause_s
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, self._settings.retry_max_s)

    def _read(self, camera: Camera) -> None:
        """Read until the stop, the natural end, or somebody else is to read.

        Raises:
            CameraError: the camera is lost.
        """
        fresh_since = time.monotonic()  # a picture came that was whole and not the last one again
        whole_since = fresh_since
        patience_s = self._settings.first_frame_s
        last: bytes | None = None
        while not self._stop.is_set():
            picture = camera.read()
            if picture is None or self._camera is not camera:
                return
            now = self._moved = time.monotonic()
            if isinstance(picture, Damaged):
                self.count(arrived=1, damaged=1)
                if now - whole_since > patience_s:
                    raise CameraSilentError(f"no whole picture for {patience_s:g} s: {picture.reason}")
                continue
            whole_since, patience_s = now, self._settings.stall_s
            print_ = picture.image_rgb[::STEP, ::STEP].tobytes()
            if print_ == last:
                self.count(arrived=1, repeated=1)
                if self._settings.frozen_s is not None and now - fresh_since > self._settings.frozen_s:
                    raise FrozenError(f"repeats the same picture for {self._settings.frozen_s:g} s")
                continue
            last, fresh_since = print_, now
            self._put(picture, now)

    def _put(self, picture: Picture, now: float) -> None:
        height, width = picture.image_rgb.shape[:2]
        arrived = Arrived(picture=picture, mono_ns=time.monotonic_ns(), utc_ms=time.time_ns() // 1_000_000)
        with self._news:
            before = self._status
            by = {"arrived": 1, "dropped": int(self._slot is not None)}
            if before.losses > before.reopened:
                by["reopened"] = 1
            if before.width and (before.width, before.height) != (width, height):
                by["format_changes"] = 1
            self._status = replace(counted(before, **by), state="live", problem=None, width=width, height=height)
            self._slot, self._newest, self._hung_since = arrived, picture, None
            self._times.append(now)
            self._news.notify_all()
        if before.state != "live":
            logger.info("camera %s: live, %d x %d px", self.name, width, height)
        elif "format_changes" in by:
            logger.warning(
                "camera %s: pictures are now %d x %d px, were %d x %d",
                self.name,
                width,
                height,
                before.width,
                before.height,
            )

    def _lost(self, camera: Camera, exc: CrackscoutError) -> None:
        if self._camera is not camera:
            return
        known = self._status.problem == str(exc)
        was_live = self._status.state == "live"
        self._moved = time.monotonic()
        self.count(
            losses=int(was_live),
            failed=int(not was_live),
            stalls=int(isinstance(exc, CameraSilentError)),
            freezes=int(isinstance(exc, FrozenError)),
        )
        with self._news:
            self._times.clear()
        self._tell("lost", str(exc))
        if not known:  # once, and not at every attempt of a night
            logger.warning(
                "camera %s: %s; trying again", self.name, str(exc)
            )  # a log that keeps it must not keep frames

    def _tell(self, state: CameraState, problem: str | None) -> None:
        changes: dict[str, Any] = {"state": state, "problem": problem}
        with self._news:
            self._status = replace(self._status, **changes)
            self._news.notify_all()
