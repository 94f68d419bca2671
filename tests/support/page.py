"""The agent's page, served for real; and a reader of it that is no browser."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.contract.flight import CrackRow, TrackRow
from agent.contract.ids import report_id
from agent.contract.reports import CrackEvent
from agent.dashboard.app import Dashboard
from agent.dashboard.guard import Guard
from agent.dashboard.library import Library
from agent.dashboard.server import Server
from agent.dashboard.status import Recorded
from tests.support.service import wait_until

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of tests


@dataclass
class Answer:
    """Of the page."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reader:
    """Asks as a browser at this address would."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """Ask; `host_` and the like become headers without the underscore. An empty one is left out."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            given = {name.rstrip("_").replace("_", "-"): value for name, value in headers.items()}
            if method == "POST":
                given = {"origin": f"http://127.0.0.1:{self.port}", "content-type": "application/json", **given}
            wanted = {name: value for name, value in {**self.headers, **given}.items() if value}
            connection.request(method, path, body, wanted)
            answer = connection.getresponse()
            headers_ = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers_, answer.read())

    @property
    def key(self) -> str:
        """Of the newest flight."""
        return str(self.ask("/api/overview").json["current"])

    def at(self, rest: str) -> str:
        return f"/api/flights/{self.key}{rest}"

    def cracks(self) -> dict[str, dict[str, Any]]:
        return {crack["crack_id"]: crack for crack in self.ask(self.at("/cracks")).json["cracks"]}

    def review(self, **said: Any) -> Answer:
        return self.ask(self.at("/reviews"), method="POST", body=json.dumps(said).encode())


class Stream:
    """Server-sent events as they come, read in a thread of their own."""

    def __init__(self, reader: Reader, path: str, *, last_event_id: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", reader.port, timeout=60)
        self._connection.request(
            "GET", path, headers={**reader.headers, **({"last-event-id": last_event_id} if last_event_id else {})}
        )
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self.events: list[tuple[str, str | None, Any]] = []  # name, id, data
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        name, id_, data = "", None, ""
        try:
            for raw in self._answer:
                line = raw.decode().rstrip("\n")
                key, _, value = line.partition(": ")
                if key == "event":
                    name = value
                elif key == "id":
                    id_ = value
                elif key == "data":
                    data = value
                elif not line and data:
                    self.events.append((name, id_, json.loads(data)))
                    name, id_, data = "", None, ""
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return  # the agent or the reader ended

    def told(self, name: str) -> list[tuple[str | None, Any]]:
        return [(id_, data) for kind, id_, data in list(self.events) if kind == name]

    def wait_for(self, true: Callable[[], bool]) -> None:
        wait_until(true, lambda: f"got {self.events[:20]}")

    @property
    def last_id(self) -> str:
        return [id_ for _, id_, _ in list(self.events) if id_ is not None][-1] or ""

    def close(self) -> None:
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._thread.join(10)


@contextmanager
def page_on(
    record: Path, *, port: int = 0, token: str | None = None, host: str = "127.0.0.1", **made_of: Any
) -> Iterator[Reader]:
    """Serve the page on a record for the length of the block."""
    library = made_of.pop("library", None) or Library(record, single=True)
    status = made_of.pop("status", None) or Recorded("0.0.0")
    guard = Guard(host, made_of.pop("names", ()), token)
    server = Server(Dashboard(library=library, status=status, guard=guard, **made_of), "127.0.0.1", port)
    with closing(server):
        yield Reader(server.port)


def track(crack: CrackRow, event: CrackEvent, *, revision: int = 0, **changed: Any) -> TrackRow:
    """Return what happened to a crack that this sighting shows best."""
    return TrackRow(
        id=report_id("mission-1", crack.camera, crack.frame, crack.crack_id, revision),
        crack_id=crack.crack_id,
        event=event,
        revision=revision,
        camera=crack.camera,
        frame=crack.frame,
        kind=crack.kind,
        sightings=revision + 1,
        in_view=revision + 1,
        first_frame=crack.frame,
        last_frame=crack.frame,
        best_id=crack.id,
        best_frame=crack.frame,
        length_px=crack.length_px,
        length_mm=crack.length_mm,
    ).model_copy(update=changed)
