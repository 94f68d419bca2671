"""The driver through cuda.bindings (package cuda-python): NVIDIA's own, with wheels for x86-64 and aarch64."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import UInt8
from agent.errors import InferenceError
from agent.infer.cuda.driver import Extent, Pointer
from agent.infer.cuda.probe import Gpu


class BindingsDriver:
    """See `CudaDriver`."""

    def __init__(self, gpu: Gpu) -> None:
        from cuda.bindings import driver  # noqa: PLC0415 - only where it is installed

        self._cuda: Any = driver
        self._gpu = gpu
        self._pinned: list[int] = []
        self._memory: set[int] = set()
        self._streams: list[int] = []
        self._events: list[int] = []
        self._modules: list[Any] = []
        self._graphs: list[int] = []
        self._call("cuInit", 0)
        self._device = self._call("cuDeviceGet", 0)
        self._context = self._call("cuDevicePrimaryCtxRetain", self._device)  # shared with TensorRT and ONNX Runtime
        self.attach()

    @property
    def name(self) -> str:
        """For instance `cuda.bindings 13.0.0`."""
        return f"cuda.bindings {metadata.version('cuda-bindings')}"

    @property
    def gpu(self) -> Gpu:
        """See `CudaDriver.gpu`."""
        return self._gpu

    def attach(self) -> None:
        """See `CudaDriver.attach`."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, nbytes: int) -> Pointer:
        """See `CudaDriver.allocate`."""
        pointer = Pointer(int(self._call("cuMemAlloc", nbytes)))
        self._memory.add(pointer)
        return pointer

    def free(self, pointer: Pointer) -> None:
        """See `CudaDriver.free`."""
        self._memory.discard(pointer)
        self._call("cuMemFree", int(pointer))

    def pinned(self, nbytes: int) -> UInt8:
        """See `CudaDriver.pinned`."""
        address = int(self._call("cuMemHostAlloc", nbytes, 0))
        self._pinned.append(address)
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))

    def unpin(self, array: UInt8) -> None:
        """See `CudaDriver.unpin`."""
        self._pinned.remove(array.ctypes.data)
        self._call("cuMemFreeHost", array.ctypes.data)

    def stream(self) -> int:
        """See `CudaDriver.stream`."""
        # non-blocking: TensorRT's and our own streams must not wait for the default one
        flags = self._cuda.CUstream_flags.CU_STREAM_NON_BLOCKING
        self._streams.append(int(self._call("cuStreamCreate", flags.value)))
        return self._streams[-1]

    def upload(self, pointer: Pointer, array: NDArray[Any], stream: int) -> None:
        """See `CudaDriver.upload`."""
        self._call("cuMemcpyHtoDAsync", int(pointer), array.ctypes.data, array.nbytes, stream)

    def download(self, array: NDArray[Any], pointer: Pointer, stream: int) -> None:
        """See `CudaDriver.download`."""
        self._call("cuMemcpyDtoHAsync", array.ctypes.data, int(pointer), array.nbytes, stream)

    def fill(self, pointer: Pointer, value: int, nbytes: int, stream: int) -> None:
        """See `CudaDriver.fill`."""
        self._call("cuMemsetD8Async", int(pointer), value, nbytes, stream)

    def wait(self, stream: int) -> None:
        """See `CudaDriver.wait`."""
        self._call("cuStreamSynchronize", stream)

    def event(self) -> int:
        """See `CudaDriver.event`."""
        self._events.append(int(self._call("cuEventCreate", 0)))
        return self._events[-1]

    def record(self, event: int, stream: int) -> None:
        """See `CudaDriver.record`."""
        self._call("cuEventRecord", event, stream)

    def elapsed_ms(self, start: int, end: int) -> float:
        """See `CudaDriver.elapsed_ms`."""
        self._call("cuEventSynchronize", end)
        return float(self._call("cuEventElapsedTime", start, end))

    def kernels(self, cubin: bytes, names: Iterable[str]) -> dict[str, int]:
        """See `CudaDriver.kernels`."""
        module = self._call("cuModuleLoadData", np.frombuffer(cubin, np.uint8).ctypes.data)
        self._modules.append(module)
        return {name: int(self._call("cuModuleGetFunction", module, name.encode())) for name in names}

    def launch(self, kernel: int, *, grid: Extent, block: Extent, arguments: Sequence[int], stream: int) -> None:
        """See `CudaDriver.launch`."""
        kinds = tuple(ctypes.c_void_p if isinstance(value, Pointer) else ctypes.c_int for value in arguments)
        values = tuple(int(value) for value in arguments)
        self._call("cuLaunchKernel", kernel, *grid, *block, 0, stream, (values, kinds), 0)

    def captured(self, stream: int, work: Callable[[], None]) -> int:
        """See `CudaDriver.captured`."""
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream, mode)
        try:
            work()
        finally:
            graph = self._call("cuStreamEndCapture", stream)  # also after a failure: the stream must leave the mode
        self._graphs.append(int(self._call("cuGraphInstantiate", graph, 0)))
        self._call("cuGraphDestroy", graph)
        return self._graphs[-1]

    def replay(self, graph: int, stream: int) -> None:
        """See `CudaDriver.replay`."""
        self._call("cuGraphLaunch", graph, stream)

    def close(self) -> None:
        """See `CudaDriver.close`; a second call does nothing."""
        if self._context is None:
            return
        self.attach()
        give_back: list[tuple[str, Iterable[Any]]] = [
            ("cuGraphExecDestroy", self._graphs),
            ("cuEventDestroy", self._events),
            ("cuStreamDestroy", self._streams),
            ("cuMemFree", list(self._memory)),
            ("cuMemFreeHost", self._pinned),
            ("cuModuleUnload", self._modules),
        ]
        for function, items in give_back:
            for item in items:
                self._call(function, item)
        self._call("cuDevicePrimaryCtxRelease", self._device)
        self._context = None

    def _call(self, function: str, *arguments: Any) -> Any:  # noqa: ANN401 - whatever CUDA returns
        code, *results = getattr(self._cuda, function)(*arguments)
        if code.value:
            _, text = self._cuda.cuGetErrorString(code)
            reason = text.decode(errors="replace") if isinstance(text, bytes) else code.name
            raise InferenceError(f"CUDA: {function} gave {code.name} ({reason})")
        return results[0] if results else None
