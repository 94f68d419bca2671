"""The bundle is whole, and the runtime that is asked for answers its golden tiles as torch did."""

from __future__ import annotations

from collections.abc import Iterator

from agent.bundles import open_bundle
from agent.errors import BundleError, RuntimeUnavailableError
from agent.health.checks.finding import Device, Finding
from agent.infer.runtimes import open_trusted


def check(device: Device) -> Iterator[Finding]:
    """See the module.

    Raises:
        CrackscoutError: the bundle cannot be used, and no runtime answers as it should.
    """
    runtime = device.settings.runtime
    bundle = open_bundle(device.settings.bundle)
    yield Finding("bundle", "ok", f"{bundle.manifest.name} {bundle.sha256[:12]}, every file is the manifest's")
    try:
        opened = open_trusted(runtime.name, bundle, variant=runtime.variant, may_degrade=True)
    except (BundleError, RuntimeUnavailableError) as exc:
        yield Finding("runtime", "fail", str(exc))
        return
    name = f"{opened.backend.runtime} {opened.backend.variant}"
    if opened.degraded:
        yield Finding("runtime", "warn", f"{opened.degraded}; {name} would stand in", "see runtime.name and .variant")
    else:
        yield Finding("runtime", "ok", f"{name} answers the golden tiles as torch did")
