"""A settings file that does not fit: every fault at once, each with the line that it stands in."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from agent import strict_yaml
from agent.errors import ConfigError


class Lens(BaseModel):
    model_config = ConfigDict(extra="forbid")

    focal_mm: float = Field(gt=0)


class Rig(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    lenses: tuple[Lens, ...] = ()


def test_a_file_that_fits_is_its_values(tmp_path: Path) -> None:
    file = tmp_path / "rig.yaml"
    file.write_text("name: a\nlenses:\n  - {focal_mm: 8}\n")
    assert strict_yaml.load(file, Rig) == Rig(name="a", lenses=(Lens(focal_mm=8),))


def test_all_faults_are_told_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "rig.yaml"
    file.write_text("lenses:\n  - {focal_mm: 8}\n  - {focal_mm: -1}\nwheels: 4\ncolour: no\n")
    with pytest.raises(ConfigError) as told:
        strict_yaml.load(file, Rig)
    message = str(told.value)
    assert message.startswith(f"{file}: 5 to fix: ")
    for part in (":1:1: name: ", ":3:6: lenses[1].focal_mm: ", ":4:1: wheels: ", ":5:1: colour: "):
        assert part in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read"):
        strict_yaml.load(tmp_path / "gone.yaml", Rig)
