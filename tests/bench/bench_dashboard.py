"""What the page costs: an interaction with many cracks against one with few, and viewers against none.

CPU seconds of the browser's page and of the agent's process, so that a busy machine changes little. Interactions run
in Debian's Chromium; where there is none, their ratio is null.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from agent.contract.frame import Frame
from agent.dashboard.app import Dashboard
from agent.dashboard.guard import Guard
from agent.dashboard.library import Library
from agent.dashboard.live import LivePicture
from agent.dashboard.server import Server
from agent.dashboard.status import Recorded
from agent.pipeline import Sighting
from agent.record import FlightRecorder
from tests.support.flights import frame, header, rows
from tests.support.inspected import step, write_inspection
from tests.support.page import Reader

CHROMIUM = Path("/usr/bin/chromium")
FEW, MANY = 50, 5000  # cracks
INTERACTION_MOST = 2.0  # times
VIEWERS = 20
VIEWERS_MOST = 0.05  # of a core
FPS = 10
SECONDS = 12.0
ROUNDS = 12
READERS = """
import selectors, socket, sys
port, key, count, pictures = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "pictures"
poll = selectors.DefaultSelector()
def call():
    return socket.create_connection(("127.0.0.1", port))
def ask(wire, path):
    wire.sendall(f"GET {path} HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n".encode())
class Picture:  # as a page's <img>: the newest is fetched once the one before is there
    def __init__(self):
        self.wire, self.head, self.left, self.busy, self.wanted = call(), b"", 0, False, False
    def want(self):
        self.wanted = True
        self.next()
    def next(self):
        if self.wanted and not self.busy:
            self.wanted, self.busy, self.head, self.left = False, True, b"", None
            ask(self.wire, "/api/live.jpg")
    def read(self):
        data = self.wire.recv(1 << 20)
        if self.left is None:
            self.head += data
            if b"\\r\\n\\r\\n" not in self.head:
                return
            head, _, data = self.head.partition(b"\\r\\n\\r\\n")
            self.left = int(head.lower().split(b"content-length:")[1].split(b"\\r\\n")[0])
        self.left -= len(data)
        if self.left <= 0:
            global fetched
            fetched, self.busy = fetched + 1, False
            self.next()
fetched = 0
def events(wire, picture):
    data = wire.recv(1 << 20)
    if not data:
        poll.unregister(wire)
    elif picture is not None and b"event: frame" in data:
        picture.want()
for _ in range(count):
    wire, picture = call(), Picture() if pictures else None
    ask(wire, f"/api/events?flight={key}")
    assert b"200" in wire.recv(65536)
    poll.register(wire, selectors.EVENT_READ, lambda w=wire, p=picture: events(w, p))
    if picture is not None:
        poll.register(picture.wire, selectors.EVENT_READ, picture.read)
poll.register(sys.stdin, selectors.EVENT_READ, lambda: (print(fetched, flush=True), sys.exit()))
print("listening", flush=True)
while True:
    for found, _ in poll.select(1):
        found.data()
"""


def main() -> None:
    """Print both figures beside their targets; with --json as one object."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {**interactions(folder), **viewers(folder)}
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    ratio, share = figures["interaction_ratio"], figures["viewers_share_of_a_core"]
    told = "no chromium" if ratio is None else f"{ratio:.2f} times ({figures['interaction_ms']})"
    sys.stdout.write(
        f"an interaction with {MANY} cracks against {FEW}: {told}; target <= {INTERACTION_MOST}\n"
        f"{VIEWERS} viewers at {FPS} frames/s: {share:.1%} of a core beyond {figures['encoded']} encoded pictures "
        f"(one viewer {figures['one_viewer_share_of_a_core']:.1%}); target < {VIEWERS_MOST:.0%}\n"
        f"{VIEWERS} viewers with the live picture open: {figures['watchers_share_of_a_core']:.1%} of a core beyond "
        f"{figures['watched_encoded']} encoded pictures ({figures['watched_encode_share']:.1%}), "
        f"{figures['watched_fetched']} fetched; target < {VIEWERS_MOST:.0%}\n"
    )


def interactions(folder: Path) -> dict[str, Any]:
    """Return what sorting, filtering, selecting and the like cost the page, ms of its main thread, and their ratio."""
    if not CHROMIUM.exists():
        return {"interaction_ratio": None, "interaction_ms": None}
    from playwright.sync_api import sync_playwright

    costs = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for cracks in (FEW, MANY):
            record = _flight(folder / str(cracks), cracks)
            with closing(_serve(record)) as server:
                page = browser.new_page()
                page.goto(f"http://127.0.0.1:{server.port}/#cracks")
                page.get_by_label("Kind").select_option("")
                page.wait_for_selector(f"#shown:text-is('{cracks:,} finds')", timeout=120_000)
                probe = page.context.new_cdp_session(page)
                probe.send("Performance.enable")
                costs[cracks] = _by_action(page, probe)
                page.close()
        browser.close()
    ratios = {name: costs[MANY][name] / costs[FEW][name] for name in costs[FEW]}
    return {
        "interaction_ratio": sum(costs[MANY].values()) / sum(costs[FEW].values()),
        "interaction_ratios": ratios,
        "interaction_ms": costs,
    }


def _by_action(page: Any, probe: Any) -> dict[str, float]:
    """Return the median ms of the main thread of each kind of interaction."""
    actions: dict[str, Callable[[int], Any]] = {
        "sort": lambda turn: page.locator(f".c-{('width', 'length')[turn % 2]} button").click(),
        "filter": lambda _: page.locator(".chip").first.click(),
        "search": lambda turn: page.get_by_role("searchbox").fill("photo1" if turn % 2 else ""),
        "scroll": lambda turn: page.locator(".table").evaluate("(it, y) => { it.scrollTop = y; }", 300 + 44 * turn),
        "select": lambda _: page.locator(".table").press("ArrowDown"),
        "open": lambda turn: page.locator(".table").press(("Escape", "Enter")[turn % 2]),
    }
    costs = {}
    for name, act in actions.items():
        spent = []
        for turn in range(ROUNDS):
            before = _busy_s(probe)
            act(turn)
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            spent.append(1000 * (_busy_s(probe) - before))
        costs[name] = round(statistics.median(spent), 2)
        page.get_by_role("searchbox").fill("")
    return costs


def _busy_s(probe: Any) -> float:
    """Return the seconds that the page's main thread has worked."""
    metrics = {one["name"]: one["value"] for one in probe.send("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"])


def viewers(folder: Path) -> dict[str, Any]:
    """Return what viewers of a run at 10 frames a second cost the agent, as shares of a core.

    First those that hear of cracks and figures, with a picture of next to nothing; then those that also have the live
    picture open, of a frame of 1280 px, beside the same run unseen. What drawing and encoding it costs stands apart.
    """
    small, large = frame(0, width=64, height=48), frame(0, width=1280, height=960)
    large = replace(large, image_rgb=np.asarray(cv2.GaussianBlur(large.image_rgb, (0, 0), 0.8), np.uint8))  # as cameras
    shares = {count: _share(folder / f"viewed-{count}", count, small) for count in (0, 1, VIEWERS)}
    base = shares[0].share
    unseen = _share(folder / "unwatched", 0, large)
    watched = _share(folder / "watched", VIEWERS, large, pictures=True)
    encode = watched.encoded * _encode_s(large) / watched.seconds
    return {
        "viewers_share_of_a_core": shares[VIEWERS].share - base,
        "one_viewer_share_of_a_core": shares[1].share - base,
        "encoded": shares[VIEWERS].encoded,
        "watchers_share_of_a_core": watched.share - unseen.share - encode,
        "watched_encode_share": encode,
        "watched_encoded": watched.encoded,
        "watched_fetched": watched.fetched,
    }


class Cost(NamedTuple):
    """Of a run beside so many streams."""

    share: float  # of a core
    seconds: float
    encoded: int
    fetched: int  # pictures, by all viewers together


def _share(folder: Path, count: int, picture: Frame, *, pictures: bool = False) -> Cost:
    live = LivePicture()
    prepared = [step(index) for index in range(int(SECONDS * FPS))]
    with FlightRecorder.open(folder, header()) as recorder:
        recorder.add(*rows(0))
        with closing(_serve(folder, live)) as server:
            readers = _listen(server.port, count, pictures=pictures)
            begin, wall = time.process_time(), time.monotonic()
            for index, (row, cracks, tracks) in enumerate(prepared):
                recorder.add(row, cracks, tracks)
                live.saw(_sighting(picture, row))
                time.sleep(max(0.0, wall + (index + 1) / FPS - time.monotonic()))
            seconds = time.monotonic() - wall
            share = (time.process_time() - begin) / seconds
            fetched, _ = readers.communicate(b"\n", timeout=60)
    return Cost(share, seconds, live.encoded, int(fetched))


def _encode_s(picture: Frame) -> float:
    """Return the CPU seconds that drawing and encoding a live picture takes."""
    spent = []
    for _ in range(9):
        live = LivePicture()
        live.look()
        live.saw(_sighting(picture, step(0)[0]))
        begin = time.process_time()
        live.content()
        spent.append(time.process_time() - begin)
    return statistics.median(spent)


def _listen(port: int, count: int, *, pictures: bool) -> subprocess.Popen[bytes]:
    """Open so many streams of events in a process of its own: what readers cost is not the agent's."""
    words = [sys.executable, "-c", READERS, str(port), Reader(port).key, str(count), "pictures" if pictures else "none"]
    readers = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert readers.stdout is not None
    readers.stdout.readline()
    return readers


def _sighting(picture: Frame, row: Any) -> Sighting:
    empty = np.zeros(picture.image_rgb.shape[:2], np.uint8)
    return Sighting(frame=picture, probability=empty, cracks=[], row=row, crack_rows=[], told=[])


def _serve(record: Path, live: LivePicture | None = None) -> Server:
    made_of = Dashboard(
        library=Library(record, single=True), status=Recorded("bench"), guard=Guard("127.0.0.1"), live=live
    )
    return Server(made_of, "127.0.0.1", 0)


def _flight(folder: Path, cracks: int) -> Path:
    return write_inspection(folder, cracks // 2, kept=False)


if __name__ == "__main__":
    main()
