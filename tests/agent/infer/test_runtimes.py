"""A runtime is relied on once it answers the golden tiles as torch did; else the start is refused, or degrades."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, load_bundle
from agent.errors import BundleError, InferenceError, RuntimeUnavailableError
from agent.infer.backend import GateScores
from agent.infer.golden import compare_golden, distrust
from agent.infer.onnx_runtime import OnnxRuntime
from agent.infer.runtimes import open_backend, open_trusted
from tests.support.bundles import make_bundle, put_certificate, seal, with_variant


class Altered:
    """A runtime that answers as ONNX Runtime does, but for what it is told to add."""

    runtime = "altered 1"

    def __init__(
        self, bundle: Bundle, *, add: int = 0, pixels: int = 0, margin: float = 0, variant: str = "fp32"
    ) -> None:
        self.inner = OnnxRuntime(bundle)
        self.add, self.pixels, self.off, self.variant = add, pixels, margin, variant

    def infer(self, tiles: UInt8) -> UInt8:
        maps = self.inner.infer(tiles)
        maps.reshape(-1)[: self.pixels] ^= np.uint8(self.add)
        return maps

    def gate(self, tiles: UInt8) -> GateScores:
        scores = self.inner.gate(tiles)
        return GateScores(scores.probability - np.float32(self.off), scores.margin)


class Failing(Altered):
    def infer(self, tiles: UInt8) -> UInt8:
        raise InferenceError("out of memory")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


def test_the_reference_is_trusted(tiny_bundle: Bundle) -> None:
    opened = open_trusted("onnxruntime", tiny_bundle, may_degrade=False)
    assert opened.degraded is None
    assert opened.backend.runtime == f"onnxruntime {onnxruntime.__version__} cpu"


def test_fp32_may_differ_by_a_level_and_not_by_two(tiny_bundle: Bundle) -> None:
    assert distrust(tiny_bundle, Altered(tiny_bundle, add=1, pixels=500)) is None
    told = distrust(tiny_bundle, Altered(tiny_bundle, add=2, pixels=1))
    assert told == "fp32 on altered 1: 2 levels of 255 on a golden tile, at most 1 are allowed"


def test_lower_precisions_are_held_to_the_pixels_called_crack(tiny_bundle: Bundle) -> None:
    pixels = 64 * 64
    few, many = int(pixels * 0.001), int(pixels * 0.001) + 1
    assert compare_golden(tiny_bundle, Altered(tiny_bundle, add=128, pixels=few, variant="fp16")).passed
    answers = compare_golden(tiny_bundle, Altered(tiny_bundle, add=128, pixels=many, variant="fp16"))
    assert not answers.passed
    assert answers.flipped_share == pytest.approx(many / pixels)
    assert "change sides" in (answers.fault or "")
    assert compare_golden(tiny_bundle, Altered(tiny_bundle, add=128, pixels=many, variant="int8")).passed


def test_a_gate_that_is_off_and_a_runtime_that_fails_are_named(tiny_bundle: Bundle) -> None:
    for margin in (0.002, float("nan")):
        assert "the gate is off by" in (distrust(tiny_bundle, Altered(tiny_bundle, margin=margin)) or "")
    assert "altered 1 fails on a golden tile (out of memory)" in (distrust(tiny_bundle, Failing(tiny_bundle)) or "")


def spoil_golden(folder: Path) -> Bundle:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["golden"][0]["gate_probability"] = 0.25
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return load_bundle(folder)


def test_a_reference_that_answers_wrongly_is_refused_even_where_it_may_degrade(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"refused: fp32 on onnxruntime .*the gate is off.*copy the bundle again"):
        open_trusted("onnxruntime", spoil_golden(folder), may_degrade=True)


def test_a_variant_without_a_certificate_degrades_in_a_flight_and_is_refused_in_a_replay(folder: Path) -> None:
    bundle = with_variant(folder, "fp16")
    opened = open_trusted("onnxruntime", bundle, variant="fp16", may_degrade=True)
    assert opened.backend.variant == "fp32"
    assert "no certificate for its fp16 variant" in (opened.degraded or "")
    with pytest.raises(BundleError, match=r"no certificate for its fp16 variant; take runtime\.name: onnxruntime"):
        open_trusted("onnxruntime", bundle, variant="fp16", may_degrade=False)


def test_a_variant_that_is_not_there_degrades_or_is_refused(tiny_bundle: Bundle) -> None:
    assert "no int8 variant" in (
        open_trusted("onnxruntime", tiny_bundle, variant="int8", may_degrade=True).degraded or ""
    )
    with pytest.raises(BundleError, match="no int8 variant"):
        open_trusted("onnxruntime", tiny_bundle, variant="int8", may_degrade=False)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine has CUDA")
def test_onnx_runtime_s_silent_fall_back_to_the_cpu_is_an_error(tiny_bundle: Bundle) -> None:
    with pytest.raises(
        RuntimeUnavailableError, match=r"cannot have CUDAExecutionProvider .*has .*CPUExecutionProvider"
    ):
        open_backend("onnxruntime-cuda", tiny_bundle)
    opened = open_trusted("onnxruntime-cuda", tiny_bundle, may_degrade=True)
    assert opened.backend.runtime.endswith(" cpu")
    assert "CUDAExecutionProvider" in (opened.degraded or "")


def test_a_certified_variant_is_trusted(folder: Path) -> None:
    with_variant(folder, "fp16")
    put_certificate(folder, "fp16")
    opened = open_trusted("onnxruntime", load_bundle(folder), variant="fp16", may_degrade=False)
    assert opened.backend.variant == "fp16"


def test_a_variant_is_refused_on_the_runtime_where_it_failed_and_nowhere_else(folder: Path) -> None:
    with_variant(folder, "fp16")
    put_certificate(folder, "fp16", passed=False, runtime="openvino")
    bundle = load_bundle(folder)
    assert bundle.certificate is not None
    told = bundle.certificate.refusal("fp16", "openvino 2099.1 cpu f32")
    assert told == "fp16 on openvino 1 cpu did not pass its certificate: F1 falls"
    assert bundle.certificate.refusal("fp16", "openvino 2099.1 gpu") is None
    assert bundle.certificate.refusal("fp32", "openvino 2099.1 cpu f32") is None
    assert open_trusted("onnxruntime", bundle, variant="fp16", may_degrade=False).backend.variant == "fp16"
    pytest.importorskip("openvino")
    with pytest.raises(BundleError, match="fp16 on openvino 1 cpu did not pass its certificate: F1 falls"):
        open_trusted("openvino", bundle, variant="fp16", may_degrade=False)
    degraded = open_trusted("openvino", bundle, variant="fp16", may_degrade=True)
    assert (degraded.backend.variant, degraded.backend.runtime.split()[0]) == ("fp32", "onnxruntime")
    assert "did not pass" in (degraded.degraded or "")


@pytest.mark.parametrize(
    ("how", "variant"),
    [
        pytest.param({"passed": False}, "fp16", id="a variant that failed"),
        pytest.param({"sha256": "0" * 64}, "fp32", id="other files than were measured"),
    ],
)
def test_a_certificate_that_does_not_cover_the_bundle_is_refused(
    folder: Path, how: dict[str, str], variant: str
) -> None:
    with_variant(folder, "fp16")
    put_certificate(folder, "fp16", **how)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=rf"certificate\.json: does not certify the {variant} variant"):
        load_bundle(folder)


def test_a_certificate_that_is_none_is_refused(folder: Path) -> None:
    shutil.copy(folder / "manifest.json", folder / "certificate.json")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["certificate"] = seal(folder, "certificate.json", b'{"schema": "certificate/9"}')
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"certificate\.json: .*schema"):
        load_bundle(folder)
