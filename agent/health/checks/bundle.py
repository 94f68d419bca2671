"""The bundle is whole, and the runtime that is asked for answers its golden tiles as torch did."""

from __future__ import annotations

from collections.abc import Iterator

from agent.bundles import open_bundle
from agent.contract.bundle import Bundle
from agent.errors import BundleError, EngineError, InferenceError, RuntimeUnavailableError
from agent.health.checks.finding import Device, Finding
from agent.infer.runtimes import engines_of, open_trusted, resolved
from agent.settings import Settings

SEE = "see runtime.name and .variant"


def check(device: Device) -> Iterator[Finding]:
    """See the module.

    Raises:
        CrackscoutError: the bundle cannot be used, and no runtime answers as it should.
    """
    settings = device.settings
    runtime = settings.runtime
    bundle = open_bundle(settings.bundle)
    yield Finding("bundle", "ok", f"{bundle.manifest.name} {bundle.sha256[:12]}, every file is the manifest's")
    name, variant = (
        resolved(runtime.name, bundle, variant=runtime.variant, engine=runtime.engine, may_build=True),
        runtime.variant,
    )
    if name == "tensorrt":
        yield _tensorrt(bundle, settings)
        name, variant = "onnxruntime", "fp32"  # what stands in for it
    try:
        opened = open_trusted(name, bundle, variant=variant, may_degrade=True)
    except (BundleError, RuntimeUnavailableError) as exc:
        yield Finding("runtime", "fail", str(exc))
        return
    told = f"{opened.backend.runtime} {opened.backend.variant}"
    if opened.degraded:
        yield Finding("runtime", "warn", f"{opened.degraded}; {told} would stand in", SEE)
    else:
        yield Finding("runtime", "ok", f"{told} answers the golden tiles as torch did")


def _tensorrt(bundle: Bundle, settings: Settings) -> Finding:
    """Look at the engines that there are; to build them takes minutes and is no business of a check."""
    runtime = settings.runtime
    try:
        engines = engines_of(bundle, variant=runtime.variant, settings=runtime.engine)
        if engines.there():
            backend = engines.open_existing(workers=1, cuda_graph=False)
            told = f"{backend.runtime} {backend.variant}"
            backend.close()
            return Finding("runtime", "ok", f"{told} answers the golden tiles as torch did")
        engines.cache.check_writable()
    except EngineError as exc:
        return Finding("runtime", "warn", f"{exc}; a run begins on ONNX Runtime", "see runtime.engine")
    except (BundleError, InferenceError, RuntimeUnavailableError) as exc:
        return Finding("runtime", "warn", f"{exc}; ONNX Runtime would stand in", SEE)
    words = (
        f"crack-export engine {bundle.folder} --cache {runtime.engine.cache} --precision {runtime.variant} "
        f"--workspace-mib {runtime.engine.workspace_mib} --optimization-level {runtime.engine.optimization_level}"
    )
    text = "TensorRT's engines are yet to be built: a run begins on ONNX Runtime and builds them meanwhile, for minutes"
    return Finding("runtime", "warn", text, f"{words} builds them beforehand")
