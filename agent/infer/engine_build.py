"""`python -m agent.infer.engine_build`: build one engine into the cache, in a process of its own.

A build takes minutes and much memory. An out-of-memory kill or a crash inside TensorRT ends this process and not the
agent, and the kernel gives its lock back. It needs TensorRT and the ONNX file, nothing of the bundle and no CUDA
package. Progress goes to stdout, one JSON object a line; the reason of a failure goes to stderr, with exit code 1 or 2.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import ValidationError

from agent.contract.bundle import Precision
from agent.contract.engine import BatchProfile, BuildOptions, EngineKey
from agent.errors import ConfigError, CrackscoutError, EngineError
from agent.infer.engine_cache import EngineCache
from agent.infer.tensorrt.library import Log, find_tensorrt, this_machine

if TYPE_CHECKING:
    import tensorrt as trt

Say = Callable[[dict[str, Any]], None]

TELL_EVERY_S: Final = 0.5
DEFAULT_TIMEOUT_S: Final = 3600.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        path = ensure_engine(
            options.onnx,
            EngineCache(options.cache),
            precision=options.precision,
            profile=_checked(BatchProfile, smallest=1, tuned=options.batch[0], largest=options.batch[1]),
            options=_checked(
                BuildOptions,
                workspace_mib=options.workspace_mib,
                optimization_level=options.optimization_level,
            ),
            timeout_s=options.timeout,
            say=_print_line,
        )
    except CrackscoutError as exc:
        print(f"engine_build: {exc}", file=sys.stderr)  # noqa: T201 - a command
        return exc.exit_code
    _print_line({"stage": "ready", "engine": str(path)})
    return 0


def ensure_engine(
    onnx: Path,
    cache: EngineCache,
    *,
    precision: Precision,
    profile: BatchProfile,
    options: BuildOptions,
    timeout_s: float,
    say: Say,
) -> Path:
    """Return the plan's path, after building it if the cache has no good one.

    Args:
        onnx: a graph with every weight inside; its precision is in its types.
        cache: where engines are kept.
        precision: of the graph, for the key.
        profile: batch sizes.
        options: what the builder is told.
        timeout_s: after this many seconds the operating system ends the process, wherever it is.
        say: hears of progress.

    Raises:
        ConfigError: the ONNX file cannot be read.
        RuntimeUnavailableError: no GPU or no TensorRT.
        EngineError: TensorRT refuses the graph, or the engine cannot be kept.
    """
    try:
        content = onnx.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{onnx}: cannot be read ({exc.strerror})") from exc
    cache.check_writable()
    library = find_tensorrt()
    key = EngineKey(
        onnx_sha256=hashlib.sha256(content).hexdigest(),
        precision=precision,
        profile=profile,
        options=options,
        machine=this_machine(library.__version__),
    )
    # the default action of SIGALRM: it ends the process even inside a call into TensorRT that never comes back
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(math.ceil(timeout_s))
    try:
        say({"stage": "lock", "key": key.digest})
        with cache.lock(key, timeout_s=timeout_s):
            if not _is_good(cache, key, say):
                _build(content, cache, key, say)
    finally:
        signal.alarm(0)
    return cache.path(key)


def build_plan(
    onnx: bytes, *, profile: BatchProfile, options: BuildOptions, timing: bytes, say: Say
) -> tuple[bytes, bytes]:
    """Return the plan of a graph, and the timings that make the next build shorter.

    Raises:
        EngineError: the parser or the builder refuses the graph; the text is TensorRT's own.
    """
    import tensorrt as trt  # noqa: PLC0415 - only where it was found

    log = Log()
    builder: trt.Builder = trt.Builder(log.logger)
    # precision lives in the graph's types: there is no flag for it in TensorRT 11
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network: trt.INetworkDefinition = builder.create_network(flags)
    parser: trt.OnnxParser = trt.OnnxParser(network, log.logger)
    say({"stage": "parse"})
    if not parser.parse(onnx):
        raise EngineError(f"TensorRT cannot read the ONNX graph: {_faults(parser) or log.reason}")
    config: trt.IBuilderConfig = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    config.builder_optimization_level = options.optimization_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    timings: trt.ITimingCache = _timings(config, timing)
    config.set_timing_cache(timings, ignore_mismatch=False)
    config.add_optimization_profile(_shapes(builder, network, profile))
    monitor = _monitor(say)  # must outlive the build
    config.progress_monitor = monitor
    say({"stage": "build"})
    plan: trt.IHostMemory | None = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT cannot build the engine: {log.reason}")
    kept: trt.IHostMemory = timings.serialize()
    return bytes(plan), bytes(kept)


def _build(onnx: bytes, cache: EngineCache, key: EngineKey, say: Say) -> None:
    start = time.monotonic()
    timing_file = cache.folder / _timing_name(key)
    try:
        timing = timing_file.read_bytes()
    except OSError:  # it shortens a build and is needed by none
        timing = b""
    plan, timing = build_plan(onnx, profile=key.profile, options=key.options, timing=timing, say=say)
    cache.write(key, plan, build_seconds=time.monotonic() - start)
    try:
        cache.write_file(timing_file, timing)
    except EngineError as exc:
        say({"stage": "timings", "reason": f"not kept: {exc}"})
    say({"stage": "built", "seconds": round(time.monotonic() - start, 1), "bytes": len(plan)})


def _shapes(builder: trt.Builder, network: trt.INetworkDefinition, batches: BatchProfile) -> trt.IOptimizationProfile:
    """Give every input its range of batch sizes; only the batch may vary."""
    profile: trt.IOptimizationProfile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor: trt.ITensor = network.get_input(index)
        batch, *rest = tuple(tensor.shape)
        if batch != -1 or min(rest, default=1) < 1:
            raise EngineError(
                f"the input {tensor.name!r} is {(batch, *rest)}: the batch must be dynamic, and the tile's size fixed; "
                "export the bundle again"
            )
        sizes = (batches.smallest, batches.tuned, batches.largest)
        profile.set_shape(tensor.name, *((size, *rest) for size in sizes))
    return profile


def _timings(config: trt.IBuilderConfig, kept: bytes) -> trt.ITimingCache:
    """Return the timings of earlier builds, or none where their file is damaged."""
    timings: trt.ITimingCache | None = config.create_timing_cache(kept)
    empty: trt.ITimingCache = config.create_timing_cache(b"")
    return empty if timings is None else timings


def _faults(parser: trt.OnnxParser) -> str:
    texts = []
    for index in range(parser.num_errors):
        fault: trt.ParserError = parser.get_error(index)
        node = f"node {fault.node_name()!r} ({fault.node_operator()}): " if fault.node_operator() else ""
        texts.append(f"{node}{fault.desc()}")
    return "; ".join(texts)


def _monitor(say: Say) -> trt.IProgressMonitor:
    import tensorrt as trt  # noqa: PLC0415 - only where it was found

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined, unused-ignore]
        """Tells of the outermost phase; TensorRT calls it from several threads."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._lock = threading.Lock()
            self._steps: dict[str, int] = {}
            self._told = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                with self._lock:
                    self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                steps = self._steps.get(phase_name)
                now = time.monotonic()
                if steps and (now - self._told >= TELL_EVERY_S or step + 1 == steps):
                    self._told = now
                    say({"stage": "build", "phase": phase_name, "done": step + 1, "of": steps})
            return True

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._steps.pop(phase_name, None)

    return Monitor()


def _is_good(cache: EngineCache, key: EngineKey, say: Say) -> bool:
    """Say whether the cache holds the engine already; another process may have built it while we waited."""
    if not cache.holds(key):
        return False
    try:
        cache.read(key)
    except EngineError as exc:
        say({"stage": "quarantine", "reason": str(exc)})
        cache.quarantine(key)
        return False
    return True


def _timing_name(key: EngineKey) -> str:
    machine = key.machine
    facts = [machine.tensorrt, machine.cuda, machine.gpu, machine.compute_capability, machine.board]
    return f"timing-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}.cache"


def _checked(model: type[Any], **values: object) -> Any:  # noqa: ANN401 - an instance of the model
    try:
        return model(**values)
    except ValidationError as exc:
        raise ConfigError("; ".join(error["msg"].removeprefix("Value error, ") for error in exc.errors())) from exc


def _print_line(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)  # noqa: T201 - read by the process that started this one


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agent.infer.engine_build", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    default = BuildOptions()
    parser.add_argument("onnx", type=Path, help="the graph, every weight inside the file")
    parser.add_argument("--cache", type=Path, required=True, help="folder of engines")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32", help="of the graph")
    parser.add_argument(
        "--batch", type=int, nargs=2, metavar=("TUNED", "LARGEST"), default=[4, 8], help="tiles in one call"
    )
    parser.add_argument("--workspace-mib", type=int, default=default.workspace_mib)
    parser.add_argument("--optimization-level", type=int, default=default.optimization_level)
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_S, metavar="SECONDS")
    return parser


if __name__ == "__main__":
    sys.exit(main())
