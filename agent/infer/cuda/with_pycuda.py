"""The driver through pycuda, where that is what the device has. Not yet run on a GPU.

The primary context is retained by hand, never by pycuda.autoinit, and is on pycuda's stack only within a call.

pycuda's streams, events and kernels are objects; they are kept here under the driver's handles.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import UInt8
from agent.errors import InferenceError
from agent.infer.cuda.driver import Extent, Pointer
from agent.infer.cuda.probe import LIBRARY, Gpu

NON_BLOCKING: Final = 1  # CU_STREAM_NON_BLOCKING: TensorRT's and our own streams must not wait for the default one
NO_GRAPHS: Final = "pycuda has no CUDA graphs; set runtime.engine.cuda_graph: false, or install crackscout[cuda]"


class PycudaDriver:
    """See `CudaDriver`."""

    def __init__(self, gpu: Gpu) -> None:
        import pycuda.driver as cuda  # noqa: PLC0415 - it needs libcuda when it is imported

        self._cuda: Any = cuda
        self._gpu = gpu
        self._memory: dict[int, Any] = {}
        self._pinned: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        self._events: dict[int, Any] = {}
        self._kernels: dict[int, Any] = {}
        self._modules: list[Any] = []
        self._library = ctypes.CDLL(LIBRARY)
        try:
            cuda.init()
            self._context: Any = cuda.Device(0).retain_primary_context()  # shared with TensorRT and ONNX Runtime
        except cuda.Error as exc:
            raise InferenceError(f"CUDA: {exc}") from exc
        self.attach()

    @property
    def name(self) -> str:
        """For instance `pycuda 2026.1`."""
        return f"pycuda {metadata.version('pycuda')}"

    @property
    def gpu(self) -> Gpu:
        """See `CudaDriver.gpu`."""
        return self._gpu

    def attach(self) -> None:
        """See `CudaDriver.attach`; TensorRT and ONNX Runtime then work in this context too.

        Not by pycuda's own stack of contexts: it ends the whole process if a thread ends with one on it.
        """
        if code := self._library.cuCtxSetCurrent(ctypes.c_void_p(self._context.handle)):
            raise InferenceError(f"CUDA: cuCtxSetCurrent gave {code}")

    def allocate(self, nbytes: int) -> Pointer:
        """See `CudaDriver.allocate`."""
        with self._told():
            memory = self._cuda.mem_alloc(nbytes)
        pointer = Pointer(int(memory))
        self._memory[pointer] = memory
        return pointer

    def free(self, pointer: Pointer) -> None:
        """See `CudaDriver.free`."""
        with self._told():
            self._memory.pop(pointer).free()

    def pinned(self, nbytes: int) -> UInt8:
        """See `CudaDriver.pinned`."""
        with self._told():
            array = self._cuda.pagelocked_empty(nbytes, np.uint8)
        self._pinned[array.ctypes.data] = array.base
        return np.asarray(array)

    def unpin(self, array: UInt8) -> None:
        """See `CudaDriver.unpin`."""
        with self._told():
            self._pinned.pop(array.ctypes.data).free()

    def stream(self) -> int:
        """See `CudaDriver.stream`."""
        with self._told():
            stream = self._cuda.Stream(NON_BLOCKING)
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def upload(self, pointer: Pointer, array: NDArray[Any], stream: int) -> None:
        """See `CudaDriver.upload`."""
        with self._told():
            self._cuda.memcpy_htod_async(int(pointer), array, self._streams[stream])

    def download(self, array: NDArray[Any], pointer: Pointer, stream: int) -> None:
        """See `CudaDriver.download`."""
        with self._told():
            self._cuda.memcpy_dtoh_async(array, int(pointer), self._streams[stream])

    def fill(self, pointer: Pointer, value: int, nbytes: int, stream: int) -> None:
        """See `CudaDriver.fill`."""
        with self._told():
            self._cuda.memset_d8_async(int(pointer), value, nbytes, self._streams[stream])

    def wait(self, stream: int) -> None:
        """See `CudaDriver.wait`."""
        with self._told():
            self._streams[stream].synchronize()

    def event(self) -> int:
        """See `CudaDriver.event`."""
        with self._told():
            event = self._cuda.Event()
        self._events[id(event)] = event
        return id(event)

    def record(self, event: int, stream: int) -> None:
        """See `CudaDriver.record`."""
        with self._told():
            self._events[event].record(self._streams[stream])

    def elapsed_ms(self, start: int, end: int) -> float:
        """See `CudaDriver.elapsed_ms`."""
        with self._told():
            self._events[end].synchronize()
            return float(self._events[start].time_till(self._events[end]))

    def kernels(self, cubin: bytes, names: Iterable[str]) -> dict[str, int]:
        """See `CudaDriver.kernels`."""
        with self._told():
            module = self._cuda.module_from_buffer(cubin)
            found = {name: module.get_function(name) for name in names}
        self._modules.append(module)
        self._kernels |= {id(kernel): kernel for kernel in found.values()}
        return {name: id(kernel) for name, kernel in found.items()}

    def launch(self, kernel: int, *, grid: Extent, block: Extent, arguments: Sequence[int], stream: int) -> None:
        """See `CudaDriver.launch`."""
        values = [np.uintp(value) if isinstance(value, Pointer) else np.int32(value) for value in arguments]
        with self._told():
            self._kernels[kernel](*values, grid=grid, block=block, stream=self._streams[stream])

    def captured(self, stream: int, work: Callable[[], None]) -> int:  # noqa: ARG002 - the protocol's
        """Refuse: pycuda has no CUDA graphs."""
        raise InferenceError(NO_GRAPHS)

    def replay(self, graph: int, stream: int) -> None:  # noqa: ARG002 - the protocol's
        """Refuse: pycuda has no CUDA graphs."""
        raise InferenceError(NO_GRAPHS)

    def close(self) -> None:
        """See `CudaDriver.close`; a second call does nothing."""
        if self._context is None:
            return
        self.attach()
        with self._told():
            for memory in (*self._memory.values(), *self._pinned.values()):
                memory.free()
            for kept in (self._events, self._streams, self._kernels, self._memory, self._pinned):
                kept.clear()
            self._modules.clear()
        try:
            self._context.push()  # from a thread in which it is not current, pycuda would not give it back
            self._context.detach()  # off pycuda's stack, but not off the driver's
        except self._cuda.Error as exc:
            raise InferenceError(f"CUDA: {exc}") from exc
        self._library.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
        self._context = None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Have pycuda's own idea of what is current for one call; each thread has a stack, empty between calls."""
        try:
            self._context.push()
            try:
                yield
            finally:
                self._cuda.Context.pop()
        except self._cuda.Error as exc:
            raise InferenceError(f"CUDA: {exc}") from exc
