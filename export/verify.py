"""Does a bundle hold what its manifest says, and answer as torch did? Needs no torch."""

from __future__ import annotations

from pathlib import Path

from agent.contract.bundle import load_bundle
from agent.errors import BundleError
from agent.infer.golden import GoldenAnswers, compare_golden
from agent.infer.onnx_runtime import OnnxRuntime


def verify(folder: Path) -> GoldenAnswers:
    """Check hashes and schema, and run the golden tiles through ONNX Runtime.

    Raises:
        BundleError: a file is missing, altered or not what the manifest says, or an answer is too far from torch's.
    """
    bundle = load_bundle(folder)
    answers = compare_golden(bundle, OnnxRuntime(bundle))
    if not answers.passed:
        raise BundleError(f"{folder}: {answers.as_text()}; export the bundle again")
    return answers
