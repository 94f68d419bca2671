"""Runs the checks, each whatever becomes of the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from agent import settings
from agent.errors import ConfigError, CrackscoutError
from agent.health.checks import broker, bundle, cameras, clock, dashboard, devices, disk, memory, metrics, thermal
from agent.health.checks.finding import Check, Device, Examination, Finding

CHECKS: Final[Mapping[str, Check]] = {
    "bundle": bundle.check,
    "cameras": cameras.check,
    "disk": disk.check,
    "memory": memory.check,
    "broker": broker.check,
    "clock": clock.check,
    "devices": devices.check,
    "thermal": thermal.check,
    "metrics": metrics.check,
    "dashboard": dashboard.check,
}


def examine(
    config: Path, environment: Mapping[str, str], *, root: Path = Path("/"), checks: Mapping[str, Check] = CHECKS
) -> Examination:
    """Look at everything that the settings name; with settings that do not fit there is nothing more to look at.

    Never raises: what cannot be checked is a finding.
    """
    try:
        loaded = settings.load(config, environment=environment)
    except ConfigError as exc:
        faults = str(exc).splitlines()
        return Examination(
            tuple(Finding("settings", "fail", fault, "mend the line; see print-config") for fault in faults)
        )
    device = Device(settings=loaded, environment=environment, root=root)
    findings = [Finding("settings", "ok", f"{config} fits")]
    for name, check in checks.items():
        findings += _found(name, check, device)
    return Examination(tuple(findings))


def _found(name: str, check: Check, device: Device) -> Sequence[Finding]:
    found: list[Finding] = []
    try:
        found += check(device)
    except CrackscoutError as exc:  # its text says what to do
        found.append(Finding(name, "fail", str(exc)))
    except Exception as exc:  # noqa: BLE001 - one check that stumbles must not hide the others
        found.append(Finding(name, "fail", f"could not be checked: {type(exc).__name__}: {exc}", "report this"))
    return found
