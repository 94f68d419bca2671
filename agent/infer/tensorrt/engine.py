"""One engine: a plan made executable, held to what the manifest promises, with a context for each worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from agent.contract.arrays import UInt8
from agent.errors import EngineError, InferenceError
from agent.infer.cuda.driver import CudaDriver, Pointer
from agent.infer.tensorrt.library import Log

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of an engine: what one tile takes or gives."""

    dtype: DTypeLike
    shape: tuple[int, ...]  # without the batch

    @property
    def nbytes(self) -> int:
        """Bytes of one tile."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


class Engine:
    """A deserialized plan.

    Args:
        plan: of a hash that was checked: a plan is executable code.
        name: what errors call it.
        takes: the one input.
        gives: the outputs, in the graph's order.

    Raises:
        EngineError: TensorRT refuses the plan, or its tensors are not these.
    """

    def __init__(self, plan: bytes, *, name: str, takes: TensorSpec, gives: Sequence[TensorSpec]) -> None:
        import tensorrt as trt  # noqa: PLC0415 - only where it was found

        self.name = name
        self.takes, self.gives = takes, tuple(gives)
        self._log = Log()
        self._runtime: trt.Runtime = trt.Runtime(self._log.logger)
        self._runtime.engine_host_code_allowed = False  # no code of the plan runs on the CPU
        engine: trt.ICudaEngine | None = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(f"{name}: TensorRT cannot load the engine: {self._log.reason}")
        self._engine: trt.ICudaEngine = engine
        self._input, self._outputs = self._names()
        shapes = self._engine.get_tensor_profile_shape(self._input, 0)
        self.largest_batch = int(next(iter(shapes[2])))

    def context(self, stream: int) -> Context:
        """Make a context; one thread at a time may use it.

        Raises:
            InferenceError: the GPU has no memory for it.
        """
        context: trt.IExecutionContext | None = self._engine.create_execution_context()
        if context is None or not context.set_optimization_profile_async(0, stream):
            raise InferenceError(f"{self.name}: no execution context: {self._log.reason}")
        return Context(self, context, self._input, self._outputs, self._log)

    def _names(self) -> tuple[str, tuple[str, ...]]:
        import tensorrt as trt  # noqa: PLC0415 - only where it was found

        kinds = {trt.DataType.UINT8: np.uint8, trt.DataType.FLOAT: np.float32, trt.DataType.HALF: np.float16}
        found: dict[bool, list[tuple[str, TensorSpec]]] = {True: [], False: []}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            kind = kinds.get(self._engine.get_tensor_dtype(name), np.void)
            spec = TensorSpec(kind, tuple(self._engine.get_tensor_shape(name))[1:])
            found[self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT].append((name, spec))
        inputs, outputs = found[True], found[False]
        if [spec for _, spec in inputs] != [self.takes] or [spec for _, spec in outputs] != list(self.gives):
            raise EngineError(
                f"{self.name}: the engine takes {inputs} and gives {outputs}, but the manifest says {self.takes} and "
                f"{list(self.gives)}; export the bundle again"
            )
        return inputs[0][0], tuple(name for name, _ in outputs)


class Context:
    """An execution context: one thread at a time."""

    def __init__(
        self, engine: Engine, context: trt.IExecutionContext, input_name: str, outputs: tuple[str, ...], log: Log
    ) -> None:
        self.engine = engine
        self._context: trt.IExecutionContext = context
        self._input, self._outputs, self._log = input_name, outputs, log

    @property
    def largest_batch(self) -> int:
        """Tiles in one call, at most."""
        return self.engine.largest_batch

    def enqueue(self, count: int, tiles: Pointer, answers: Sequence[Pointer], stream: int) -> None:
        """Put the network's work on `count` tiles on a stream.

        Args:
            count: tiles, 1 to the engine's largest batch.
            tiles: (count, ...) on the GPU, 256-byte aligned.
            answers: where each output goes on the GPU, 256-byte aligned.
            stream: of the driver.

        Raises:
            InferenceError: TensorRT refuses; nothing may be read from `answers` then, it would be an older answer.
        """
        addresses = dict(zip((self._input, *self._outputs), (tiles, *answers), strict=True))
        accepted = self._context.set_input_shape(self._input, (count, *self.engine.takes.shape))
        for name, pointer in addresses.items():
            accepted = self._context.set_tensor_address(name, int(pointer)) and accepted
        missing = self._context.infer_shapes() if accepted else [self._input]
        if missing or not self._context.execute_async_v3(int(stream)):
            raise InferenceError(f"{self.engine.name}: TensorRT refused {count} tiles: {self._log.reason}")


class Lane:
    """What one worker needs to run an engine on arrays: a context, a stream, memory on both sides, graphs.

    Args:
        engine: to run.
        driver: the GPU; the calling thread is attached.
        cuda_graph: record each batch size once and replay it: less work for the CPU per call.
    """

    def __init__(self, engine: Engine, driver: CudaDriver, *, cuda_graph: bool) -> None:
        self._engine, self._driver, self._cuda_graph = engine, driver, cuda_graph
        self._stream = driver.stream()
        self._context = engine.context(self._stream)
        batch = engine.largest_batch
        self._tiles = driver.allocate(batch * engine.takes.nbytes)
        self._answers = [driver.allocate(batch * spec.nbytes) for spec in engine.gives]
        self._tiles_here = driver.pinned(batch * engine.takes.nbytes)
        self._answers_here = [driver.pinned(batch * spec.nbytes) for spec in engine.gives]
        # a graph is bound to its context's state, so each has a context of its own
        self._graphs: dict[int, tuple[Context, int]] = {}

    def run(self, tiles: UInt8) -> list[NDArray[Any]]:
        """Return fresh arrays, one per output; the calling thread is attached.

        Raises:
            InferenceError: CUDA or TensorRT failed.
        """
        specs, count = self._engine.gives, len(tiles)
        answers: list[NDArray[Any]] = [np.empty((count, *spec.shape), spec.dtype) for spec in specs]
        for start in range(0, count, self._engine.largest_batch):
            part = tiles[start : start + self._engine.largest_batch]
            nbytes = part.nbytes
            self._tiles_here[:nbytes].reshape(part.shape)[...] = part
            self._run_batch(len(part))
            for answer, here, spec in zip(answers, self._answers_here, specs, strict=True):
                into = answer[start : start + len(part)]
                into[...] = here[: into.nbytes].view(spec.dtype).reshape(into.shape)
        return answers

    def _run_batch(self, count: int) -> None:
        if not self._cuda_graph:
            self._put(self._context, count)
        elif count in self._graphs:
            self._driver.replay(self._graphs[count][1], self._stream)
        else:
            context = self._engine.context(self._stream)
            self._put(context, count)  # the first run of a shape allocates, which a graph must not record
            self._driver.wait(self._stream)
            self._graphs[count] = (context, self._driver.captured(self._stream, lambda: self._put(context, count)))
        self._driver.wait(self._stream)

    def _put(self, context: Context, count: int) -> None:
        driver, stream, engine = self._driver, self._stream, self._engine
        driver.upload(self._tiles, self._tiles_here[: count * engine.takes.nbytes], stream)
        context.enqueue(count, self._tiles, self._answers, stream)
        for here, pointer, spec in zip(self._answers_here, self._answers, engine.gives, strict=True):
            driver.download(here[: count * spec.nbytes], pointer, stream)
