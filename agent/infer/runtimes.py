"""The runtimes by the name that a settings file gives them, and how one comes to be relied on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import assert_never

from agent.contract.bundle import Bundle, Precision
from agent.contract.engine import BuildOptions
from agent.errors import BundleError, EngineError, InferenceError, RuntimeUnavailableError
from agent.infer.backend import Backend, RuntimeName
from agent.infer.engine_cache import EngineCache
from agent.infer.golden import distrust
from agent.infer.onnx_runtime import OnnxRuntime
from agent.infer.openvino import OpenVino
from agent.infer.settings import EngineSettings

if TYPE_CHECKING:
    from agent.infer.tensorrt.opening import Engines, Tell


@dataclass(frozen=True, slots=True)
class Opened:
    """A runtime that answers the bundle's golden tiles as torch did."""

    backend: Backend
    degraded: str | None = None  # why it is not the one that was asked for


def engines_of(bundle: Bundle, *, variant: Precision, settings: EngineSettings, certified: bool = True) -> Engines:
    """Return a bundle's TensorRT engines on this machine, there or to be built.

    Raises:
        RuntimeUnavailableError: no GPU, or no TensorRT.
        BundleError: the bundle lacks the variant, or (if it is to be `certified`) does not certify it for TensorRT.
    """
    from agent.infer.tensorrt.opening import Engines  # noqa: PLC0415 - what hardly any start needs

    return Engines(
        bundle=bundle,
        variant=variant,
        cache=EngineCache(settings.cache),
        options=BuildOptions(workspace_mib=settings.workspace_mib, optimization_level=settings.optimization_level),
        timeout_s=settings.timeout_s,
        certified=certified,
    )


def resolved(
    name: RuntimeName, bundle: Bundle, *, variant: Precision, engine: EngineSettings, may_build: bool
) -> RuntimeName:
    """Say which runtime `auto` is on this machine; every other name stays what it is.

    Args:
        name: of the runtime.
        bundle: that it is for.
        variant: of the networks.
        engine: of TensorRT.
        may_build: whether TensorRT may be chosen where its engines are still to be built.
    """
    if name != "auto":
        return name
    try:
        engines = engines_of(bundle, variant=variant, settings=engine)
    except (BundleError, RuntimeUnavailableError):
        return "onnxruntime"
    return "tensorrt" if may_build or engines.there() else "onnxruntime"


def open_backend(
    name: RuntimeName,
    bundle: Bundle,
    *,
    variant: Precision = "fp32",
    workers: int = 1,
    engine: EngineSettings | None = None,
    tell: Tell = lambda _: None,
    certified: bool = True,
) -> Backend:
    """Load a bundle on a runtime.

    Args:
        name: of the runtime.
        bundle: with the variant.
        variant: of both networks.
        workers: threads that will share it.
        engine: of TensorRT; None takes the defaults.
        tell: hears of the progress of a build.
        certified: build no engine that the bundle's certificate does not cover.

    Raises:
        RuntimeUnavailableError: this machine does not have it.
        BundleError: the bundle lacks the variant, or holds a graph that the runtime refuses.
        EngineError: TensorRT cannot build its engines.
    """
    engine = engine or EngineSettings()
    match resolved(name, bundle, variant=variant, engine=engine, may_build=False):
        case "onnxruntime":
            return OnnxRuntime(bundle, variant=variant)
        case "onnxruntime-cuda":
            return OnnxRuntime(bundle, variant=variant, provider="cuda")
        case "openvino":
            return OpenVino(bundle, variant=variant, streams=workers)
        case "tensorrt":
            engines = engines_of(bundle, variant=variant, settings=engine, certified=certified)
            return engines.open(workers=workers, cuda_graph=engine.cuda_graph, tell=tell)
        case "auto":
            raise AssertionError("auto was resolved")
        case unknown:
            assert_never(unknown)


def open_here(
    name: RuntimeName,
    bundle: Bundle,
    *,
    variant: Precision = "fp32",
    engine: EngineSettings | None = None,
    tell: Tell = lambda _: None,
    certified: bool = True,
) -> Backend | None:
    """Load a bundle on a runtime; None where this machine does not have it.

    Raises:
        BundleError: see `open_backend`.
        EngineError: see `open_backend`.
        InferenceError: the GPU failed.
    """
    try:
        return open_backend(name, bundle, variant=variant, engine=engine, tell=tell, certified=certified)
    except RuntimeUnavailableError:
        return None


def open_trusted(
    name: RuntimeName,
    bundle: Bundle,
    *,
    variant: Precision = "fp32",
    workers: int = 1,
    engine: EngineSettings | None = None,
    tell: Tell = lambda _: None,
    may_degrade: bool,
) -> Opened:
    """Load a bundle on a runtime and hold its answers to the golden tiles against torch's.

    Args:
        name: see `open_backend`.
        bundle: see `open_backend`.
        variant: see `open_backend`.
        workers: see `open_backend`.
        engine: see `open_backend`.
        tell: see `open_backend`.
        may_degrade: where the runtime is absent or answers wrongly, take the reference, fp32 on ONNX Runtime, and say
            why. A flight had better go on; a replay must be what it was asked to be.

    Raises:
        RuntimeUnavailableError: this machine does not have it, and it may not degrade.
        BundleError: it cannot be loaded or answers wrongly and may not degrade, or the reference does so itself.
        EngineError: TensorRT cannot build its engines, and it may not degrade.
    """
    try:
        backend = open_backend(name, bundle, variant=variant, workers=workers, engine=engine, tell=tell)
        return Opened(_trusted(backend, bundle, name, variant))
    except (BundleError, EngineError, InferenceError, RuntimeUnavailableError) as exc:
        if not may_degrade or (name, variant) == ("onnxruntime", "fp32"):
            raise
        opened = open_trusted("onnxruntime", bundle, may_degrade=False)
        return Opened(opened.backend, degraded=str(exc))


def _trusted(backend: Backend, bundle: Bundle, name: RuntimeName, variant: Precision) -> Backend:
    reason = distrust(bundle, backend)
    if reason is not None:
        raise BundleError(f"{bundle.folder}: refused: {reason}; {_advice(name, variant)}")
    return backend


def _advice(name: RuntimeName, variant: Precision) -> str:
    if (name, variant) == ("onnxruntime", "fp32"):
        return "copy the bundle again, or export it again"
    return "take runtime.name: onnxruntime with runtime.variant: fp32, or export the bundle again"
