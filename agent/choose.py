"""Chooses what infers a run from its settings: which runtime, on which detector, and what may take over later."""

from __future__ import annotations

import logging
import os
from typing import Final, Literal

from agent.contract.bundle import Bundle
from agent.detect import Detector
from agent.detect.memory import MEBIBYTE, MemoryBudget
from agent.detect.on_gpu import GpuDetector
from agent.errors import BundleError, EngineError, InferenceError, RuntimeUnavailableError
from agent.infer.backend import Backend
from agent.infer.cuda.kernels import FrameKernels
from agent.infer.engine_process import log_progress
from agent.infer.runtimes import engines_of, open_trusted, resolved
from agent.infer.tensorrt.backend import TensorRt
from agent.infer.tensorrt.opening import Engines
from agent.inference import Better, Detects, Inference, Serving
from agent.settings import Settings

NO_ENGINE: Final = "TensorRT's engine is being built"

logger = logging.getLogger(__name__)


def open_inference(settings: Settings, bundle: Bundle, *, mode: Literal["live", "replay"]) -> Inference:
    """Return what infers a run.

    Args:
        settings: of the device.
        bundle: whose networks run.
        mode: a live run begins at once on what there is, a replay waits for what it asks for.

    Raises:
        CrackscoutError: the runtime is not to be had, and the mode may not do without.
    """
    runtime = settings.runtime
    live = mode == "live"
    name = resolved(runtime.name, bundle, variant=runtime.variant, engine=runtime.engine, may_build=live)
    if name == "tensorrt" and live:
        return _live_tensorrt(settings, bundle)
    opened = open_trusted(
        name,
        bundle,
        variant=runtime.variant,
        workers=workers(settings),
        engine=runtime.engine,
        tell=log_progress,
        may_degrade=live,
    )
    if opened.degraded:
        logger.warning("degraded to %s: %s", opened.backend.runtime, opened.degraded)
    return Inference(serving(opened.backend, bundle, settings), degraded=opened.degraded)


def workers(settings: Settings) -> int:
    """Return how many tiles are inferred at the same time."""
    return settings.runtime.workers or len(os.sched_getaffinity(0))


def _live_tensorrt(settings: Settings, bundle: Bundle) -> Inference:
    """Begin on TensorRT if its engines are there and good; else on ONNX Runtime while they are built."""
    runtime = settings.runtime
    reference = serving(open_trusted("onnxruntime", bundle, may_degrade=False).backend, bundle, settings)
    engines: Engines | None = None
    reason = NO_ENGINE
    try:
        engines = engines_of(bundle, variant=runtime.variant, settings=runtime.engine)
        if engines.there():
            backend = engines.open_existing(workers=workers(settings), cuda_graph=runtime.engine.cuda_graph)
            return Inference(reference, ahead=serving(backend, bundle, settings))
    except EngineError as exc:  # now in quarantine
        reason = f"{NO_ENGINE} again: {exc}"
    except (BundleError, InferenceError, RuntimeUnavailableError) as exc:
        engines, reason = None, str(exc)
    logger.warning("degraded to %s: %s", reference.runtime, reason)
    better = _when_built(engines, settings, bundle, reason=reason) if engines else None
    return Inference(reference, degraded=reason, better=better)


def _when_built(engines: Engines, settings: Settings, bundle: Bundle, *, reason: str) -> Better:
    def prepare() -> Serving:
        engines.build(log_progress)
        backend = engines.open(
            workers=workers(settings), cuda_graph=settings.runtime.engine.cuda_graph, tell=log_progress
        )
        return serving(backend, bundle, settings)

    return Better(reason=reason, prepare=prepare, stop=engines.builder.stop)


def serving(backend: Backend, bundle: Bundle, settings: Settings) -> Serving:
    """Return what detects with a backend as the settings ask for it; to close it closes TensorRT's backend too.

    Raises:
        InferenceError: the GPU failed, or has not enough memory.
    """
    if not isinstance(backend, TensorRt):
        return Serving(detector=_detector(backend, bundle, settings), runtime=backend.runtime, variant=backend.variant)
    try:
        detector = _with_gpu(backend, bundle, settings)
    except BaseException:
        backend.close()  # nobody else would give the GPU back
        raise
    return Serving(detector=_WithBackend(detector, backend), runtime=backend.runtime, variant=backend.variant)


def _with_gpu(backend: TensorRt, bundle: Bundle, settings: Settings) -> Detects:
    if settings.runtime.engine.frame_on_gpu:
        try:
            return _on_gpu(backend, bundle, settings)
        except (EngineError, RuntimeUnavailableError) as exc:
            logger.warning("tiles are cut on the CPU: %s", exc)
    return _detector(backend, bundle, settings)


def _detector(backend: Backend, bundle: Bundle, settings: Settings) -> Detector:
    detect = settings.detect
    return Detector(
        backend,
        bundle.manifest,
        gate=detect.gate,
        gate_threshold=detect.gate_threshold,
        pre_gate=detect.pre_gate,
        memory=MemoryBudget(detect.memory_mb * MEBIBYTE),
        workers=workers(settings),
    )


def _on_gpu(backend: TensorRt, bundle: Bundle, settings: Settings) -> GpuDetector:
    detect, driver = settings.detect, backend.driver
    driver.attach()
    stream = driver.stream()
    gate = backend.gate_engine.context(stream) if backend.gate_engine and detect.gate else None
    return GpuDetector(
        driver,
        FrameKernels(driver, cache=settings.runtime.engine.cache),
        segmenter=backend.segmenter.context(stream),
        gate=gate,
        stream=stream,
        manifest=bundle.manifest,
        gate_threshold=detect.gate_threshold,
        pre_gate=detect.pre_gate,
        memory=MemoryBudget(detect.memory_mb * MEBIBYTE),
    )


class _WithBackend:
    """A detector that takes its backend with it when it closes."""

    def __init__(self, detector: Detects, backend: TensorRt) -> None:
        self.detect = detector.detect
        self._detector, self._backend = detector, backend

    def close(self) -> None:
        self._detector.close()
        self._backend.close()
