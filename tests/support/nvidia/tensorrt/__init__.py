"""A second implementation of TensorRT's Python API, as far as our code uses it: the real names, types and errors.

A conformance test looks for every name of this file in the real bindings. A plan holds the ONNX file and its
profile; to execute it is to run the ONNX file on ONNX Runtime, at the addresses and shapes that were set, so results
are compared and not only calls. Like the real library it ends the process where there is no GPU, gives None for a bad
plan and tells the reason to its logger alone.

Environment: CPU_TRT_VERSION, CPU_TRT_BUILD_SECONDS (a slow build), CPU_TRT_ERROR (levels added to every answer).
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import signal
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort

__version__ = os.environ.get("CPU_TRT_VERSION", "10.3.0")
_MAGIC = b"cpu-plan"
_HostFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class ProfilingVerbosity(enum.Enum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None:
        # the real library calls the driver; where there is none it does not survive that
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            os.abort()

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def __init__(self) -> None:
        pass


class ITensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self.shape = shape


class INetworkDefinition:
    def __init__(self) -> None:
        self._onnx = b""
        self._inputs: list[ITensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text

    def node_name(self) -> str:
        return ""

    def node_operator(self) -> str:
        return ""


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, logger
        self._faults: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self._faults)

    def get_error(self, index: int) -> ParserError:
        return ParserError(self._faults[index])

    def parse(self, model: bytes) -> bool:
        try:
            session = _session(model)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the real parser returns False
            self._faults.append(str(exc))
            return False
        self._network._onnx = model
        self._network._inputs = [
            ITensor(item.name, tuple(size if isinstance(size, int) else -1 for size in item.shape))
            for item in session.get_inputs()
        ]
        return True


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 - the real names
        self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]


class IHostMemory(bytes):
    __slots__ = ()

    @property
    def nbytes(self) -> int:
        return len(self)


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._content or b"timings")


class IBuilderConfig:
    def __init__(self) -> None:
        self.builder_optimization_level = 3
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.progress_monitor: Any = None
        self._profiles: list[IOptimizationProfile] = []

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert isinstance(pool, MemoryPoolType)
        assert pool_size > 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        if serialized_timing_cache and serialized_timing_cache != b"timings":
            return None
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:  # noqa: FBT001
        assert isinstance(cache, ITimingCache)
        return True

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        monitor, steps = config.progress_monitor, 4
        if not config._profiles and network._inputs:
            self._logger.log(
                ILogger.Severity.ERROR,
                "Network has dynamic or shape inputs, but no optimization profile has been defined.",
            )
            return None
        monitor.phase_start("Building", None, steps)
        for step in range(steps):
            time.sleep(float(os.environ.get("CPU_TRT_BUILD_SECONDS", "0")) / steps)
            monitor.step_complete("Building", step)
        monitor.phase_finish("Building")
        header = json.dumps({"version": __version__, "shapes": config._profiles[0]._shapes}).encode()
        return IHostMemory(_MAGIC + struct.pack("<I", len(header)) + header + network._onnx)


class ICudaEngine:
    def __init__(self, session: ort.InferenceSession, shapes: dict[str, Any]) -> None:
        self._session, self._shapes = session, shapes
        self._inputs = {item.name: item for item in session.get_inputs()}
        self._outputs = {item.name: item for item in session.get_outputs()}
        self._names = [*self._inputs, *self._outputs]

    @property
    def num_io_tensors(self) -> int:
        return len(self._names)

    def get_tensor_name(self, index: int) -> str:
        return str(self._names[index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        if name not in self._names:
            return TensorIOMode.NONE
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        kind = {**self._inputs, **self._outputs}[name].type
        return {"tensor(uint8)": DataType.UINT8, "tensor(float)": DataType.FLOAT, "tensor(float16)": DataType.HALF}[
            kind
        ]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        item = {**self._inputs, **self._outputs}[name]
        return tuple(size if isinstance(size, int) else -1 for size in item.shape)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert profile_index == 0
        return [tuple(shape) for shape in self._shapes[name]]

    def create_execution_context(self) -> IExecutionContext | None:
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine
        self._shape: dict[str, tuple[int, ...]] = {}
        self._address: dict[str, int] = {}
        self._busy = False
        self._kept: list[Any] = []  # a graph calls them again

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert isinstance(stream_handle, int)
        return profile_index == 0

    def set_input_shape(self, name: str, shape: Any) -> bool:
        smallest, _, largest = self.engine._shapes[name]
        if not all(low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)):
            return False
        self._shape[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._address[name] = memory
        return name in self.engine._names

    def infer_shapes(self) -> list[str]:
        return [name for name in self.engine._inputs if name not in self._shape]

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert isinstance(stream_handle, int)
        assert not self._busy, "an execution context was used by two threads at once"
        self._busy = True
        if set(self._address) != set(self.engine._names) or self.infer_shapes():
            return False
        shape, address = dict(self._shape), dict(self._address)

        def work(_: object) -> None:
            feeds = {
                name: _view(address[name], shape[name], item.type).copy() for name, item in self.engine._inputs.items()
            }
            answers = self.engine._session.run(None, feeds)
            error = float(os.environ.get("CPU_TRT_ERROR", "0"))
            for (name, item), answer in zip(self.engine._outputs.items(), answers, strict=True):
                _view(address[name], answer.shape, item.type)[...] = answer + np.asarray(error, answer.dtype)

        # on the stream, so that a graph records it and does not run it
        function = _HostFunction(partial(_undisturbed, work))
        self._kept.append(function)
        code = ctypes.CDLL("libcuda.so.1").cuLaunchHostFunc(ctypes.c_void_p(stream_handle), function, None)
        self._busy = False
        return bool(code == 0)


def _undisturbed(work: Callable[[object], None], data: object) -> None:
    """Do the work as a driver's own thread would, which no signal reaches: an interrupt comes after it, not lost.

    Called back from C in the main thread, it would end the work, and nobody would ever hear of it.
    """
    try:
        work(data)
    except KeyboardInterrupt:
        work(data)
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM)).start()


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            return _engine(bytes(serialized_engine))
        except Exception as exc:  # noqa: BLE001 - the real one gives None, whatever it was
            self._logger.log(ILogger.Severity.ERROR, f"Error in deserialize: {exc}")  # noqa: G004 - no logging
            return None


def _engine(content: bytes) -> ICudaEngine:
    if not content.startswith(_MAGIC):
        raise ValueError("magicTag Failed")
    (size,) = struct.unpack_from("<I", content, len(_MAGIC))
    start = len(_MAGIC) + 4
    header = json.loads(content[start : start + size])
    if header["version"] != __version__:
        raise ValueError(f"The engine plan file was built with {header['version']}, this is {__version__}")
    return ICudaEngine(_session(content[start + size :]), header["shapes"])


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _view(address: int, shape: tuple[int, ...], kind: str) -> np.ndarray:
    dtype = np.dtype({"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(float16)": np.float16}[kind])
    size = int(np.prod(shape)) * dtype.itemsize
    memory = (ctypes.c_uint8 * size).from_address(address)
    return np.asarray(np.ctypeslib.as_array(memory).view(dtype).reshape(shape))
