"""Builds the CUDA driver that runs on the CPU (`nvidia/cuda_on_cpu.cpp`), and the environment in which it is found."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from agent.infer.cuda.nvrtc import SOURCE
from tests.support.commands import ROOT
from tests.support.needs import missing

HERE: Final = Path(__file__).parent / "nvidia"
EXPORTS: Final = "{ global: cu*; local: *; };"  # its own C++ names must not stand in for those of other libraries


def build_driver(folder: Path) -> Path:
    """Compile libcuda.so.1 into `folder` with the real kernels inside, and return it."""
    if not shutil.which("g++"):
        missing("g++, which compiles the CUDA driver on the CPU, is not installed")
    (folder / "exports.map").write_text(EXPORTS)
    library = folder / "libcuda.so.1"
    command = [
        "g++", "-O2", "-std=c++17", "-shared", "-fPIC", "-fno-gnu-unique", "-ffp-contract=off",
        f"-Wl,--version-script={folder / 'exports.map'}", "-Wl,-soname,libcuda.so.1", f'-DKERNELS="{SOURCE}"',
        "-o", str(library), str(HERE / "cuda_on_cpu.cpp"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


def build_rest(module: Path, library: Path) -> Path:
    """Compile, beside the driver, the functions that a compiled module wants of one and this one lacks; each refuses.

    A module is only loaded if the driver has every function that it names, called or not.
    """
    lacking = sorted(_symbols(module, "--undefined-only") - _symbols(library, "--defined-only"))
    source, rest = library.with_name("rest.c"), library.with_name("librest.so")
    source.write_text("".join(f"int {name}(void) {{ return 801; }}\n" for name in lacking))  # CUDA_ERROR_NOT_SUPPORTED
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(rest), str(source)], check=True, capture_output=True)
    return rest


def _symbols(library: Path, which: str) -> set[str]:
    done = subprocess.run(["nm", "-D", which, str(library)], check=True, capture_output=True, text=True)
    return {name for line in done.stdout.splitlines() if (name := line.split()[-1]).startswith("cu")}


def nvidia_environment(library: Path | None = None, *, tensorrt: bool = True) -> dict[str, str]:
    """Return variables for a process that finds this driver and the second implementation of TensorRT's API."""
    return {
        "LD_LIBRARY_PATH": str(library.parent) if library else "",
        "PYTHONPATH": os.pathsep.join([*([str(HERE)] if tensorrt else []), str(ROOT)]),
    }
