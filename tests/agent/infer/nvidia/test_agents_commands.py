"""What a user runs on a device with TensorRT: `crack-agent check`, `selftest`, `bench`, each a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import crack
from tests.support.cuda_on_cpu import nvidia_environment

RUNTIME = "tensorrt 10.3.0 A CPU"


@pytest.fixture
def config(tmp_path: Path, tiny_bundle_folder: Path) -> Path:
    settings = {
        "version": 1,
        "bundle": str(tiny_bundle_folder),
        "cameras": [{"name": "crown", "source": str(tiny_bundle_folder / "golden"), "mm_per_px": 0.5}],
        "record": {"dir": str(tmp_path / "flights")},
        "delivery": {"dir": str(tmp_path / "outbox")},
        "runtime": {"name": "tensorrt", "workers": 1, "engine": {"cache": str(tmp_path / "engines")}},
    }
    path = tmp_path / "device.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def engines(config: Path) -> int:
    return len(list((config.parent / "engines").glob("*.engine")))


class TestCheck:
    @staticmethod
    def findings(config: Path, **environment: str) -> list[dict[str, Any]]:
        done = crack("crack-agent", "check", "--config", config, "--json", cwd=config.parent, **environment)
        assert "Traceback" not in done.stderr
        return [finding for finding in json.loads(done.stdout)["findings"] if finding["check"] == "runtime"]

    def test_engines_that_are_yet_to_be_built_are_told_with_the_command_and_not_built(
        self, config: Path, nvidia_variables: dict[str, str]
    ) -> None:
        first, second = self.findings(config, **nvidia_variables)
        assert (first["verdict"], second["verdict"]) == ("warn", "ok")
        assert "yet to be built" in first["text"]
        assert second["text"].startswith("onnxruntime ")
        assert engines(config) == 0
        words, _, _ = first["fix"].partition(" builds them")
        built = crack(*words.split(), cwd=config.parent, **nvidia_variables)
        assert built.returncode == 0, built.stderr
        assert engines(config) == 2
        first, _ = self.findings(config, **nvidia_variables)
        assert (first["verdict"], first["fix"]) == ("ok", None)
        assert first["text"] == f"{RUNTIME} fp32 answers the golden tiles as torch did"

    def test_a_folder_that_cannot_hold_them_and_no_gpu_are_told(
        self, config: Path, nvidia_variables: dict[str, str]
    ) -> None:
        without, _ = self.findings(config, **nvidia_environment())
        assert without["verdict"] == "warn"
        assert "no CUDA driver on this machine" in without["text"]
        (config.parent / "engines").write_text("")
        first, second = self.findings(config, **nvidia_variables)
        assert (first["verdict"], second["verdict"]) == ("warn", "ok")
        assert "engines cannot be kept here" in first["text"]


@pytest.mark.parametrize("command", [("selftest",), ("bench", "--repetitions", 1)], ids=["selftest", "bench"])
def test_it_says_that_it_builds_and_keeps_engines_where_the_settings_say(
    command: tuple[str, ...], config: Path, nvidia_variables: dict[str, str]
) -> None:
    for built in (2, 0):
        done = crack("crack-agent", *command, "--config", config, "--json", cwd=config.parent, **nvidia_variables)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["runtime"] == RUNTIME
        assert done.stderr.count("this takes minutes") == built, "minutes of silence look like a crash"
        assert engines(config) == 2


def test_version_names_tensorrt_where_it_can_run(nvidia_variables: dict[str, Any]) -> None:
    told = crack("crack-agent", "--version", **nvidia_variables)
    assert told.returncode == 0, told.stderr
    assert ", tensorrt 10.3.0\n" in told.stdout
    bare: dict[str, Any] = nvidia_environment()
    without = crack("crack-agent", "--version", **bare)
    assert without.returncode == 0, without.stderr
    assert "tensorrt" not in without.stdout
