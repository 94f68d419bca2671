"""What is answered at which address. Handlers that read files are plain functions: they run in threads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from agent.contract.flight import CrackRow, FrameRow
from agent.dashboard import pictures
from agent.dashboard.background import Background, as_json
from agent.dashboard.cursor import Cursor
from agent.dashboard.feed import MOST_VIEWERS, Feed, counts, encode
from agent.dashboard.flight import FlightView
from agent.dashboard.guard import COOKIE, Guard, GuardedApp, port_of
from agent.dashboard.library import Library
from agent.dashboard.live import LivePicture
from agent.dashboard.reviews import Keep, keep_in_record
from agent.dashboard.reviews import as_json as reviewed_as_json
from agent.dashboard.status import History, Status
from agent.deliver.commands import Review
from agent.errors import CrackscoutError, InputError

PAGE: Final = Path(__file__).parent / "page"
REFUSED_AFTER_S: Final = 0.5  # a wrong token is answered this much later
BODY_MAX: Final = 16_384  # bytes
COOKIE_S: Final = 30 * 86_400


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """What the page is made of.

    Args:
        library: of the records.
        status: of the agent.
        guard: says who may ask.
        live: picture of the run that goes on.
        history: of the last minutes.
        background: what lies under the map.
        keep: takes reviews.
    """

    library: Library
    status: Status
    guard: Guard
    live: LivePicture | None = None
    history: History | None = None
    background: Background | None = None
    keep: Keep = keep_in_record

    def application(self) -> tuple[ASGIApp, Feed]:
        """Return what answers, and its feed, which is to be closed first when it shall end."""
        feed = Feed(self.library, status=self.status, live=self.live, history=self.history)

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            task = asyncio.create_task(feed.run())
            yield
            feed.close()
            await task

        handlers = _Handlers(self, feed)
        flight = "/api/flights/{key:str}"
        application = Starlette(
            routes=[
                Route("/", handlers.page),
                Route("/login", handlers.login, methods=["GET", "POST"]),
                Route("/api/overview", handlers.overview),
                Route("/api/health", handlers.health),
                Route("/api/events", handlers.events),
                Route("/api/live.jpg", handlers.live_picture),
                Route(flight, handlers.flight),
                Route(f"{flight}/cracks", handlers.cracks),
                Route(f"{flight}/crack", handlers.crack),
                Route(f"{flight}/crack.jpg", handlers.crack_picture),
                Route(f"{flight}/frames", handlers.frames),
                Route(f"{flight}/frame.jpg", handlers.frame_picture),
                Route(f"{flight}/place", handlers.place),
                Route(f"{flight}/reviews", handlers.review, methods=["POST"]),
                Route("/background/{z:int}/{x:int}/{y:int}", handlers.tile),
                Mount("/static", StaticFiles(directory=PAGE)),
            ],
            exception_handlers={HTTPException: _told, CrackscoutError: _told, 500: _told},
            lifespan=lifespan,
        )
        return GuardedApp(application, self.guard), feed


async def _told(_: Request, exc: Exception) -> Response:
    """Answer an error in words; of one that nobody expected only that there was one."""
    if isinstance(exc, HTTPException):
        return _json({"error": exc.detail}, exc.status_code)
    if isinstance(exc, CrackscoutError):
        return _json({"error": str(exc)}, 409 if isinstance(exc, InputError) else 500)
    return _json({"error": f"{type(exc).__name__}; see the agent's log"}, 500)


def _json(value: Any, status: int = 200) -> Response:  # noqa: ANN401 - what JSON can hold
    return Response(encode(value), status, media_type="application/json")


@dataclass(frozen=True)
class _Handlers:
    made_of: Dashboard
    feed: Feed

    def page(self, _: Request) -> Response:
        return FileResponse(PAGE / "index.html", media_type="text/html")

    async def login(self, request: Request) -> Response:
        guard = self.made_of.guard
        if guard.token is None:
            return RedirectResponse("/", 303)
        if request.method == "POST":
            form = (await _body(request, 4096)).decode("utf-8", "replace").strip()
            token = form
        else:
            token = request.query_params.get("token", "")
            if not token:
                return FileResponse(PAGE / "login.html", media_type="text/html")
        if not guard.accepts(token):
            await asyncio.sleep(REFUSED_AFTER_S)
            if request.method == "POST":
                return _json({"error": "this is not the token"}, 401)
            return FileResponse(PAGE / "login.html", 401, media_type="text/html")
        answer = _json({}) if request.method == "POST" else RedirectResponse("/", 303)
        answer.set_cookie(
            f"{COOKIE}_{port_of(request.scope)}", guard.cookie(), max_age=COOKIE_S, path="/", httponly=True,
            samesite="strict", secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    def overview(self, _: Request) -> Response:
        library = self.made_of.library
        return _json(
            {
                "flights": library.flights(),
                "current": library.current_key(),
                "status": self.made_of.status.now(),
                "live": self.made_of.live is not None,
                "background": as_json(self.made_of.background),
            }
        )

    def health(self, _: Request) -> Response:
        history = self.made_of.history
        return _json({"now": self.made_of.status.now(), "history": [] if history is None else history.samples()})

    async def events(self, request: Request) -> Response:
        if self.feed.viewers >= MOST_VIEWERS:
            raise HTTPException(503, f"{MOST_VIEWERS} pages look already; close one")
        key = request.query_params.get("flight")
        view = None if key is None else await run_in_threadpool(self._read, key)
        since = Cursor.parse(request.headers.get("last-event-id") or request.query_params.get("after"))
        stream = self.feed.stream(view, since)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    async def live_picture(self, _: Request) -> Response:
        live = self.made_of.live
        found = None
        if live is not None:  # the first who asks has it drawn, in a thread; for the others it is there
            found = live.ready() or await run_in_threadpool(live.content)
        if found is None:
            raise HTTPException(404, "no picture yet")
        return Response(found[1], media_type="image/jpeg", headers={"x-number": str(found[0])})

    def flight(self, request: Request) -> Response:
        view = self._view(request)
        header = view.header
        coverage = view.coverage()
        return _json(
            {
                "key": view.key,
                "cursor": str(view.cursor),
                "header": header.model_dump(mode="json", by_alias=True, exclude={"settings"}),
                **counts(view),
                "reasons": dict(view.frames.reasons),
                "coverage": None
                if coverage is None
                else {k: v for k, v in coverage.items() if k not in {"areas", "widths"}},
                "reviewed": len(view.reviews),
            }
        )

    def cracks(self, request: Request) -> Response:
        view = self._view(request)
        cursor = view.cursor  # before the rows: what changes meanwhile comes twice, and never not at all
        rows, _ = view.cracks()
        return _json({"cursor": str(cursor), "cracks": rows, **counts(view)})

    def crack(self, request: Request) -> Response:
        view, frame, row = self._crack(request)
        crack_id = row.crack_id
        return _json(
            {
                "crack": view.listed(crack_id),
                "frame": frame.model_dump(mode="json"),
                "sighting": row.model_dump(mode="json", exclude={"branches", "mask"}),
                "profile": [branch.width_px for branch in row.branches],
                "picture": pictures.described(view, frame, row),
                "frames": view.sightings(crack_id),
                "events": [event.model_dump(mode="json") for event in view.events(crack_id)],
                "review": reviewed_as_json(view.review_of(crack_id)),
                "reviews": [
                    one.model_dump(mode="json") for one in view.reviews if crack_id in {one.crack_id, one.merge_into}
                ],
            }
        )

    def crack_picture(self, request: Request) -> Response:
        view, frame, row = self._crack(request)
        return _picture(pictures.crack_picture(view, frame, row))

    def frames(self, request: Request) -> Response:
        return _json({"frames": self._view(request).frames.pictured()})

    def frame_picture(self, request: Request) -> Response:
        view = self._view(request)
        marked = request.query_params.get("plain") is None
        return _picture(pictures.frame_picture(view, _frame(view, _whole(request, "index")), marked=marked))

    def place(self, request: Request) -> Response:
        return _json(self._view(request).place())

    async def review(self, request: Request) -> Response:
        body = await _body(request, BODY_MAX)
        return await run_in_threadpool(self._review, request, body)

    def tile(self, request: Request) -> Response:
        background, at = self.made_of.background, request.path_params
        found = None if background is None else background.picture(at["z"], at["x"], at["y"])
        if found is None:
            raise HTTPException(404, "no tile here")
        return Response(found[0], media_type=found[1], headers={"cache-control": "private, max-age=3600"})

    def _review(self, request: Request, body: bytes) -> Response:
        view = self._view(request)
        try:
            said = Review.model_validate(json.loads(body))
            if not view.knows(said.crack_id):
                raise HTTPException(422, f"there is no crack {said.crack_id} in this flight")
            self.made_of.keep(view.folder, said)
        except ValidationError as exc:
            fault = exc.errors()[0]
            raise HTTPException(422, f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from exc
        except (ValueError, RecursionError, InputError) as exc:
            raise HTTPException(422, str(exc)[:300]) from exc
        view.refresh()
        row = next(row for row in reversed(view.reviews) if row.crack_id == said.crack_id)
        return _json({"review": row.model_dump(mode="json"), "crack": view.listed(said.crack_id)})

    def _view(self, request: Request) -> FlightView:
        return self._read(request.path_params["key"])

    def _read(self, key: str) -> FlightView:
        try:
            view = self.made_of.library.view(key)
        except KeyError as exc:
            raise HTTPException(404, "there is no such flight (any more)") from exc
        view.refresh()
        return view

    def _crack(self, request: Request) -> tuple[FlightView, FrameRow, CrackRow]:
        """Return a crack's best sighting, or that of the frame that is asked for."""
        view, crack_id = self._view(request), request.query_params.get("id", "")
        try:
            _, row = view.crack(crack_id)
        except KeyError as exc:
            raise HTTPException(404, "there is no such crack (any more)") from exc
        if request.query_params.get("frame") is not None:
            found = view.sighting(crack_id, _whole(request, "frame"))
            if found is None:
                raise HTTPException(404, "that frame does not show the crack")
            row = found
        return view, _frame(view, row.frame), row


def _picture(content: bytes | None) -> Response:
    if content is None:
        raise HTTPException(404, "this picture was not kept; see record.frames")
    return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=60"})


def _frame(view: FlightView, index: int) -> FrameRow:
    try:
        return view.frame(index)
    except KeyError as exc:
        raise HTTPException(404, "there is no such frame") from exc


def _whole(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise HTTPException(422, f"{name}: a whole number is needed")
    return int(text)


async def _body(request: Request, most: int) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise HTTPException(413, f"at most {most} bytes")
    return body
