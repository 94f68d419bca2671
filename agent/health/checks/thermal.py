"""The board is not too hot to begin with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.health.checks.finding import Device, Finding

HOT_C: Final = 85.0  # boards throttle from here on


def check(device: Device) -> Iterator[Finding]:
    """See the module."""
    zones: dict[str, float] = {}
    for folder in sorted(device.path("/sys/class/thermal").glob("thermal_zone*")):
        try:
            zones[(folder / "type").read_text().strip()] = int((folder / "temp").read_text()) / 1000
        except (OSError, ValueError):  # a zone that is switched off answers with an error
            continue
    if not zones:
        yield Finding("thermal", "ok", "no thermal zones to read")
        return
    hottest = max(zones, key=lambda name: zones[name])
    text = f"{zones[hottest]:.0f} °C at {hottest}, the hottest of {len(zones)}"
    if zones[hottest] >= HOT_C:
        yield Finding("thermal", "warn", text, "let it cool: the board throttles, and frames are dropped")
    else:
        yield Finding("thermal", "ok", text)
