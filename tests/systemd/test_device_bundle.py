"""The device bundle: what is taken from the index for a target, and that its installer upgrades and goes back."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.commands import ROOT


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("device_bundle", ROOT / "systemd" / "device_bundle.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel(folder: Path, name: str, *needs: str) -> Path:
    """A wheel that holds nothing but what it asks for."""
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        info = "-".join(name.split("-")[:2])
        lines = [f"Requires-Dist: {need}" for need in needs]
        archive.writestr(f"{info}.dist-info/METADATA", "\n".join(["Metadata-Version: 2.1", *lines, ""]))
    return path


def test_dependencies_are_those_of_the_target_and_not_of_this_machine(maker: ModuleType, tmp_path: Path) -> None:
    path = wheel(
        tmp_path,
        "a-1-py3-none-any.whl",
        "Always_there>=1",
        'tomli; python_version < "3.11"',
        'later; python_version >= "3.11"',
        'arm; platform_machine == "aarch64"',
        'x86; platform_machine == "x86_64"',
        'only-with-fast; extra == "fast"',
        "uvicorn[standard]",
    )
    environment = {"python_version": "3.10", "platform_machine": "aarch64"}
    needs = list(maker._needs(path, "", environment))
    assert needs == [("always-there", ""), ("tomli", ""), ("arm", ""), ("uvicorn", ""), ("uvicorn", "standard")]
    assert ("only-with-fast", "") in list(maker._needs(path, "fast", environment))


@pytest.mark.parametrize(("python", "numpy", "onnxruntime"), [("3.10", "2.2.6", "1.23.2"), ("3.12", "2.5.5", "1.31.1")])
def test_versions_are_those_that_the_targets_python_has(
    maker: ModuleType, python: str, numpy: str, onnxruntime: str
) -> None:
    pins = maker._pins(ROOT / ".constraints.txt", {"python_version": python})
    assert (pins["numpy"], pins["onnxruntime"]) == (numpy, onnxruntime)


@pytest.mark.parametrize(
    ("python", "chosen"),
    [
        pytest.param("3.10", "a-1-cp310-abi3-manylinux_2_28_aarch64.whl", id="the later file needs Python 3.12"),
        pytest.param("3.12", "a-1-cp312-abi3-manylinux_2_28_aarch64.whl", id="the nearest"),
    ],
)
def test_of_several_files_the_one_is_taken_that_fits_best(
    maker: ModuleType, tmp_path: Path, python: str, chosen: str
) -> None:
    for tag in ("cp310-abi3-manylinux_2_28_aarch64", "cp312-abi3-manylinux_2_28_aarch64", "py3-none-win_amd64"):
        wheel(tmp_path, f"a-1-{tag}.whl")
    assert maker._wheel(tmp_path, "a", "1", python=python, machine="aarch64").name == chosen


def test_a_package_without_a_file_for_the_target_is_named(maker: ModuleType, tmp_path: Path) -> None:
    wheel(tmp_path, "a-1-cp310-cp310-manylinux_2_28_x86_64.whl")
    with pytest.raises(LookupError, match=r"no wheel of a 1 for Python 3\.10 on aarch64"):
        maker._wheel(tmp_path, "a", "1", python="3.10", machine="aarch64")


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    words = [sys.executable, ROOT / "systemd" / "device_bundle.py", "--out", tmp_path]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "choose another folder" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "precious"


def install(folder: Path, prefix: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [folder / "install.sh", "--prefix", prefix, "--no-service", "--python", sys.executable, *words]
    environment = {"PATH": os.environ["PATH"], "HOME": str(prefix.parent)}
    return subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False)


def current(prefix: Path) -> str:
    return (prefix / "current").readlink().name


@pytest.mark.slow
def test_a_device_without_a_network_is_installed_upgraded_and_rolled_back(maker: ModuleType, tmp_path: Path) -> None:
    target: dict[str, Any] = {
        "machine": os.uname().machine, "pythons": [f"{sys.version_info.major}.{sys.version_info.minor}"]
    }  # fmt: skip
    prefix = tmp_path / "opt"
    maker.build(tmp_path / "first", source=ROOT, **target)
    later = tmp_path / "source"
    for name in ("agent", "train", "export", "systemd", "configs"):
        shutil.copytree(ROOT / name, later / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".constraints.txt"):
        shutil.copy(ROOT / name, later)
    project = later / "pyproject.toml"
    project.write_text(project.read_text().replace('\nversion = "', '\nversion = "90.', 1))
    maker.build(tmp_path / "second", source=later, **target)
    graph = later / "agent" / "bundles" / "default" / "segmenter.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    maker.build(tmp_path / "broken", source=later, **target)
    versions = {name: (tmp_path / name / "VERSION").read_text().strip() for name in ("first", "second", "broken")}

    done = install(tmp_path / "first", prefix)
    assert done.returncode == 0, done.stderr
    assert current(prefix) == versions["first"]
    assert install(tmp_path / "first", prefix, "--roll-back").returncode == 2  # to what?

    done = install(tmp_path / "broken", prefix)
    assert done.returncode == 1
    assert f"{versions['first']} is current again" in done.stderr
    assert current(prefix) == versions["first"]

    done = install(tmp_path / "second", prefix)
    assert done.returncode == 0, done.stderr
    assert current(prefix) == versions["second"]
    told = subprocess.run([prefix / "current/bin/crack-agent", "--version"], capture_output=True, text=True, check=True)
    assert "crackscout 90." in told.stdout
    assert {path.name for path in (prefix / "versions").iterdir()} == {versions["first"], versions["second"]}

    done = install(tmp_path / "second", prefix, "--roll-back")
    assert done.returncode == 0, done.stderr
    assert (current(prefix), str((prefix / "previous").readlink())) == (
        versions["first"],
        f"versions/{versions['second']}",
    )

    with (tmp_path / "second" / "device.yaml").open("a") as file:
        file.write("# altered on the way\n")
    done = install(tmp_path / "second", prefix)
    assert done.returncode == 2
    assert "damaged; copy it again" in done.stderr
    assert current(prefix) == versions["first"]
