"""The device nodes that cameras and accelerators need can be opened by whoever runs this."""

from __future__ import annotations

import grp
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.health.checks.finding import Device, Finding

NODES: Final = ("video*", "media*", "nvhost-*", "nvmap", "nvidia*", "nvgpu/*/*", "dri/renderD*")
SHOWN: Final = 6  # names in one line


def check(device: Device) -> Iterator[Finding]:
    """See the module."""
    folder = device.path("/dev")
    nodes = sorted({node for pattern in NODES for node in folder.glob(pattern) if not node.is_dir()})
    refused = [node for node in nodes if not device.may_open(node)]
    if not nodes:
        yield Finding("devices", "ok", "neither cameras nor accelerators among the device nodes")
    elif refused:
        names = ", ".join(f"/{node.relative_to(device.root)}" for node in refused[:SHOWN])
        more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        groups = sorted({group for node in refused if (group := _group(node))})
        who = ", ".join(groups) or "their group"
        fix = f"join {who}; in the unit: SupplementaryGroups= and DeviceAllow=, see systemd/jetson.conf"
        yield Finding("devices", "warn", f"refused to this user: {names}{more}", fix)
    else:
        yield Finding("devices", "ok", f"{len(nodes)} nodes of cameras and accelerators can be opened")


def _group(node: Path) -> str | None:
    """Return the group that may, if any."""
    status = node.stat()
    if not status.st_mode & stat.S_IRGRP:
        return None
    try:
        return grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        return str(status.st_gid)
