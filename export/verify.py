"""Does a bundle hold what its manifest says, and answer as torch did? Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.contract.bundle import Bundle, load_bundle
from agent.errors import BundleError, RuntimeUnavailableError
from agent.infer.backend import Backend, RuntimeName
from agent.infer.golden import GoldenAnswers, compare_golden
from agent.infer.runtimes import open_here
from agent.infer.tensorrt.library import find_tensorrt

IMMEDIATE: Final[tuple[RuntimeName, ...]] = ("onnxruntime", "onnxruntime-cuda", "openvino")


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle whose hashes, schema and certificate fit, and what this machine answers to its golden tiles."""

    bundle: Bundle
    answers: tuple[GoldenAnswers, ...]  # of each variant on each runtime here
    not_run: str | None = None  # what is here and was not asked, and what does

    def as_json(self) -> dict[str, Any]:
        """Return one object."""
        certificate = self.bundle.certificate
        return {
            "bundle": f"{self.bundle.manifest.name} {self.bundle.sha256[:12]}",
            "certificate": None
            if certificate is None
            else {
                "reference": certificate.reference,
                "measured": [f"{one.variant} on {one.runtime}" for one in certificate.measured],
                "left_out": certificate.left_out,
            },
            "answers": [one.as_json() for one in self.answers],
            "not_run": self.not_run,
            "passed": True,
        }

    def as_text(self) -> str:
        """Return a line for each variant and runtime, and one for the certificate."""
        certificate = self.bundle.certificate
        told = [*(answer.as_text() for answer in self.answers), *([self.not_run] if self.not_run else [])]
        if certificate is None:
            return "\n".join([*told, "no certificate: how far it lies from the trained networks was not measured"])
        told.append(
            f"certificate: {len(certificate.measured)} measurements against {certificate.reference}, covers what ships"
        )
        told += [
            f"refused there: {one.variant} on {one.runtime}: {one.reason}" for one in certificate.measured if one.reason
        ]
        return "\n".join([*told, *(f"left out: {name}: {why}" for name, why in certificate.left_out.items())])


def verify(folder: Path) -> Verified:
    """Check hashes, schema and certificate, and run the golden tiles of every variant on every runtime here.

    But TensorRT: to build its engines takes minutes.

    Raises:
        BundleError: a file is missing, altered or not what the manifest says, the certificate does not cover the
            variants, or an answer is too far from torch's.
    """
    bundle = load_bundle(folder)
    answers = tuple(compare_golden(bundle, backend) for backend in _backends(bundle))
    for one in answers:
        if not one.passed:
            raise BundleError(f"{folder}: {one.as_text()} ({one.fault}); export the bundle again")
    return Verified(bundle, answers, _not_run())


def _not_run() -> str | None:
    try:
        library = find_tensorrt()
    except RuntimeUnavailableError:
        return None
    return f"not run: tensorrt {library.__version__}; `crack-agent selftest --runtime tensorrt` builds engines and does"


def _backends(bundle: Bundle) -> Iterator[Backend]:
    """Open every variant on every runtime that this machine has, but TensorRT."""
    for name in IMMEDIATE:
        for variant in bundle.manifest.segmenter.variants:
            backend = open_here(name, bundle, variant=variant)
            if backend is None:
                break
            refusal = bundle.certificate and bundle.certificate.refusal(variant, backend.runtime)
            if not refusal:  # the agent will not run it there either
                yield backend
