"""Builds a bundle's TensorRT engines on this device: a thin front end of `agent.infer.engine_build`. Needs no torch."""

from __future__ import annotations

import logging
from typing import Any, cast, get_args

from agent import progress
from agent.bundles import open_bundle
from agent.contract.bundle import Precision
from agent.errors import ConfigError
from agent.infer.runtimes import engines_of
from agent.infer.settings import EngineSettings

STEPS = 100  # of the bar, per network

logger = logging.getLogger(__name__)


def build(bundle_name: str, precision: str, settings: EngineSettings, *, shown: bool) -> list[dict[str, Any]]:
    """Build what the cache does not hold, and return each engine's file, network and key.

    Args:
        bundle_name: a folder, or a shipped bundle's name.
        precision: which variant of the networks.
        settings: where engines are kept, and how they are built.
        shown: draw a bar on the terminal.

    Raises:
        ConfigError: there is no such precision.
        BundleError: the bundle is altered, or lacks or does not certify the variant.
        RuntimeUnavailableError: no GPU, or no TensorRT.
        EngineError: a build failed.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"--precision {precision!r}: there are {', '.join(get_args(Precision))}")
    variant = cast("Precision", precision)
    bundle = open_bundle(bundle_name)
    engines = engines_of(bundle, variant=variant, settings=settings)
    files = bundle.manifest.graphs(variant)
    done = 0
    with progress.bar("building", STEPS * len(files), shown=shown) as advance:

        def tell(event: dict[str, Any]) -> None:
            nonlocal done
            before = STEPS * [ref.file for ref in files].index(event["network"])
            share = event["done"] / event["of"] if "done" in event else event["stage"] in {"built", "ready"}
            for _ in range(before + int(STEPS * share) - done):
                advance()
                done += 1
            if event["stage"] == "quarantine":
                logger.warning("a faulty engine was put aside: %s", event["reason"])

        engines.build(tell)
    return [
        {"network": ref.file, "engine": str(engines.cache.path(key)), "key": key.model_dump(mode="json", by_alias=True)}
        for ref, key in zip(files, engines.keys(), strict=True)
    ]
