"""`crack-agent selftest`: this device's runtime against the bundle's golden tiles, with nothing else loaded."""

from __future__ import annotations

from agent.bundles import open_bundle
from agent.infer.engine_process import log_progress
from agent.infer.golden import GoldenAnswers, compare_golden
from agent.infer.runtimes import open_backend
from agent.settings import Settings


def selftest(settings: Settings) -> GoldenAnswers:
    """Compare this device's runtime with torch's answers to the bundle's golden tiles.

    Raises:
        BundleError: the bundle is altered, or has no golden tiles.
        RuntimeUnavailableError: this device does not have the runtime.
        EngineError: TensorRT cannot build its engines.
    """
    bundle = open_bundle(settings.bundle)
    runtime = settings.runtime
    backend = open_backend(runtime.name, bundle, variant=runtime.variant, engine=runtime.engine, tell=log_progress)
    return compare_golden(bundle, backend)
