"""The house: what stands where, and what may not be imported where."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import ROOT, crack, variables

TOP_LEVEL = {
    "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md", "pyproject.toml",
    "agent", "configs", "export", "systemd", "tests", "train",
}  # fmt: skip
BLOCKED = ("torch", "torchvision", "lightning", "train", "export", "onnx", "scipy", "skimage", "matplotlib")
IMPORT_ALL = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name + " is not on the device")

sys.meta_path.insert(0, Blocker())
import agent
for module in pkgutil.walk_packages(agent.__path__, "agent."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(sum(name.startswith("agent.") for name in sys.modules))
"""


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return tracked()


def test_the_top_level_is_the_house(files: list[Path]) -> None:
    visible = {path.parts[0] for path in files if not path.parts[0].startswith(".")}
    assert visible <= TOP_LEVEL


def test_only_model_files_are_large(files: list[Path]) -> None:
    large = [path for path in files if (ROOT / path).is_file() and (ROOT / path).stat().st_size > 3_000_000]
    assert large == []


def test_every_module_of_the_agent_imports_on_a_machine_without_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL.replace("{blocked}", repr(set(BLOCKED)))],
        cwd=tmp_path, env=variables(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def test_help_answers_in_under_a_second_of_cpu_time() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = crack("crack-agent", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert "replay" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize("command", ["crack-agent", "crack-train", "crack-export"])
def test_each_command_tells_its_version(command: str) -> None:
    done = crack(command, "--version")
    assert done.returncode == 0, done.stderr
    assert "crackscout" in done.stdout


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment_outside_the_checkout(tmp_path: Path, shared_data: Path) -> None:
    source = tmp_path / "source"
    for name in ("agent", "train", "export"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)

    def run(*words: object) -> str:
        done = subprocess.run([*map(str, words)], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "dist", source)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "python", "-m", "pip", "install", "-q", "-c", ROOT / ".constraints.txt", wheel)
    assert "passed" in run(binaries / "crack-agent", "selftest")
    photo = shared_data / "cfd" / "images" / "001.jpg"
    run(binaries / "crack-agent", "replay", photo, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert "crack/1" in run(binaries / "crack-agent", "schema", "crack")
