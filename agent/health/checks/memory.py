"""There is memory for frames and networks beside everything else that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.health.checks.finding import Device, Finding

RUNTIME_MB: Final = 400  # interpreter, libraries and networks of the shipped bundle on ONNX Runtime


def check(device: Device) -> Iterator[Finding]:
    """See the module."""
    path = device.path("/proc/meminfo")
    found = re.search(r"^MemAvailable:\s+(\d+) kB", path.read_text() if path.is_file() else "", re.MULTILINE)
    if found is None:
        yield Finding("memory", "warn", f"{path} does not say how much is available")
        return
    free_mb, wanted_mb = int(found[1]) // 1000, RUNTIME_MB + device.settings.detect.memory_mb
    if free_mb < wanted_mb:
        text = f"{free_mb} MB available, about {wanted_mb} MB wanted"
        yield Finding("memory", "warn", text, "end what else runs, or lower detect.memory_mb")
    else:
        yield Finding("memory", "ok", f"{free_mb} MB available")
