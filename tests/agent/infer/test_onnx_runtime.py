from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from agent.contract.bundle import Bundle, load_bundle
from agent.errors import BundleError, InferenceError
from agent.infer.backend import Backend
from agent.infer.onnx_runtime import OnnxRuntime
from tests.support.backend_contract import BackendContract
from tests.support.bundles import gate_graph, make_bundle, seal, segmenter_graph


class TestOnnxRuntime(BackendContract):
    @pytest.fixture
    def backend(self, tiny_bundle: Bundle) -> Backend:
        return OnnxRuntime(tiny_bundle)


def reseal(folder: Path, net: str, content: bytes) -> None:
    """Put another graph into a bundle and seal it, so that only the graph itself can be refused."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[net]["variants"]["fp32"] = seal(folder, f"{net}.onnx", content)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def folder(tiny_bundle_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle_folder, tmp_path / "bundle")


def test_a_graph_of_another_tile_size_than_the_manifest_is_refused(folder: Path) -> None:
    reseal(folder, "segmenter", segmenter_graph(96).SerializeToString())
    with pytest.raises(BundleError, match=r"\[None, 96, 96, 3\].*the manifest says"):
        OnnxRuntime(load_bundle(folder))


def test_a_gate_in_the_place_of_the_segmenter_is_refused(folder: Path) -> None:
    reseal(folder, "segmenter", gate_graph(64).SerializeToString())
    with pytest.raises(BundleError, match="the manifest says"):
        OnnxRuntime(load_bundle(folder))


def test_a_graph_for_one_tile_at_a_time_is_refused_before_a_frame_needs_more(folder: Path) -> None:
    model = segmenter_graph(64)
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    reseal(folder, "segmenter", model.SerializeToString())
    with pytest.raises(BundleError, match=r"\[1, 64, 64, 3\].*the manifest says uint8 \(N, 64, 64, 3\)"):
        OnnxRuntime(load_bundle(folder))


def test_a_sealed_file_that_is_no_graph_is_refused(folder: Path) -> None:
    reseal(folder, "gate", b"not a graph")
    with pytest.raises(BundleError, match=r"gate\.onnx: ONNX Runtime cannot load it"):
        OnnxRuntime(load_bundle(folder))


def test_weights_outside_the_file_are_refused_since_no_hash_covers_them(folder: Path) -> None:
    model = segmenter_graph(64)
    onnx.save_model(
        model, str(folder / "segmenter.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert (folder / "weights.bin").exists()
    reseal(folder, "segmenter", (folder / "segmenter.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"segmenter\.onnx"):
        OnnxRuntime(load_bundle(folder))


def test_a_byte_flipped_after_the_bundle_was_read_is_refused(folder: Path) -> None:
    bundle = load_bundle(folder)
    path = folder / "segmenter.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="copy the bundle again"):
        OnnxRuntime(bundle)


def test_a_variant_that_the_bundle_lacks_is_named(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"no int8 variant.*\['fp32'\]"):
        OnnxRuntime(tiny_bundle, variant="int8")


def test_asking_a_gate_that_is_not_there_says_how_to_go_on(tmp_path: Path) -> None:
    backend = OnnxRuntime(load_bundle(make_bundle(tmp_path / "b", gate=False)))
    with pytest.raises(InferenceError, match=r"detect\.gate: false"):
        backend.gate(np.zeros((1, 32, 32, 3), np.uint8))
