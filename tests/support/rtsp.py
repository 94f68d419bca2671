"""A network camera that can be stalled, killed and started again, and a line to it that can be cut or garbled."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.support.needs import missing

SYSTEM_PYTHON: Final = "/usr/bin/python3"
PACKAGES: Final = "gir1.2-gst-rtsp-server-1.0, python3-gi, gstreamer1.0-plugins-{base,good,ugly} (see .ci/system)"
SCRIPT: Final = Path(__file__).with_name("rtsp_server.py")


class RtspServer:
    """gst-rtsp-server in a process of its own."""

    def __init__(self, *, width: int = 320, height: int = 240, login: tuple[str, str] | None = None) -> None:
        self._size = (width, height)
        self._login = login or ()
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def url(self, port: int | None = None, login: str = "") -> str:
        return f"rtsp://{login}127.0.0.1:{port or self.port}/live"

    def start(self, *, width: int | None = None, height: int | None = None) -> None:
        """Start, on the same port as before."""
        self._size = (width or self._size[0], height or self._size[1])
        words = [SYSTEM_PYTHON, str(SCRIPT), *map(str, (self.port, *self._size)), *self._login]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        process = self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=kept
        )
        assert process.stdout is not None
        self.port = int(process.stdout.readline() or 0)
        if not self.port:
            self.kill()
            missing(f"no RTSP server: {PACKAGES}")

    def resize(self, width: int, height: int) -> None:
        """Change the picture's size in mid-stream."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{width} {height}\n")
        self._process.stdin.flush()

    def stall(self) -> None:
        self._send(signal.SIGSTOP)

    def wake(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Line:
    """A TCP line to a port: passes on, garbles what comes back, or is cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.garbled = False
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection; new ones are served."""
        with self._lock:
            sockets, self._open = self._open, set()
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            self.connections += 1
            with self._lock:
                self._open |= {near, far}
            for source, sink, back in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pass, args=(source, sink), kwargs={"back": back}, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, *, back: bool) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                if back and self.garbled and len(data) > 64:
                    # pictures rather than the conversation, and the headers of the first packet stay
                    data = data[:48] + os.urandom(len(data) - 48)
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        with self._lock:
            self._open -= {source, sink}


@contextmanager
def rtsp_server(*, login: tuple[str, str] | None = None) -> Iterator[RtspServer]:
    server = RtspServer(login=login)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    line = Line(port)
    try:
        yield line
    finally:
        line.close()
