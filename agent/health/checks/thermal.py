"""The board is not too hot to begin with."""

from __future__ import annotations

from collections.abc import Iterator

from agent.health.checks.finding import Device, Finding
from agent.health.readings import read_sysfs


def check(device: Device) -> Iterator[Finding]:
    """See the module."""
    readings = read_sysfs(device.path("/sys"))
    zones = readings.temperatures_c
    if not zones:
        yield Finding("thermal", "ok", "no thermal zones to read: the frame rate will not follow the heat")
        return
    hottest = max(zones, key=lambda name: zones[name])
    power = "" if readings.board_w is None else f"; {readings.board_w:.1f} W"
    text = f"{zones[hottest]:.0f} °C at {hottest}, the hottest of {len(zones)}{power}"
    slow_c = device.settings.heat.slow_above_c
    if zones[hottest] >= slow_c:
        yield Finding(
            "thermal", "warn", f"{text}: frames are left out from {slow_c:.0f} °C on", "let it cool; see heat"
        )
    else:
        yield Finding("thermal", "ok", text)
