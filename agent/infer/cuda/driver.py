"""What we ask of the CUDA driver; `open_driver` chooses between cuda.bindings and pycuda.

Pointers, streams, events, kernels and graphs are integers, the driver's own handles, so that TensorRT takes them as
they are. Work on a stream runs in order and later than the call: an array given to `upload` or `download` must be
page-locked (`pinned`) and left alone until `wait`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, Final, Protocol, TypeAlias

from numpy.typing import NDArray

from agent.contract.arrays import UInt8
from agent.errors import RuntimeUnavailableError
from agent.infer.cuda.probe import Gpu, probe

Extent: TypeAlias = tuple[int, int, int]


class Pointer(int):
    """An address on the GPU, told from a number when a kernel is launched."""

    __slots__ = ()


class CudaDriver(Protocol):
    """One GPU through its primary context, shared by threads. Every method raises InferenceError where CUDA fails."""

    @property
    def name(self) -> str:
        """The implementation and its version."""
        ...

    @property
    def gpu(self) -> Gpu:
        """The device."""
        ...

    def attach(self) -> None:
        """Make the GPU the calling thread's; the first call of each thread."""
        ...

    def allocate(self, nbytes: int) -> Pointer:
        """Take memory on the GPU, until `free` or `close`."""
        ...

    def free(self, pointer: Pointer) -> None:
        """Give memory back."""
        ...

    def pinned(self, nbytes: int) -> UInt8:
        """Return page-locked memory of this machine, (nbytes,), until `unpin` or `close`."""
        ...

    def unpin(self, array: UInt8) -> None:
        """Give page-locked memory back; the array must not be touched again."""
        ...

    def stream(self) -> int:
        """Make a stream."""
        ...

    def upload(self, pointer: Pointer, array: NDArray[Any], stream: int) -> None:
        """Copy a contiguous array to the GPU."""
        ...

    def download(self, array: NDArray[Any], pointer: Pointer, stream: int) -> None:
        """Copy from the GPU into a contiguous array."""
        ...

    def fill(self, pointer: Pointer, value: int, nbytes: int, stream: int) -> None:
        """Set bytes on the GPU."""
        ...

    def wait(self, stream: int) -> None:
        """Wait until the stream's work is done."""
        ...

    def event(self) -> int:
        """Make an event that takes the time."""
        ...

    def record(self, event: int, stream: int) -> None:
        """Put the event behind the stream's work so far."""
        ...

    def elapsed_ms(self, start: int, end: int) -> float:
        """Return the time between two events that have passed."""
        ...

    def kernels(self, cubin: bytes, names: Iterable[str]) -> dict[str, int]:
        """Load a compiled module and return its kernels by name."""
        ...

    def launch(self, kernel: int, *, grid: Extent, block: Extent, arguments: Sequence[int], stream: int) -> None:
        """Start a kernel; a `Pointer` is passed as an address, another integer as 32 bits."""
        ...

    def captured(self, stream: int, work: Callable[[], None]) -> int:
        """Return a graph of what `work` puts on the stream; nothing of it runs yet."""
        ...

    def replay(self, graph: int, stream: int) -> None:
        """Run a graph."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


IMPLEMENTATIONS: Final = {  # name -> what must be importable, where the class stands
    "cuda.bindings": ("cuda.bindings.driver", "agent.infer.cuda.with_bindings", "BindingsDriver"),
    "pycuda": ("pycuda.driver", "agent.infer.cuda.with_pycuda", "PycudaDriver"),
}


def open_driver(name: str | None = None) -> CudaDriver:
    """Return the GPU through the first implementation that is installed, or the one that is named.

    Raises:
        RuntimeUnavailableError: no GPU, or no such Python package.
    """
    gpu = probe()
    tried = []
    for candidate, (needs, module, cls) in IMPLEMENTATIONS.items():
        if name not in {None, candidate}:
            continue
        try:
            import_module(needs)
        except ImportError as exc:
            tried.append(f"{candidate}: {exc}")
            continue
        driver: CudaDriver = getattr(import_module(module), cls)(gpu)
        return driver
    raise RuntimeUnavailableError(
        f"no Python package that drives CUDA ({'; '.join(tried) or f'{name!r} is none'}); "
        "install crackscout[cuda] or crackscout[pycuda]"
    )
