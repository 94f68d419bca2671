"""From a bundle to a backend that can be trusted: find the engines, build what is missing, compare with torch.

sha256 -> key -> GPU -> deserialize -> tensors -> golden tiles. Whatever fails, the faulty engines go into quarantine
and are built again once; a second failure is an error, and the caller goes on with ONNX Runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agent.contract.bundle import Bundle, Precision
from agent.contract.engine import BuildOptions, EngineGolden, EngineKey, Machine
from agent.errors import BundleError, EngineError
from agent.infer.cuda.driver import open_driver
from agent.infer.engine_cache import EngineCache
from agent.infer.engine_process import Builder, EngineBuild
from agent.infer.golden import compare_golden
from agent.infer.tensorrt.backend import TensorRt, engine_key, networks, runtime_name
from agent.infer.tensorrt.library import find_tensorrt, this_machine

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Engines:
    """A bundle's engines on this machine.

    Raises:
        RuntimeUnavailableError: no GPU, or no TensorRT.
        BundleError: the variant is not there, not certified, or failed its certificate on TensorRT, so that an engine
            of it could not be relied on.
    """

    bundle: Bundle
    variant: Precision
    cache: EngineCache
    options: BuildOptions = field(default_factory=BuildOptions)
    timeout_s: float = 3600.0
    builder: Builder = field(default_factory=Builder)
    certified: bool = True  # refuse what the certificate does not cover; False to measure it for one
    machine: Machine = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "machine", this_machine(find_tensorrt().__version__))
        refusal = self._refusal() if self.certified else None
        if refusal:
            raise BundleError(f"{self.bundle.folder}: {refusal}; take another runtime.name or runtime.variant")
        self.keys()

    def keys(self) -> list[EngineKey]:
        """Return one key per network."""
        return [engine_key(self.bundle, net, self.variant, self.machine, self.options) for net in networks(self.bundle)]

    def there(self) -> bool:
        """Say whether the cache holds every engine; whether they are good is seen when they are loaded."""
        return all(self.cache.holds(key) for key in self.keys())

    def _refusal(self) -> str | None:
        certificate = self.bundle.certificate
        if certificate is None:
            return None if self.variant == "fp32" else f"holds no certificate for its {self.variant} variant"
        return certificate.refusal(self.variant, runtime_name(self.machine))

    def build(self, tell: Tell) -> None:
        """Build what the cache does not hold, one network after the other.

        Raises:
            EngineError: a build failed.
            RuntimeUnavailableError: the build found no GPU or no TensorRT.
        """
        for net, key in zip(networks(self.bundle), self.keys(), strict=True):
            ref = net.variants[self.variant]
            self.bundle.read(ref)
            build = EngineBuild(
                onnx=self.bundle.path(ref),
                cache=self.cache,
                precision=self.variant,
                profile=key.profile,
                options=self.options,
                timeout_s=self.timeout_s,
            )
            self.builder.run(build, partial(_tell_of, ref.file, tell))
            if not self.cache.holds(key):  # the file was another one when the build read it
                raise EngineError(f"{self.bundle.path(ref)}: changed while its engine was built; copy the bundle again")

    def open(self, *, workers: int, cuda_graph: bool, tell: Tell) -> TensorRt:
        """Return the bundle on TensorRT, answering the golden tiles as torch did.

        Raises:
            EngineError: also the second build did not give such engines.
            RuntimeUnavailableError: no GPU, or no Python package that drives it.
            InferenceError: the GPU failed.
        """
        try:
            return self.open_existing(workers=workers, cuda_graph=cuda_graph)
        except EngineError as exc:
            tell({"stage": "rebuild", "reason": str(exc)})
        self.build(tell)
        return self.open_existing(workers=workers, cuda_graph=cuda_graph)

    def open_existing(self, *, workers: int, cuda_graph: bool) -> TensorRt:
        """As `open`, and build nothing.

        Raises:
            EngineError: an engine is not there, or faulty and now in quarantine.
            RuntimeUnavailableError: no GPU, or no Python package that drives it.
            InferenceError: the GPU failed.
        """
        driver = open_driver()
        try:
            backend = TensorRt(
                self.bundle,
                variant=self.variant,
                cache=self.cache,
                machine=self.machine,
                options=self.options,
                driver=driver,
                workers=workers,
                cuda_graph=cuda_graph,
            )
            self._compare(backend)
        except BaseException:
            driver.close()
            raise
        return backend

    def _compare(self, backend: TensorRt) -> None:
        answers = compare_golden(self.bundle, backend)
        gate = answers.max_gate_difference
        golden = EngineGolden(
            bundle=answers.bundle,
            passed=answers.passed,
            tiles=answers.tiles,
            max_difference=answers.max_difference,
            flipped_share=round(answers.flipped_share, 7),
            max_gate_difference=round(gate, 6) if gate is not None and math.isfinite(gate) else None,
        )
        for key in self.keys():
            with suppress(EngineError):  # a read-only cache serves all the same
                self.cache.note(key, golden)
        if answers.passed:
            return
        for key, plan_sha256 in backend.plans.items():
            with suppress(EngineError):
                self.cache.reject(key, plan_sha256)
        raise EngineError(answers.as_text())


def _tell_of(network: str, tell: Tell, event: dict[str, Any]) -> None:
    tell({"network": network, **event})
