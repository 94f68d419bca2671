"""What is installed: version, shipped bundle, runtimes."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib import metadata

from agent.bundles import shipped_bundles
from agent.contract.bundle import load_bundle
from agent.errors import RuntimeUnavailableError
from agent.infer.tensorrt.library import find_tensorrt


def version() -> str:
    """Return the version of the installed distribution."""
    return metadata.version("crackscout")


def _runtimes() -> list[str]:
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu", "openvino"):
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    with suppress(RuntimeUnavailableError):  # a package without a GPU is no runtime
        found.append(f"tensorrt {find_tensorrt().__version__}")
    return found


def about() -> str:
    """Return one line each for version, shipped bundles, runtimes and Python."""
    bundles = [f"{name} {load_bundle(folder).sha256[:12]}" for name, folder in shipped_bundles().items()]
    return "\n".join(
        [
            f"crackscout {version()}",
            f"bundles: {', '.join(bundles) or 'none shipped'}",
            f"runtimes: {', '.join(_runtimes())}",
            f"python {platform.python_version()} on {platform.machine()}",
        ]
    )
