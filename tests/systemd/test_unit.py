"""What systemd itself says of the unit and its drop-ins; that it boots is `make test-service`'s to show."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.dashboard.server import CREDENTIAL
from agent.settings import CREDENTIAL_NAME
from tests.support.commands import ROOT
from tests.support.needs import missing

FOLDER = ROOT / "systemd"
UNIT = FOLDER / "crack-agent.service"
DROP_INS = sorted(FOLDER.glob("*.conf"))
# Every directive that is newer than systemd 249, which JetPack 6 has, and that anybody might be tempted by
NEWER = (
    "LoadCredentialEncrypted=", "SetCredentialEncrypted=", "ImportCredential=", "RestrictFileSystems=", "OpenFile=",
    "ExitType=", "RestrictNetworkInterfaces=", "Type=notify-reload", "StartupAllowedCPUs=", "ExtensionDirectories=",
    "RestartSteps=", "RestartMaxDelaySec=", "MemoryPressureWatch=", "SurviveFinalKillSignal=", "PrivatePIDs=",
    "ReloadSignal=", "MemoryKSM=", "RootEphemeral=", "CPUQuotaPeriodSec=x", "%d",
)  # fmt: skip


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        missing("no systemd-analyze on this machine")
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it is shipped, but for the program, which is not installed here, and the drop-ins beside it."""
    folder = tmp_path / "systemd"
    folder.mkdir()
    path = folder / UNIT.name
    path.write_text(re.sub("^ExecStart=[^ ]+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    return path


def complaints(analyze: str, unit: Path) -> str:
    done = subprocess.run(
        [analyze, "verify", str(unit)], capture_output=True, text=True, check=False, cwd=unit.parent,
        env={"SYSTEMD_UNIT_PATH": f"{unit.parent}:", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if UNIT.name in line or unit.parent.name in line]
    return "\n".join(lines) + ("" if done.returncode == 0 or not lines else f"\nexit {done.returncode}")


def test_systemd_has_nothing_to_say_against_the_unit(analyze: str, unit: Path) -> None:
    assert complaints(analyze, unit) == ""


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.name)
def test_systemd_has_nothing_to_say_against_a_drop_in(analyze: str, unit: Path, drop_in: Path) -> None:
    folder = unit.with_name(f"{unit.name}.d")
    folder.mkdir()
    shutil.copy(drop_in, folder)
    assert complaints(analyze, unit) == ""


def test_what_systemd_does_not_know_would_be_seen_here(analyze: str, unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectHome=yes", "ProtektHome=yes"))
    assert "ProtektHome" in complaints(analyze, unit)


def test_its_exposure_is_2_at_most(analyze: str, unit: Path) -> None:
    done = subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=20", str(unit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    level = re.search(r"Overall exposure level.*: ([0-9.]+)", done.stdout)
    assert level is not None
    assert float(level[1]) <= 2.0


@pytest.mark.parametrize("path", [UNIT, *DROP_INS], ids=lambda path: path.name)
def test_nothing_needs_a_systemd_newer_than_jetpack_6s(path: Path) -> None:
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    assert [word for word in NEWER if word in text] == []


def test_the_credentials_that_the_agent_reads_are_those_that_the_unit_hands_over() -> None:
    handed = re.findall("^LoadCredential=(.+)$", UNIT.read_text(), flags=re.MULTILINE)
    assert sorted(handed) == sorted([CREDENTIAL_NAME, CREDENTIAL])  # without a path: see the unit


def test_before_systemd_252_each_credential_has_a_drop_in() -> None:
    """Drop-ins are read in the order of their names, and an empty value takes away what was there before."""
    handed: dict[str, str] = {}
    for path in DROP_INS:
        for value in re.findall("^LoadCredential=(.*)$", path.read_text(), flags=re.MULTILINE):
            name, _, where = value.partition(":")
            handed = {**handed, name: where} if name else {}
    assert handed == {name: f"/etc/crackscout/{name}" for name in (CREDENTIAL_NAME, CREDENTIAL)}


def test_the_unit_starts_the_service_that_the_command_line_has() -> None:
    (start,) = re.findall("^ExecStart=(.*)$", UNIT.read_text(), flags=re.MULTILINE)
    assert start == "/opt/crackscout/current/bin/crack-agent run --service --config /etc/crackscout/device.yaml"
