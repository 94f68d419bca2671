"""A TCP proxy between agent and broker that can cut, stall and refuse."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress


class FaultProxy:
    """Passes bytes on to 127.0.0.1:`target` until it is told otherwise."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self._refusing = True
        self._end_all()

    def stall(self) -> None:
        """Leave connections open and pass nothing on."""
        self._flowing.clear()

    def heal(self) -> None:
        """Let everything through again."""
        self._refusing = False
        self._flowing.set()

    def close(self) -> None:
        """End everything."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.heal()
        self._end_all()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):  # the server was closed
            while True:
                client = self._server.accept()[0]
                if self._refusing:
                    client.close()
                    continue
                try:
                    broker = socket.create_connection(("127.0.0.1", self._target), timeout=5)
                except OSError:
                    client.close()
                    continue
                broker.settimeout(None)
                with self._lock:
                    self._pairs.append((client, broker))
                threading.Thread(target=self._pass_on, args=(client, broker), daemon=True).start()

    def _pass_on(self, client: socket.socket, broker: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, suppress(OSError, ValueError):
            selector.register(client, selectors.EVENT_READ, broker)
            selector.register(broker, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    content = key.fileobj.recv(65_536)  # type: ignore[union-attr]
                    self._flowing.wait()
                    if not content:
                        raise OSError
                    key.data.sendall(content)
        for end in (client, broker):
            end.close()
        with self._lock, suppress(ValueError):
            self._pairs.remove((client, broker))

    def _end_all(self) -> None:
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
