"""Server-sent events: what is new in a flight, told to everybody who looks, worked out once for all of them.

An event `cracks` has the reader's place in the record as its id; whoever comes back with it gets what came since, no
more and no less, also from an agent that was started again. `frame`, `state` and `flight` have none: the newest counts.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from agent.dashboard.cursor import Cursor
from agent.dashboard.flight import FlightView
from agent.dashboard.library import Library
from agent.dashboard.live import LivePicture
from agent.dashboard.status import SAMPLE_S, History, Status
from agent.errors import InputError

POLL_S: Final = 0.2
STATE_EVERY_S: Final = 1.0
HEARTBEAT_S: Final = 15.0  # proxies and radios drop what is silent
MOST_VIEWERS: Final = 100


def encode(value: Any) -> bytes:  # noqa: ANN401 - what JSON can hold
    """Return JSON in ASCII: half characters of undecodable file names stay what they are."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def event(name: str, value: Any, *, id_: str | None = None) -> bytes:  # noqa: ANN401 - what JSON can hold
    """Return one event."""
    head = f"event: {name}\n" if id_ is None else f"id: {id_}\nevent: {name}\n"
    return head.encode() + b"data: " + encode(value) + b"\n\n"


def counts(view: FlightView) -> dict[str, Any]:
    """Return what the page shows of a flight's frames."""
    last = view.frames.last
    return {
        "complete": view.header.complete,
        "frames": view.frames.inferred,
        "skipped": view.frames.skipped,
        "with_cracks": view.frames.with_cracks,
        "without_scale": view.frames.without_scale,
        "faults": view.faults,
        "last_frame": None if last is None else {"index": last.index, "name": last.name, "camera": last.camera},
    }


class Feed:
    """Looks for news while somebody is there to hear them.

    Args:
        library: of the records.
        status: of the agent.
        live: picture of the run that goes on; None where none can.
        history: to be sampled; None: nothing runs.
    """

    def __init__(
        self, library: Library, *, status: Status, live: LivePicture | None = None, history: History | None = None
    ) -> None:
        self._library = library
        self._status = status
        self._live = live
        self._history = history
        self._news = asyncio.Event()
        self._watched: dict[str, int] = {}  # flight -> viewers
        self._views: dict[str, FlightView] = {}
        self._told: dict[Cursor, tuple[bytes, Cursor]] = {}
        self._newest: dict[str, tuple[object, bytes]] = {}  # by event: which it is, and its bytes
        self._state_at = -float("inf")
        self.viewers = 0
        self.closing = False

    async def run(self) -> None:
        """Look for news until `close`; to be run as a task of the server's loop."""
        sampled_at = -float("inf")
        while not self.closing:
            if self._history is not None and time.monotonic() - sampled_at >= SAMPLE_S:
                sampled_at = time.monotonic()
                self._history.sample()
            if self.viewers and await self._look():
                self._wake()
            await asyncio.sleep(POLL_S)
        self._wake()

    def close(self) -> None:
        """End every stream, soon; from any thread."""
        self.closing = True

    async def stream(self, view: FlightView | None, since: Cursor | None) -> AsyncIterator[bytes]:
        """Yield events until the viewer leaves or the agent ends.

        Args:
            view: whose news; None: only how the agent does, and which flight is the newest.
            since: what the viewer has; None: nothing.
        """
        key = None if view is None else view.key
        self.viewers += 1
        if key is not None and view is not None:
            self._watched[key] = self._watched.get(key, 0) + 1
            self._views[key] = view
        told: dict[str, object] = {}
        try:
            yield b"retry: 1000\n\n"
            while not self.closing:
                news = self._news
                pieces = []
                if view is not None:
                    piece, since = self._changes(view, since)
                    pieces.append(piece)
                for name, (number, piece) in self._newest.items():
                    if told.get(name) != number:
                        told[name] = number
                        pieces.append(piece)
                if any(pieces):
                    yield b"".join(pieces)
                if not await _within(HEARTBEAT_S, news):
                    yield b": still here\n\n"
        finally:
            self.viewers -= 1
            if key is not None:
                self._watched[key] -= 1
                if not self._watched[key]:
                    del self._watched[key], self._views[key]

    def _changes(self, view: FlightView, since: Cursor | None) -> tuple[bytes, Cursor]:
        """Return the event for what a viewer lacks, empty if nothing, and what it has then."""
        now = view.cursor
        if since is None or since.flight != now.flight:
            since = Cursor(now.flight)
        if since == now:
            return b"", now
        known = self._told.get(since)
        if known is None or known[1] != now:
            changed, removed = view.cracks(since)
            content = {"cracks": changed, "removed": removed, **counts(view)}
            known = event("cracks", content, id_=str(now)), now
            self._told[since] = known
        return known

    async def _look(self) -> bool:
        changed = False
        for view in list(self._views.values()):
            before = view.cursor
            try:
                after = await asyncio.to_thread(view.refresh)
            except InputError:  # removed for want of room; what was read can still be looked at
                continue
            if after != before:
                self._told.clear()
                changed = True
        current = await asyncio.to_thread(self._library.current_key)
        changed |= self._renew("flight", current, {"key": current})
        if (picture := self._live.look(self.viewers) if self._live is not None else None) is not None:
            changed |= self._renew("frame", picture["number"], picture)
        if time.monotonic() - self._state_at >= STATE_EVERY_S:
            self._state_at = time.monotonic()
            changed |= self._renew("state", self._state_at, await asyncio.to_thread(self._status.now))
        return changed

    def _renew(self, name: str, which: object, value: object) -> bool:
        """Tell the newest of an event from now on, and return whether it is another."""
        another = name not in self._newest or self._newest[name][0] != which
        if another:
            self._newest[name] = which, event(name, value)
        return another

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


async def _within(seconds: float, happens: asyncio.Event) -> bool:
    try:
        await asyncio.wait_for(happens.wait(), seconds)
    except asyncio.TimeoutError:  # not the built-in one on Python 3.10
        return False
    return True
