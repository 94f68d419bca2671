"""The YAML of a rendered inspection: strictly read, printable, all defaults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent import strict_yaml
from agent.errors import ConfigError
from agent.simulate.inspection.settings import InspectionSettings, load


@pytest.mark.parametrize("kind", ["tunnel", "facade"])
def test_what_is_printed_is_read_again(tmp_path: Path, kind: str) -> None:
    wanted = InspectionSettings.model_validate({"kind": kind, "seed": 7, "wear": {"rust": 1.0}})
    (tmp_path / "scene.yaml").write_text(
        strict_yaml.explained(wanted, wanted.model_dump(mode="json")), encoding="utf-8"
    )
    assert load(tmp_path / "scene.yaml") == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: bridge\n", "kind: Input should be 'tunnel' or 'facade'"),
        ("wear: {rust: 2}\n", "wear.rust: Input should be less than or equal to 1"),
        ("wear: {rost: 1}\n", "wear.rost: Extra inputs are not permitted"),
        ("seconds: 0.1\nfps: 1\n", "not one frame"),
        ("cracks: {width_mm: [3, 1]}\n", "the smaller one first"),
        ("cracks: {width_mm: [0.3, 90]}\n", "tenth of the frame's height"),
        ("camera: {standoff_m: 20}\n", "room for"),
        ("camera: {mm_per_px: 8}\n", "curves out of sight"),
        ("seed: 1\nseed: 2\n", "given twice"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "scene.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="to fix") as told:
        load(tmp_path / "scene.yaml")
    assert message in str(told.value)


def test_the_command_prints_a_scene_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agent", "simulate"]
    printed = subprocess.run(
        [*command, "--print-scene", "--flight", "facade", "--seed", "4"], capture_output=True, text=True, check=True
    )
    (tmp_path / "scene.yaml").write_text(printed.stdout, encoding="utf-8")
    assert load(tmp_path / "scene.yaml") == InspectionSettings(kind="facade", seed=4)
    (tmp_path / "wrong.yaml").write_text("speed: 3\n", encoding="utf-8")
    refused = subprocess.run(
        [*command, "--scene", tmp_path / "wrong.yaml", "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "speed: Extra inputs are not permitted" in refused.stderr
    assert not (tmp_path / "out").exists()
