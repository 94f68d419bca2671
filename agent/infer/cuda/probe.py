"""Ask the CUDA driver what is there, before anything that would crash without it.

`tensorrt.Runtime` ends the process with a segmentation fault on a machine without a GPU. The driver's own library is
asked first, by ctypes: it comes with every driver, and answers with a code where it cannot serve.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

from agent.errors import RuntimeUnavailableError

LIBRARY: Final = "libcuda.so.1"
OLDEST_CUDA: Final = (12, 0)  # what TensorRT 10.3 runs on; JetPack 6 has 12.6
# attributes of a device, CUdevice_attribute in cuda.h
_MULTIPROCESSORS: Final = 16
_CAPABILITY_MAJOR: Final = 75
_CAPABILITY_MINOR: Final = 76


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One CUDA device."""

    name: str
    cuda: tuple[int, int]  # the newest CUDA that the driver runs
    compute_capability: tuple[int, int]
    multiprocessors: int


def probe(index: int = 0) -> Gpu:
    """Return what the CUDA driver says of a device.

    Raises:
        RuntimeUnavailableError: no driver, one that does not start or is too old, or no such device.
    """
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as exc:
        raise RuntimeUnavailableError(
            f"no CUDA driver on this machine ({exc}); install NVIDIA's driver or choose runtime.name: onnxruntime"
        ) from exc
    _checked(cuda, "cuInit", cuda.cuInit(0))
    version = _integer(cuda, "cuDriverGetVersion")
    newest = (version // 1000, version % 1000 // 10)
    if newest < OLDEST_CUDA:
        raise RuntimeUnavailableError(
            f"the CUDA driver is too old: it runs CUDA up to {newest[0]}.{newest[1]}, "
            f"{OLDEST_CUDA[0]}.{OLDEST_CUDA[1]} or newer is needed; update the driver (on a Jetson: JetPack)"
        )
    count = _integer(cuda, "cuDeviceGetCount")
    if index >= count:
        raise RuntimeUnavailableError(f"the CUDA driver has {count} devices, so there is no device {index}")
    device = _integer(cuda, "cuDeviceGet", index)
    name = ctypes.create_string_buffer(256)
    _checked(cuda, "cuDeviceGetName", cuda.cuDeviceGetName(name, len(name), device))

    def attribute(which: int) -> int:
        return _integer(cuda, "cuDeviceGetAttribute", which, device)

    return Gpu(
        name=name.value.decode(errors="replace"),
        cuda=newest,
        compute_capability=(attribute(_CAPABILITY_MAJOR), attribute(_CAPABILITY_MINOR)),
        multiprocessors=attribute(_MULTIPROCESSORS),
    )


def _integer(cuda: ctypes.CDLL, function: str, *arguments: int) -> int:
    value = ctypes.c_int()
    _checked(cuda, function, cuda[function](ctypes.byref(value), *arguments))
    return value.value


def _checked(cuda: ctypes.CDLL, function: str, code: int) -> None:
    if code == 0:
        return
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(text))
    reason = text.value.decode(errors="replace") if text.value else "no text"
    raise RuntimeUnavailableError(
        f"the CUDA driver does not serve: {function} gave {code} ({reason}); "
        "look at nvidia-smi, or choose runtime.name: onnxruntime"
    )
