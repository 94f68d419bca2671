"""The page for Prometheus has an address that is free, and who may read it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from agent.health.checks.finding import Device, Finding


def check(device: Device) -> Iterator[Finding]:
    """See the module."""
    metrics = device.settings.metrics
    if metrics.port is None:
        yield Finding("metrics", "ok", "off (metrics.port is not set)")
        return
    where = f"{metrics.host}:{metrics.port}"
    family = socket.AF_INET6 if ":" in metrics.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((metrics.host, metrics.port))
        except OSError as exc:
            text = f"{where} cannot be used ({exc.strerror})"
            yield Finding("metrics", "warn", text, "choose another metrics.port, unless the agent itself runs now")
            return
    if metrics.host not in {"localhost", "127.0.0.1", "::1"}:
        yield Finding("metrics", "warn", f"{where} answers anybody, without a password", "metrics.host: 127.0.0.1")
    else:
        yield Finding("metrics", "ok", f"http://{where}/metrics")
