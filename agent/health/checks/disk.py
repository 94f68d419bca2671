"""Records and outbox can be written, and there is room for a flight."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.errors import OutputError
from agent.health.checks.finding import Device, Finding
from agent.health.disk import check_writable

FREE_MB: Final = 1000  # a flight with evidence; less is worth a look


def check(device: Device) -> Iterator[Finding]:
    """See the module; makes the folders, as `run` would."""
    delivery = device.settings.delivery
    needed = {"record.dir": (device.settings.record.dir, 0), "delivery.dir": (delivery.dir, delivery.max_mb)}
    for setting, (folder, wanted_mb) in needed.items():
        yield _folder(folder, setting, wanted_mb + delivery.min_free_mb)


def _folder(folder: Path, setting: str, wanted_mb: int) -> Finding:
    try:
        check_writable(folder, setting)
    except OutputError as exc:
        fix = "the service's own folder is /var/lib/crackscout; relative paths begin there"
        return Finding("disk", "fail", str(exc), fix)
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < wanted_mb:
        text = f"{folder} ({setting}): {free_mb} MB free, and up to {wanted_mb} MB may be wanted"
        return Finding("disk", "warn", text, "make room, or lower delivery.max_mb")
    if free_mb < FREE_MB:
        return Finding("disk", "warn", f"{folder} ({setting}): only {free_mb} MB free", "make room before the flight")
    return Finding("disk", "ok", f"{folder} ({setting}): can be written, {free_mb} MB free")
