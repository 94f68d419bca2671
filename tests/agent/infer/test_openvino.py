from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.contract.bundle import Bundle, load_bundle
from agent.errors import BundleError, InferenceError
from agent.infer.backend import Backend
from agent.infer.openvino import OpenVino
from tests.support.backend_contract import BackendContract
from tests.support.bundles import gate_graph, make_bundle, seal, segmenter_graph

pytest.importorskip("openvino", reason="an extra: pip install 'crackscout[openvino]'")


class TestOpenVino(BackendContract):
    @pytest.fixture
    def backend(self, tiny_bundle: Bundle) -> Backend:
        return OpenVino(tiny_bundle)


class TestOpenVinoWithStreams(BackendContract):
    @pytest.fixture
    def backend(self, tiny_bundle: Bundle) -> Backend:
        return OpenVino(tiny_bundle, streams=2)


@pytest.fixture
def folder(tiny_bundle_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle_folder, tmp_path / "bundle")


def reseal(folder: Path, net: str, content: bytes) -> Bundle:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[net]["variants"]["fp32"] = seal(folder, f"{net}.onnx", content)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return load_bundle(folder)


def test_it_computes_in_float32_where_its_own_choice_might_be_bfloat16(tiny_bundle: Bundle) -> None:
    backend = OpenVino(tiny_bundle)
    assert backend.runtime.endswith(" cpu f32")
    segmenter: Any = backend._segmenter
    compiled = segmenter._compiled
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(segmenter_graph(96), id="another tile size"),
        pytest.param(segmenter_graph(None), id="any size"),
        pytest.param(gate_graph(64), id="a gate in the segmenter's place"),
    ],
)
def test_a_graph_that_the_manifest_does_not_describe_is_refused(folder: Path, graph: object) -> None:
    bundle = reseal(folder, "segmenter", graph.SerializeToString())  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match=r"segmenter\.onnx: takes .*the manifest says"):
        OpenVino(bundle)


def test_a_sealed_file_that_is_no_graph_is_refused(folder: Path) -> None:
    bundle = reseal(folder, "gate", b"not a graph")
    with pytest.raises(BundleError, match=r"gate\.onnx: OpenVINO cannot load it \(Unable to read"):
        OpenVino(bundle)


def test_a_byte_flipped_after_the_bundle_was_read_is_refused(folder: Path) -> None:
    bundle = load_bundle(folder)
    path = folder / "segmenter.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="copy the bundle again"):
        OpenVino(bundle)


def test_what_the_bundle_lacks_is_named(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no int8 variant.*\['fp32'\]"):
        OpenVino(tiny_bundle, variant="int8")
    backend = OpenVino(load_bundle(make_bundle(tmp_path / "b", gate=False)))
    with pytest.raises(InferenceError, match=r"detect\.gate: false"):
        backend.gate(np.zeros((1, 32, 32, 3), np.uint8))
