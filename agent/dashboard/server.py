"""Serves the page from a thread of its own, so that nothing it does can hold up a frame."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import uvicorn

from agent.dashboard.app import Dashboard
from agent.dashboard.settings import DashboardSettings, is_loopback
from agent.errors import ConfigError

CREDENTIAL: Final = "dashboard_token"
TOKEN_LEAST: Final = 16  # characters
END_S: Final = 5.0
MOST_CONNECTIONS: Final = 256

logger = logging.getLogger(__name__)
logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # where the page is, is said once, by us


def read_token(settings: DashboardSettings, environment: Mapping[str, str]) -> str | None:
    """Return the token: from the environment, else `dashboard.token_file`, else systemd's credentials; None: none.

    Raises:
        ConfigError: it cannot be read or is too short; or there is none and the address is not this computer's own.
    """
    given = environment.get("CRACKSCOUT_DASHBOARD__TOKEN")
    path = settings.token_file
    if given is None and path is None and "CREDENTIALS_DIRECTORY" in environment:
        path = Path(environment["CREDENTIALS_DIRECTORY"], CREDENTIAL)
        path = path if path.is_file() else None
    if given is None and path is not None:
        try:
            given = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "not ASCII"
            raise ConfigError(f"{path}: the page's token cannot be read ({why}); see dashboard.token_file") from exc
    if given is None:
        if not is_loopback(settings.host):
            raise ConfigError(
                f"dashboard.host: {settings.host} can be reached from elsewhere, so a token is needed; "
                "set dashboard.token_file, or answer at 127.0.0.1"
            )
        return None
    if len(given) < TOKEN_LEAST or not given.isascii() or not given.isprintable():
        raise ConfigError(f"dashboard.token_file: the token must be {TOKEN_LEAST} printable ASCII characters at least")
    return given


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(24)


@dataclass
class Server:
    """The page, answered until `close`.

    Args:
        dashboard: what is answered.
        host: the address.
        port: 0: whichever is free.

    Raises:
        ConfigError: the address cannot be used.
    """

    dashboard: Dashboard
    host: str
    port: int
    _server: uvicorn.Server = field(init=False)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        listening = _listen(self.host, self.port)
        self.port = int(listening.getsockname()[1])
        application, feed = self.dashboard.application()
        self._feed = feed
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="dashboard", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """Where the page is, as a browser on this computer finds it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}/"

    @property
    def link(self) -> str:
        """The address with the token in it, which the page exchanges for a cookie at once."""
        token = self.dashboard.guard.token
        return self.address if token is None else f"{self.address}?{urlencode({'token': token})}"

    def wait(self) -> None:
        """Wait until the server ends by itself; Ctrl-C and SIGTERM come through."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def close(self) -> None:
        """Answer no more; a second call does nothing."""
        self._feed.close()
        self._server.should_exit = True
        self._thread.join(END_S)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as exc:
        listening.close()
        raise ConfigError(
            f"dashboard: {host}:{port} cannot be used ({exc.strerror}); choose another dashboard.port"
        ) from exc
    return listening
