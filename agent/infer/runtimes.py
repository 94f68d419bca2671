"""The runtimes by the name that a settings file gives them, and how one comes to be relied on."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import assert_never

from agent.contract.bundle import Bundle, Precision
from agent.errors import BundleError, RuntimeUnavailableError
from agent.infer.backend import Backend, RuntimeName
from agent.infer.golden import distrust
from agent.infer.onnx_runtime import OnnxRuntime
from agent.infer.openvino import OpenVino


@dataclass(frozen=True, slots=True)
class Opened:
    """A runtime that answers the bundle's golden tiles as torch did."""

    backend: Backend
    degraded: str | None = None  # why it is not the one that was asked for


def open_backend(name: RuntimeName, bundle: Bundle, *, variant: Precision = "fp32", workers: int = 1) -> Backend:
    """Load a bundle on a runtime.

    Args:
        name: of the runtime.
        bundle: with the variant.
        variant: of both networks.
        workers: threads that will share it.

    Raises:
        RuntimeUnavailableError: this machine does not have it.
        BundleError: the bundle lacks the variant, or holds a graph that the runtime refuses.
    """
    match name:
        case "onnxruntime":
            return OnnxRuntime(bundle, variant=variant)
        case "onnxruntime-cuda":
            return OnnxRuntime(bundle, variant=variant, provider="cuda")
        case "openvino":
            return OpenVino(bundle, variant=variant, streams=workers)
        case _:
            assert_never(name)


def open_trusted(
    name: RuntimeName, bundle: Bundle, *, variant: Precision = "fp32", workers: int = 1, may_degrade: bool
) -> Opened:
    """Load a bundle on a runtime and hold its answers to the golden tiles against torch's.

    Args:
        name: see `open_backend`.
        bundle: see `open_backend`.
        variant: see `open_backend`.
        workers: see `open_backend`.
        may_degrade: where the runtime is absent or answers wrongly, take the reference, fp32 on ONNX Runtime, and say
            why. A flight had better go on; a replay must be what it was asked to be.

    Raises:
        RuntimeUnavailableError: this machine does not have it, and it may not degrade.
        BundleError: it cannot be loaded or answers wrongly and may not degrade, or the reference does so itself.
    """
    try:
        return Opened(_tried(name, bundle, variant, workers))
    except (BundleError, RuntimeUnavailableError) as exc:
        if not may_degrade or (name, variant) == ("onnxruntime", "fp32"):
            raise
        opened = open_trusted("onnxruntime", bundle, may_degrade=False)
        return Opened(opened.backend, degraded=str(exc))


def _tried(name: RuntimeName, bundle: Bundle, variant: Precision, workers: int) -> Backend:
    backend = open_backend(name, bundle, variant=variant, workers=workers)
    reason = distrust(bundle, backend)
    if reason is not None:
        raise BundleError(f"{bundle.folder}: refused: {reason}; {_advice(name, variant)}")
    return backend


def _advice(name: RuntimeName, variant: Precision) -> str:
    if (name, variant) == ("onnxruntime", "fp32"):
        return "copy the bundle again, or export it again"
    return "take runtime.name: onnxruntime with runtime.variant: fp32, or export the bundle again"
