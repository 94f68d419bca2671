"""The page has an address that is free, a token where others can reach it, and the map that it is to lie on."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from agent.dashboard.background import open_background
from agent.dashboard.server import read_token
from agent.dashboard.settings import is_loopback
from agent.errors import ConfigError
from agent.health.checks.finding import Device, Finding


def check(device: Device) -> Iterator[Finding]:
    """See the module."""
    page = device.settings.dashboard
    if page.port is None:
        yield Finding("dashboard", "ok", "off (dashboard.port is null)")
        return
    try:
        token = read_token(page, device.environment)
        open_background(page)
    except ConfigError as exc:  # the flight goes on without a page
        yield Finding("dashboard", "warn", str(exc), "mend that, or set dashboard.port: null")
        return
    where = f"{page.host}:{page.port}"
    with socket.socket(socket.AF_INET6 if ":" in page.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((page.host, page.port))
        except OSError as exc:
            text = f"{where} cannot be used ({exc.strerror})"
            yield Finding("dashboard", "warn", text, "choose another dashboard.port, unless the agent itself runs now")
            return
    if not is_loopback(page.host):
        text = f"{where} speaks plain HTTP: whoever listens on the way reads the token"
        yield Finding("dashboard", "warn", text, "put a proxy with TLS or a tunnel before it")
    else:
        yield Finding("dashboard", "ok", f"http://{where}/" + ("" if token is None else ", with a token"))
