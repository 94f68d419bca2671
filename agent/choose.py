"""Chooses what infers a run from its settings: which runtime, on which detector, and what may take over later."""

from __future__ import annotations

import logging
import os
from typing import Any, Final, Literal

from agent.contract.bundle import Bundle
from agent.detect import Detector
from agent.detect.memory import MEBIBYTE, MemoryBudget
from agent.detect.on_gpu import GpuDetector
from agent.errors import BundleError, EngineError, InferenceError, RuntimeUnavailableError
from agent.infer.backend import Backend
from agent.infer.cuda.kernels import FrameKernels
from agent.infer.golden import distrust
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
        tell=_told,
        may_degrade=live,
    )
    if opened.degraded:
        logger.warning("degraded to %s: %s", opened.backend.runtime, opened.degraded)
    return Inference(_serving(opened.backend, bundle, settings), degraded=opened.degraded)


def workers(settings: Settings) -> int:
    """Return how many tiles are inferred at the same time."""
    return settings.runtime.workers or len(os.sched_getaffinity(0))


def _live_tensorrt(settings: Settings, bundle: Bundle) -> Inference:
    """Begin on TensorRT if its engines are there and good; else on ONNX Runtime while they are built."""
    runtime = settings.runtime
    reason = NO_ENGINE
    better: Better | None = None
    try:
        engines = engines_of(bundle, variant=runtime.variant, settings=runtime.engine)
        better = _when_built(engines, settings, bundle)
        if engines.there():
            backend = engines.open_existing(workers=workers(settings), cuda_graph=runtime.engine.cuda_graph)
            return Inference(_serving(backend, bundle, settings))
    except EngineError as exc:  # now in quarantine: it is built again
        logger.warning("an engine was refused: %s", exc)
    except (BundleError, InferenceError, RuntimeUnavailableError) as exc:
        reason, better = str(exc), None
    reference = open_trusted("onnxruntime", bundle, may_degrade=False).backend
    logger.warning("degraded to %s: %s", reference.runtime, reason)
    return Inference(_serving(reference, bundle, settings), degraded=reason, better=better)


def _when_built(engines: Engines, settings: Settings, bundle: Bundle) -> Better:
    def prepare() -> Serving:
        engines.build(_told)
        backend = engines.open(workers=workers(settings), cuda_graph=settings.runtime.engine.cuda_graph, tell=_told)
        distrusted = distrust(bundle, backend)
        if distrusted:
            backend.close()
            raise BundleError(f"{bundle.folder}: refused: {distrusted}")
        return _serving(backend, bundle, settings)

    return Better(reason=NO_ENGINE, prepare=prepare, stop=engines.builder.stop)


def _serving(backend: Backend, bundle: Bundle, settings: Settings) -> Serving:
    detect = settings.detect
    if isinstance(backend, TensorRt) and settings.runtime.engine.frame_on_gpu:
        try:
            on_gpu = _on_gpu(backend, bundle, settings)
        except (EngineError, RuntimeUnavailableError) as exc:
            logger.warning("tiles are cut on the CPU: %s", exc)
        else:
            return Serving(detector=_WithBackend(on_gpu, backend), runtime=backend.runtime, variant=backend.variant)
    detector: Detects = Detector(
        backend,
        bundle.manifest,
        gate=detect.gate,
        gate_threshold=detect.gate_threshold,
        pre_gate=detect.pre_gate,
        memory=MemoryBudget(detect.memory_mb * MEBIBYTE),
        workers=workers(settings),
    )
    if isinstance(backend, TensorRt):
        detector = _WithBackend(detector, backend)
    return Serving(detector=detector, runtime=backend.runtime, variant=backend.variant)


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


def _told(event: dict[str, Any]) -> None:
    if event["stage"] == "build" and "done" not in event:
        logger.warning("building TensorRT's engine of %s; this takes minutes", event.get("network"))
    elif event["stage"] in {"built", "rebuild", "quarantine"}:
        logger.info("engine: %s", ", ".join(f"{name} {value}" for name, value in event.items()))
    else:
        logger.debug("engine: %s", event)
