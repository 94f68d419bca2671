"""Compile the kernels for a GPU by NVRTC: CUDA's own compiler as a library, which needs neither nvcc nor a GPU.

It is called by ctypes, so that one way serves both drivers; the five functions have been the same since CUDA 11.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.errors import EngineError, RuntimeUnavailableError

SOURCE: Final = Path(__file__).with_name("kernels.cu")
KERNELS: Final = ("cut_tiles", "reduce_tiles", "stitch_maps")
_MAJORS: Final = (13, 12)
_SYSTEM_FOLDERS: Final = (Path("/usr/local/cuda/lib64"), Path("/usr/local/cuda/targets/aarch64-linux/lib"))


def compile_kernels(compute_capability: tuple[int, int], *, cache: Path | None = None) -> bytes:
    """Return the kernels as a cubin for GPUs of this compute capability.

    Args:
        compute_capability: for instance (8, 7) for Orin.
        cache: folder in which the cubin is kept under the source's and the compiler's name; None keeps nothing.

    Raises:
        RuntimeUnavailableError: NVRTC is not on this machine.
        EngineError: it does not compile them.
    """
    library = _library()
    source = SOURCE.read_bytes()
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    architecture = "sm_{}{}".format(*compute_capability)
    name = hashlib.sha256(source + f"|{architecture}|{major.value}.{minor.value}".encode()).hexdigest()
    kept = cache / f"kernels-{name[:32]}.cubin" if cache else None
    # a cubin is executable code too: it is used only with the hash that was written after it
    if kept and (cubin := _kept(kept)):
        return cubin
    cubin = _compiled(library, source, architecture)
    if kept:
        _keep(kept, cubin)
    return cubin


def _compiled(library: ctypes.CDLL, source: bytes, architecture: str) -> bytes:
    program = ctypes.c_void_p()
    _checked(library, library.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None))
    try:
        options = (ctypes.c_char_p * 1)(f"--gpu-architecture={architecture}".encode())
        code = library.nvrtcCompileProgram(program, 1, options)
        if code:
            log = _read(library, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog", program)
            raise EngineError(f"NVRTC cannot compile the kernels for {architecture}: {log.decode(errors='replace')}")
        return _read(library, "nvrtcGetCUBINSize", "nvrtcGetCUBIN", program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _read(library: ctypes.CDLL, size_function: str, function: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _checked(library, library[size_function](program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _checked(library, library[function](program, buffer))
    return buffer.raw.rstrip(b"\0") if "Log" in function else buffer.raw


def _checked(library: ctypes.CDLL, code: int) -> None:
    if code:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise EngineError(f"NVRTC failed: {library.nvrtcGetErrorString(code).decode()}")


def _library() -> ctypes.CDLL:
    tried = []
    for path in _candidates():
        with suppress(OSError):
            return ctypes.CDLL(path)
        tried.append(path)
    raise RuntimeUnavailableError(
        f"NVRTC is not on this machine (tried {', '.join(tried)}); "
        "install cuda-nvrtc by the system's packages or `pip install nvidia-cuda-nvrtc`"
    )


def _candidates() -> Iterator[str]:
    for major in _MAJORS:
        yield f"libnvrtc.so.{major}"
    for folder in _SYSTEM_FOLDERS:
        yield from map(str, sorted(folder.glob("libnvrtc.so.*"), reverse=True)[:1])
    # NVIDIA's wheels: nvidia/cu13/lib, and nvidia/cuda_nvrtc/lib before CUDA 13
    nvidia = importlib.util.find_spec("nvidia")
    for root in nvidia.submodule_search_locations or () if nvidia else ():
        yield from map(str, sorted(Path(root).glob("*/lib/libnvrtc.so.*"), reverse=True))


def _kept(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    seal, cubin = content[:32], content[32:]
    return cubin if hashlib.sha256(cubin).digest() == seal else None


def _keep(path: Path, cubin: bytes) -> None:
    """Keep it if that can be done: half a second of compiling is no reason to fail."""
    unfinished = path.with_suffix(".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(hashlib.sha256(cubin).digest() + cubin)
        unfinished.replace(path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
