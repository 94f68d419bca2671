"""TensorRT's real Python bindings without its libraries: the wheel unpacked, behind stub libraries that gcc makes.

The bindings come from the package index; `.ci/trt-bindings PYTHON` fetches them. Each version needs a
process of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

from tests.support.commands import ROOT
from tests.support.needs import missing

VERSIONS: Final = ("10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106")
CACHE: Final = ROOT / ".cache" / "trt-bindings"


def stubbed(version: str, folder: Path) -> Path:
    """Unpack the bindings of a version into `folder`, beside stub libraries, and return it."""
    wheels = [path for path in CACHE.glob(f"*-{version}-*.whl") if f"-cp{_python()}-" in path.name]
    if not wheels:
        missing(f"no TensorRT {version} bindings for this Python in {CACHE}; `.ci/trt-bindings PYTHON` fetches them")
    if not (shutil.which("gcc") and shutil.which("nm") and shutil.which("readelf")):
        missing("gcc and binutils, which make the stub libraries, are not installed")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder)
    module = folder / "tensorrt_bindings" / "tensorrt.so"
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _wanted(module)))
    for library in _needed(module):
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", str(folder / library), str(source)]
        subprocess.run(command, check=True, capture_output=True)
    return folder


def run_with(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process in which `import tensorrt` gives the bindings of `folder`."""
    alias = "import sys, tensorrt_bindings; sys.modules['tensorrt'] = tensorrt_bindings\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    environment["LD_LIBRARY_PATH"] = str(folder)
    return subprocess.run(
        [sys.executable, "-c", alias + code], env=environment, capture_output=True, text=True, check=False
    )


def _python() -> str:
    return f"{sys.version_info.major}{sys.version_info.minor}"


def _wanted(module: Path) -> list[str]:
    """Return the symbols that no system library gives: those without a version that are not Python's."""
    lines = _output("nm", "-D", "--undefined-only", str(module)).splitlines()
    names = [line.split()[1] for line in lines if line.split()[0] == "U"]
    return [name for name in names if "@" not in name and not name.lstrip("_").startswith("Py")]


def _needed(module: Path) -> list[str]:
    lines = [line for line in _output("readelf", "-d", str(module)).splitlines() if "(NEEDED)" in line]
    names = [line.split("[")[1].rstrip("]") for line in lines]
    return [name for name in names if name.startswith("libnv")]


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
