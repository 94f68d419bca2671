"""Whether the clock was set since boot. A tunnel has no time server: never a reason not to fly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Final

from agent.deliver.reporter import TIME_SYNCHRONISED
from agent.health.checks.finding import Device, Finding

BUILT: Final = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()  # no device is older than its program


def check(device: Device) -> Iterator[Finding]:
    """See the module."""
    now = time.time()
    told = datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="seconds")
    if now < BUILT:
        text = f"says {told}, before this program was written: certificates will be refused, times are wrong"
        yield Finding("clock", "warn", text, "set it: timedatectl set-time, or a network with a time server")
    elif device.path(str(TIME_SYNCHRONISED)).exists():
        yield Finding("clock", "ok", f"{told}, synchronised")
    else:
        text = (
            f"{told}, not synchronised since boot: reports say so (clock_synced false, mono_ns and boot_id order them)"
        )
        yield Finding("clock", "warn", text, "timedatectl; in a tunnel nothing need be done")
